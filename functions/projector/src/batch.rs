//! The records of a batch, sorted by what can be counted at the same time.

use domain::{
    id::{AccountId, CampaignId, CodePoolId, FeatureId, ProgramId, ReferralId, SubscriberId, WaitlistId},
    subscriber::ReferralStatus,
};
use store::{
    campaign_projection, code_projection,
    entities::{Click, Event, JobKind},
    feature_projection,
    projection::Change,
    stamp_projection,
};

use crate::records::Record;

/// What a batch holds.
#[derive(Default)]
pub struct Batch {
    /// By the account, or what there is of it: records of clicks and votes don't name theirs.
    pub lanes: Vec<(String, Lane)>,
    pub events: Vec<(AccountId, Vec<Event>)>,
    pub jobs: Vec<JobKind>,
}

/// Changes that may count in the same items, in the order in which they came.
#[derive(Default)]
pub struct Lane {
    pub changes: Vec<(WaitlistId, Vec<Change>)>,
    pub credits: Vec<(SubscriberId, Vec<ReferralId>)>,
    pub clicks: Vec<(WaitlistId, Vec<Click>)>,
    pub codes: Vec<(CodePoolId, Vec<code_projection::Change>)>,
    pub stamps: Vec<(ProgramId, Vec<stamp_projection::Change>)>,
    pub sends: Vec<(CampaignId, Vec<campaign_projection::Change>)>,
    pub features: Vec<(FeatureId, Vec<feature_projection::Change>)>,
}

impl Batch {
    pub fn add(&mut self, record: Record) {
        match record {
            Record::Subscriber(change) => {
                let lane = self.lane(change.account_id().as_str());
                push(&mut lane.changes, change.waitlist_id().clone(), *change);
            }
            Record::Referral(referral) if referral.status == ReferralStatus::Confirmed => {
                let lane = self.lane(referral.account_id.as_str());
                push(&mut lane.credits, referral.referrer_id.clone(), referral.id);
            }
            Record::Event(event) => push(&mut self.events, event.account_id.clone(), *event),
            Record::Job(job) => self.jobs.push(job.job),
            Record::Click(click) => {
                let lane = self.lane(click.waitlist_id.as_str());
                push(&mut lane.clicks, click.waitlist_id.clone(), *click);
            }
            Record::Code(change) => {
                let lane = self.lane(change.account_id().as_str());
                push(&mut lane.codes, change.pool_id().clone(), change);
            }
            Record::Feature(feature, change) => {
                let lane = self.lane(feature.as_str());
                push(&mut lane.features, feature, change);
            }
            Record::Send(change) => {
                let lane = self.lane(change.account_id().as_str());
                push(&mut lane.sends, change.campaign_id().clone(), change);
            }
            Record::Stamp(change) => {
                let lane = self.lane(change.account_id().as_str());
                push(&mut lane.stamps, change.program_id().clone(), change);
            }
            Record::Referral(_) | Record::Other => {}
        }
    }

    fn lane(&mut self, name: &str) -> &mut Lane {
        let place = self.lanes.iter().position(|(other, _)| other == name).unwrap_or_else(|| {
            self.lanes.push((name.to_owned(), Lane::default()));
            self.lanes.len() - 1
        });
        &mut self.lanes[place].1
    }
}

/// Adds to the group with this key, keeping the order within it.
fn push<K: PartialEq, V>(groups: &mut Vec<(K, Vec<V>)>, key: K, value: V) {
    match groups.iter_mut().find(|(other, _)| *other == key) {
        Some((_, values)) => values.push(value),
        None => groups.push((key, vec![value])),
    }
}

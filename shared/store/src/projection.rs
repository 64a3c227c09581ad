//! What follows from a change of subscribers: positions, statistics, rewards, events.
//!
//! For each subscriber the [`Standing`] remembers which revision was counted and
//! what it contributed. A change is counted as the difference between that and
//! the new revision, in one transaction with the new standing, conditional on the
//! old one. Records may therefore come twice, late, split over batches or from
//! several shards: each revision counts once, and an older one never undoes a newer.

use std::collections::{BTreeMap, HashMap};

use domain::{
    id::{RewardId, SubscriberId, WaitlistId},
    subscriber::{Reward, RewardStatus, Subscriber, SubscriberStatus},
};
use jiff::Timestamp;

use crate::{
    Commit, CommitError, StoreError, Table,
    commit::MAX_WRITES,
    entities::{
        Entity, Event, EventKind, LineEntry, Standing, line_left_key, standing_key, waitlist_stats_key,
    },
    line::TreeDelta,
    patterns, referrals, waitlists,
};

/// A subscriber as a stream record shows it.
#[derive(Clone, Debug)]
pub enum Change {
    Saved(Box<Subscriber>),
    /// The last state before it was erased.
    Erased(Box<Subscriber>),
}

impl Change {
    fn subscriber(&self) -> &Subscriber {
        match self {
            Self::Saved(subscriber) | Self::Erased(subscriber) => subscriber,
        }
    }

    pub fn waitlist_id(&self) -> &WaitlistId {
        &self.subscriber().waitlist_id
    }

    fn standing(&self, now: Timestamp) -> Standing {
        match self {
            Self::Saved(subscriber) => Standing::of(subscriber),
            Self::Erased(subscriber) => Standing {
                status: None,
                erased_at: Some(now),
                rev: subscriber.rev + 1,
                ..Standing::of(subscriber)
            },
        }
    }
}

/// A mail to be sent; asking twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRequest {
    pub subscriber_id: SubscriberId,
    /// Counts the subscriber's mails from 1.
    pub number: u32,
}

/// Name of the counter of the subscribers with this status.
pub(crate) fn counter_of(status: SubscriberStatus) -> &'static str {
    match status {
        SubscriberStatus::Pending => "pending",
        SubscriberStatus::Active => "active",
        SubscriberStatus::Invited => "invited",
        SubscriberStatus::Converted => "converted",
    }
}

/// What has to be done about some changes of one waitlist.
pub struct Plan {
    commit: Commit,
    /// To be sent before the plan is applied, so that a crash in between repeats rather than loses them.
    pub mails: Vec<MailRequest>,
}

impl Plan {
    /// Whether everything was counted before.
    pub fn is_empty(&self) -> bool {
        self.commit.is_empty()
    }

    /// Whether the plan fits one transaction.
    pub fn fits(&self) -> bool {
        self.commit.len() <= MAX_WRITES
    }

    /// # Errors
    /// [`CommitError::Condition`] when another projector was there first: plan again.
    pub async fn apply(self, table: &Table) -> Result<(), CommitError> {
        self.commit.apply(table).await
    }
}

/// Works out what changes of one waitlist, in order, amount to.
pub async fn plan(table: &Table, changes: &[Change], now: Timestamp) -> Result<Plan, StoreError> {
    let mut plan = Plan { commit: Commit::new(&patterns::PROJECT), mails: Vec::new() };
    let Some(waitlist_id) = changes.first().map(|change| change.waitlist_id().clone()) else {
        return Ok(plan);
    };
    let counted = standings(table, changes).await?;
    let mut current: BTreeMap<SubscriberId, Standing> = BTreeMap::new();
    let mut events = Vec::new();
    let mut joined = 0;
    let mut verified = 0;
    for change in changes {
        let id = &change.subscriber().id;
        let after = change.standing(now);
        let before = current.get(id).or_else(|| counted.get(id));
        if before.is_some_and(|before| before.rev >= after.rev) {
            continue;
        }
        for kind in transitions(before, &after) {
            joined += i64::from(kind == EventKind::SubscriberJoined);
            verified += i64::from(kind == EventKind::SubscriberVerified);
            events.push(Event::about(&after, kind, None, now));
        }
        let mailed = before.map_or(0, |before| before.mail_requests);
        if after.status.is_some() {
            plan.mails.extend(
                (mailed + 1..=after.mail_requests)
                    .map(|number| MailRequest { subscriber_id: id.clone(), number }),
            );
        }
        current.insert(id.clone(), after);
    }

    let mut tree = TreeDelta::default();
    let mut stats: BTreeMap<&str, i64> = BTreeMap::from([("joined", joined), ("verified", verified)]);
    let mut left: BTreeMap<&str, i64> = BTreeMap::new();
    for (id, after) in &current {
        let before = counted.get(id);
        let commit = std::mem::replace(&mut plan.commit, Commit::new(&patterns::PROJECT));
        let commit = match before {
            Some(before) => commit.replace("standing", after, before.rev),
            None => commit.create("standing", after),
        };
        plan.commit = moved(commit, &waitlist_id, before, after, &mut tree);
        let mut shift = |name, by: i64| *stats.entry(name).or_default() += by;
        if let Some(status) = before.and_then(|before| before.status) {
            shift(counter_of(status), -1);
        }
        if let Some(status) = after.status {
            shift(counter_of(status), 1);
        }
        let referrals = before.map_or(0, |before| before.referrals);
        shift("referrals", i64::from(after.referrals) - i64::from(referrals));
        for (name, holds) in [("left", departed as fn(&Standing) -> bool), ("freed", freed)] {
            let was = before.is_some_and(holds);
            *left.entry(name).or_default() += i64::from(holds(after)) - i64::from(was);
        }
        if after.status.is_some() && after.referrals != referrals {
            let commit = std::mem::replace(&mut plan.commit, Commit::new(&patterns::PROJECT));
            plan.commit = rewarded(table, commit, after, &mut events, now).await?;
        }
    }
    for (key, counters) in tree.writes(&waitlist_id) {
        plan.commit = add(plan.commit, "line", &key, counters);
    }
    for (label, key, counters) in
        [("stats", waitlist_stats_key(&waitlist_id), stats), ("left", line_left_key(&waitlist_id), left)]
    {
        let counters =
            counters.into_iter().filter(|(_, by)| *by != 0).map(|(name, by)| (name.to_owned(), by));
        plan.commit = add(plan.commit, label, &key, counters.collect());
    }
    for event in events {
        plan.commit = plan.commit.create("event", &event);
    }
    Ok(plan)
}

fn add(commit: Commit, label: &'static str, key: &crate::keys::Key, counters: Vec<(String, i64)>) -> Commit {
    if counters.is_empty() {
        return commit;
    }
    let counters: Vec<_> = counters.iter().map(|(name, by)| (name.as_str(), *by)).collect();
    commit.add(label, key, &counters)
}

/// Had a number and stands at it no longer.
fn departed(standing: &Standing) -> bool {
    standing.number.is_some() && standing.place().is_none()
}

/// Had a number and is gone.
fn freed(standing: &Standing) -> bool {
    standing.number.is_some() && standing.status.is_none()
}

async fn standings(table: &Table, changes: &[Change]) -> Result<HashMap<SubscriberId, Standing>, StoreError> {
    let mut keys: Vec<_> = changes.iter().map(|change| standing_key(&change.subscriber().id)).collect();
    keys.sort();
    keys.dedup();
    table
        .batch_get(&patterns::STANDINGS, &keys)
        .await?
        .into_values()
        .map(|item| Standing::from_item(item).map(|standing| (standing.subscriber_id.clone(), standing)))
        .collect()
}

fn transitions(before: Option<&Standing>, after: &Standing) -> Vec<EventKind> {
    use SubscriberStatus::{Active, Converted, Invited, Pending};
    let was = before.and_then(|before| before.status);
    let mut kinds = Vec::new();
    if before.is_none() && after.status.is_some() {
        kinds.push(EventKind::SubscriberJoined);
    }
    match (was, after.status) {
        (Some(Pending), Some(Active)) => kinds.push(EventKind::SubscriberVerified),
        (from, Some(Invited)) if from != Some(Invited) => kinds.push(EventKind::SubscriberInvited),
        (from, Some(Converted)) if from != Some(Converted) => kinds.push(EventKind::SubscriberConverted),
        (Some(_), None) => kinds.push(EventKind::SubscriberErased),
        _ => {}
    }
    if after.unsubscribed && !before.is_some_and(|before| before.unsubscribed) {
        kinds.push(EventKind::SubscriberUnsubscribed);
    }
    kinds
}

/// Takes the entry from its old leaf to its new one.
fn moved(
    mut commit: Commit,
    waitlist: &WaitlistId,
    before: Option<&Standing>,
    after: &Standing,
    tree: &mut TreeDelta,
) -> Commit {
    let from = before.and_then(Standing::place);
    let to = after.place();
    if from == to {
        return commit;
    }
    if let Some(place) = from {
        tree.add(place, -1);
        commit = commit.purge("line entry", &LineEntry::key_of(waitlist, place));
    }
    if let (Some(place), Some(number)) = (to, after.number) {
        tree.add(place, 1);
        let entry = LineEntry {
            waitlist_id: waitlist.clone(),
            subscriber_id: after.subscriber_id.clone(),
            number,
            places: after.places,
        };
        commit = commit.overwrite("line entry", &entry);
    }
    commit
}

/// Brings rewards in line with the number of referrals. The standing's condition
/// lets one projector at a time do this for a subscriber.
async fn rewarded(
    table: &Table,
    mut commit: Commit,
    standing: &Standing,
    events: &mut Vec<Event>,
    now: Timestamp,
) -> Result<Commit, StoreError> {
    let Some(waitlist) = waitlists::find(table, &standing.waitlist_id).await? else { return Ok(commit) };
    let held = referrals::rewards(table, &standing.subscriber_id).await?;
    let reached = |threshold: u32| standing.referrals >= threshold;
    for tier in waitlist.settings.reward_tiers.iter().filter(|tier| reached(tier.referrals)) {
        if held.iter().all(|reward| reward.tier.referrals != tier.referrals) {
            let reward = Reward {
                id: RewardId::new(now),
                subscriber_id: standing.subscriber_id.clone(),
                waitlist_id: standing.waitlist_id.clone(),
                tier: tier.clone(),
                status: RewardStatus::Issued,
                issued_at: now,
                rev: 1,
            };
            let object = Some(reward.id.as_str().to_owned());
            events.push(Event::about(standing, EventKind::RewardIssued, object, now));
            commit = commit.create("reward", &reward);
        }
    }
    for reward in held {
        let (status, kind) = match (reward.status, reached(reward.tier.referrals)) {
            (RewardStatus::Issued, false) => (RewardStatus::Revoked, EventKind::RewardRevoked),
            (RewardStatus::Revoked, true) => (RewardStatus::Issued, EventKind::RewardIssued),
            _ => continue,
        };
        let object = Some(reward.id.as_str().to_owned());
        events.push(Event::about(standing, kind, object, now));
        let changed = Reward { status, rev: reward.rev + 1, ..reward.clone() };
        commit = commit.replace("reward", &changed, reward.rev);
    }
    Ok(commit)
}

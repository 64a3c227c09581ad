//! What follows from messages: events and numbers.

use std::collections::BTreeSet;

use domain::{
    campaign::{Campaign, Send, SendStatus},
    event::EventKind,
    id::{AccountId, CampaignId},
};
use jiff::Timestamp;

use crate::{
    StoreError, Table, campaigns,
    entities::{CampaignStats, CodeOrigin},
    facts::{Book, Fact, Kind, Numbers, Who},
    patterns,
    rollups::counted,
};

/// A message as a stream record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub before: Option<Box<Send>>,
    pub after: Box<Send>,
}

impl Change {
    pub fn account_id(&self) -> &AccountId {
        &self.after.account_id
    }

    pub fn campaign_id(&self) -> &CampaignId {
        &self.after.campaign_id
    }

    /// One for each class that the message came into since the last record, whichever steps were passed over, and
    /// one for those that it left: a message that the channel did not take in the end is to be sent again, and
    /// one that was given up may be heard of.
    fn facts(&self) -> Vec<Fact> {
        let Self { before, after } = self;
        if after.test {
            return Vec::new();
        }
        let was = before.as_ref().map(|before| before.status);
        type Holds = fn(SendStatus) -> bool;
        let classes: [(EventKind, &'static str, Holds); 6] = [
            (EventKind::MessageQueued, "audience", |_| true),
            (EventKind::MessageRefused, "refused", |status| status == SendStatus::Refused),
            (EventKind::MessageSent, "sent", |status| status >= SendStatus::Sent),
            (EventKind::MessageFailed, "failed", |status| status == SendStatus::Failed),
            (EventKind::MessageDelivered, "delivered", |status| status >= SendStatus::Delivered),
            (EventKind::MessageRead, "read", |status| status >= SendStatus::Read),
        ];
        let fact = |kind, rank, counts| Fact {
            object_id: Some(after.id.as_str().to_owned()),
            rank,
            counts,
            ..Fact::new(Kind::Event(kind), Who::Customer(after.customer_id.clone()), after.updated_at)
        };
        let (mut facts, mut left) = (Vec::new(), Vec::new());
        for ((kind, counter, holds), rank) in classes.into_iter().zip(1..) {
            match (was.is_some_and(holds), holds(after.status)) {
                (false, true) => facts.push(fact(kind, rank, vec![(counter, 1)])),
                (true, false) => left.push((counter, -1)),
                _ => {}
            }
        }
        if !left.is_empty() {
            facts.insert(0, fact(EventKind::MessageReopened, 0, left));
        }
        facts
    }
}

/// Notes and counts what changes of one campaign amount to, as far as that has not been done before.
///
/// # Errors
/// When the table is out of reach.
pub async fn count(table: &Table, campaign: &CampaignId, changes: &[Change]) -> Result<(), StoreError> {
    let facts: Vec<Fact> = changes.iter().flat_map(Change::facts).collect();
    if facts.is_empty() {
        return Ok(());
    }
    // Without a campaign there is nothing to count for.
    let Some(campaign) = campaigns::find(table, campaign).await? else { return Ok(()) };
    note(table, &campaign, &facts).await
}

async fn note(table: &Table, campaign: &Campaign, facts: &[Fact]) -> Result<(), StoreError> {
    let book =
        Book { pattern: &patterns::SENDS_COUNT, account: &campaign.account_id, topic: campaign.id.as_str() };
    let numbers = || async { Ok(Some(Numbers::Counters(CampaignStats::key_of(&campaign.id)))) };
    book.note(table, facts, numbers).await
}

/// A discount code that a message told somebody was redeemed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    pub origin: CodeOrigin,
    pub at: Timestamp,
}

/// Notes and counts redemptions of the codes that messages told, as far as that has not been done before.
///
/// # Errors
/// When the table is out of reach.
pub async fn count_redeemed(table: &Table, redemptions: &[Redemption]) -> Result<(), StoreError> {
    let campaign_of = |redemption: &Redemption| redemption.origin.send_id.campaign();
    for id in redemptions.iter().map(campaign_of).collect::<BTreeSet<_>>() {
        let Some(campaign) = campaigns::find(table, &id).await? else { continue };
        let own = redemptions.iter().filter(|redemption| campaign_of(redemption) == id);
        let facts = own.map(|Redemption { origin, at }| Fact {
            object_id: Some(origin.send_id.as_str().to_owned()),
            rank: 7,
            counts: vec![(counted::REDEEMED, 1)],
            ..Fact::new(Kind::Event(EventKind::MessageRedeemed), Who::Nobody, *at)
        });
        note(table, &campaign, &facts.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

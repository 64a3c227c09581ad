//! What follows from messages: events and numbers.

use domain::{
    campaign::{Send, SendStatus},
    id::CampaignId,
};

use crate::{
    StoreError, Table, campaigns,
    entities::{CampaignStats, EventKind},
    facts::{Book, Fact},
    patterns,
};

/// A message as a stream record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub before: Option<Box<Send>>,
    pub after: Box<Send>,
}

impl Change {
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
            kind,
            customer_id: after.customer_id.clone(),
            object_id: Some(after.id.as_str().to_owned()),
            data: None,
            at: after.updated_at,
            rank,
            counts,
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
    let book = Book {
        pattern: &patterns::SENDS_COUNT,
        account: &campaign.account_id,
        topic: campaign.id.as_str(),
        numbers: CampaignStats::key_of(&campaign.id),
    };
    book.note(table, &facts).await
}

//! Projections of messages and of redeemed codes: events and counters.

use std::collections::BTreeMap;

use codes::{claim::Code, entities::CodeOrigin, id::CodeId};
use domain::{
    event::EventKind,
    id::{AccountId, CampaignId},
};
use jiff::Timestamp;
use projection::{
    Context, Record,
    facts::{Actor, Fact, FactLog, Kind},
    stream::FollowError,
};
use table::{Entity, Table, TableError};

use crate::{
    campaign::{Campaign, Send, SendStatus},
    entities::CampaignStats,
    entities::REDEEMED,
    events, patterns, store,
};

/// Change of a message, as a stream record shows it.
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

    /// Returns one fact for each class that the message entered since the last record, even if it skipped states in
    /// between, and one fact for all classes that it left. A message leaves a class if the channel did not accept
    /// it after all, so that it is sent again, or if the provider reports on a message that was given up.
    fn facts(&self) -> Vec<Fact> {
        let Self { before, after } = self;
        if after.test {
            return Vec::new();
        }
        let was = before.as_ref().map(|before| before.status);
        type Holds = fn(SendStatus) -> bool;
        let classes: [(EventKind, &'static str, Holds); 6] = [
            (events::MESSAGE_QUEUED, "audience", |_| true),
            (events::MESSAGE_REFUSED, "refused", |status| status == SendStatus::Refused),
            (events::MESSAGE_SENT, "sent", |status| status >= SendStatus::Sent),
            (events::MESSAGE_FAILED, "failed", |status| status == SendStatus::Failed),
            (events::MESSAGE_DELIVERED, "delivered", |status| status >= SendStatus::Delivered),
            (events::MESSAGE_READ, "read", |status| status >= SendStatus::Read),
        ];
        let fact = |kind, rank, counts| Fact {
            object_id: Some(after.id.as_str().to_owned()),
            rank,
            counts,
            ..Fact::new(Kind::Event(kind), Actor::Customer(after.customer_id.clone()), after.updated_at)
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
            facts.insert(0, fact(events::MESSAGE_REOPENED, 0, left));
        }
        facts
    }
}

/// Records and counts the facts that follow from changes of one campaign, each once.
///
/// # Errors
/// When the table is unavailable.
pub async fn count(table: &Table, campaign: &CampaignId, changes: &[Change]) -> Result<(), TableError> {
    let facts: Vec<Fact> = changes.iter().flat_map(Change::facts).collect();
    if facts.is_empty() {
        return Ok(());
    }
    // A deleted campaign has no counters.
    let Some(campaign) = store::find(table, campaign).await? else { return Ok(()) };
    note(table, &campaign, &facts).await
}

async fn note(table: &Table, campaign: &Campaign, facts: &[Fact]) -> Result<(), TableError> {
    let log = FactLog {
        pattern: &patterns::SENDS_COUNT,
        account: &campaign.account_id,
        topic: campaign.id.as_str(),
    };
    let numbers = || async { Ok(Some(CampaignStats::key_of(&campaign.id))) };
    log.note(table, facts, numbers).await
}

/// Redemption of a code, which a message of a campaign may have told to a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    account_id: AccountId,
    code_id: CodeId,
    at: Timestamp,
}

impl Redemption {
    /// Records and counts the redemptions of codes that messages told, each once.
    async fn count(table: &Table, redemptions: &[Self]) -> Result<(), TableError> {
        let keys: Vec<_> =
            redemptions.iter().map(|redemption| CodeOrigin::key_of(&redemption.code_id)).collect();
        let mut found = table.batch_get(&codes::patterns::CODE_ORIGIN, &keys).await?;
        let mut told: BTreeMap<CampaignId, Vec<Fact>> = BTreeMap::new();
        for (key, redemption) in keys.iter().zip(redemptions) {
            let Some(origin) = found.remove(key).map(CodeOrigin::from_item).transpose()? else { continue };
            let fact = Fact {
                object_id: Some(origin.send_id.as_str().to_owned()),
                rank: 7,
                counts: vec![(REDEEMED, 1)],
                ..Fact::new(Kind::Event(events::MESSAGE_REDEEMED), Actor::Nobody, redemption.at)
            };
            told.entry(origin.send_id.campaign()).or_default().push(fact);
        }
        for (campaign, facts) in &told {
            let Some(campaign) = store::find(table, campaign).await? else { continue };
            note(table, &campaign, facts).await?;
        }
        Ok(())
    }
}

impl projection::Change for Redemption {
    const READS: &'static [&'static str] = &[Code::TYPE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        let Some(after) = record.after::<Code>()? else { return Ok(None) };
        let before = record.before::<Code>()?;
        let redeemed = codes::projection::Change::Code { before, after };
        let code = redeemed.redeemed().map(|(code, at)| (code.clone(), at));
        let account_id = redeemed.account_id().clone();
        Ok(code.map(|(code_id, at)| Self { account_id, code_id, at }))
    }

    fn lane(&self) -> String {
        self.account_id.to_string()
    }

    fn group(&self) -> String {
        self.code_id.pool().to_string()
    }

    async fn follow(context: &Context, changes: &[Self]) -> Result<(), FollowError> {
        Ok(Self::count(&context.table, changes).await?)
    }
}

impl projection::Change for Change {
    const READS: &'static [&'static str] = &[Send::TYPE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        let Some(after) = record.after()? else { return Ok(None) };
        Ok(Some(Self { before: record.before()?, after }))
    }

    fn lane(&self) -> String {
        self.account_id().to_string()
    }

    fn group(&self) -> String {
        self.campaign_id().to_string()
    }

    async fn follow(context: &Context, changes: &[Self]) -> Result<(), FollowError> {
        match changes.first() {
            Some(first) => Ok(count(&context.table, first.campaign_id(), changes).await?),
            None => Ok(()),
        }
    }
}

//! Projection of claims and redemptions: events, counters and the low-stock event.

use std::collections::BTreeMap;

use domain::id::AccountId;
use jiff::Timestamp;
use projection::{
    Context, Event, Record,
    facts::{Actor, Counts, Fact, FactLog, Kind, NUMBERS, Numbers},
    rollups::Sums,
    stream::FollowError,
};
use table::{Commit, Entity, Table, TableError};

use crate::{
    claim::{Claim, ClaimStatus, Code},
    code_pool::LowStockThresholds,
    code_pools,
    entities::CodePoolStats,
    events,
    id::{CodeId, CodePoolId},
    patterns,
};

/// Change of a claim or a code, as a stream record shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Claim { before: Option<Box<Claim>>, after: Box<Claim> },
    Code { before: Option<Box<Code>>, after: Box<Code> },
}

impl Change {
    pub fn account_id(&self) -> &AccountId {
        match self {
            Self::Claim { after, .. } => &after.account_id,
            Self::Code { after, .. } => &after.account_id,
        }
    }

    pub fn pool_id(&self) -> &CodePoolId {
        match self {
            Self::Claim { after, .. } => &after.pool_id,
            Self::Code { after, .. } => &after.pool_id,
        }
    }

    /// Returns the code that this change redeemed, and the time.
    pub fn redeemed(&self) -> Option<(&CodeId, Timestamp)> {
        let Self::Code { before, after } = self else { return None };
        let before = before.as_ref().and_then(|before| before.redeemed_at);
        after.redeemed_at.filter(|_| before.is_none()).map(|at| (&after.id, at))
    }

    fn fact(&self) -> Option<Fact> {
        let (kind, id, at, counter) = match self {
            Self::Claim { before, after } => {
                let is = |claim: &Claim| claim.status == ClaimStatus::Claimed;
                let fresh = is(after) && !before.as_deref().is_some_and(is);
                let at = after.claimed_at.filter(|_| fresh)?;
                (events::CODE_CLAIMED, after.id.as_str(), at, "claimed")
            }
            Self::Code { .. } => {
                let (id, at) = self.redeemed()?;
                (events::CODE_REDEEMED, id.as_str(), at, "redeemed")
            }
        };
        Some(Fact {
            object_id: Some(id.to_owned()),
            counts: vec![(counter, 1)],
            ..Fact::new(Kind::Event(kind), Actor::Nobody, at)
        })
    }
}

/// Records and counts the facts that follow from changes of one pool, each once.
///
/// # Errors
/// When the table is unavailable, or the counters keep changing.
pub async fn count(table: &Table, pool: &CodePoolId, changes: &[Change]) -> Result<(), TableError> {
    let facts: Vec<Fact> = changes.iter().filter_map(Change::fact).collect();
    if facts.is_empty() {
        return Ok(());
    }
    // A deleted pool has no counters.
    let Some(pool) = code_pools::find(table, pool).await? else { return Ok(()) };
    let log = FactLog { pattern: &patterns::CODES_COUNT, account: &pool.account_id, topic: pool.id.as_str() };
    let numbers = || async {
        let stats = code_pools::stats(table, &pool.id).await?;
        Ok(stats.map(|stats| Stocktaking { stats, thresholds: &pool.settings.low_stock_thresholds }))
    };
    log.note(table, &facts, numbers).await
}

/// Counters of a pool as they were read. A change that takes the pool to one of its thresholds also writes the
/// low-stock event.
struct Stocktaking<'a> {
    stats: CodePoolStats,
    thresholds: &'a LowStockThresholds,
}

impl Numbers for Stocktaking<'_> {
    fn count(&self, log: &FactLog<'_>, counts: &Counts<'_>, sums: &mut Sums, commit: Commit) -> Commit {
        if counts.are_zero() {
            return commit;
        }
        let before = &self.stats;
        let after = CodePoolStats {
            claimed: before.claimed.saturating_add_signed(counts.of("claimed")),
            redeemed: before.redeemed.saturating_add_signed(counts.of("redeemed")),
            rev: before.rev + 1,
            ..before.clone()
        };
        let low = self.thresholds.crossed(before.remaining(), after.remaining()).map(|threshold| {
            let numbers = [("threshold", u64::from(threshold)), ("remaining", after.remaining())];
            Event {
                data: BTreeMap::from(numbers.map(|(name, number)| (name.to_owned(), number.into()))),
                ..Event::new(log.account, log.topic, events::CODE_POOL_LOW_STOCK, Timestamp::now())
            }
        });
        let commit = commit.replace(NUMBERS, &after, before.rev);
        low.fold(commit, |commit, event| {
            sums.event(&event, events::CODE_POOL_LOW_STOCK);
            commit.create("low stock", &event)
        })
    }
}

impl projection::Change for Change {
    const READS: &'static [&'static str] = &[Claim::TYPE, Code::TYPE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        if record.is::<Claim>() {
            let Some(after) = record.after()? else { return Ok(None) };
            Ok(Some(Self::Claim { before: record.before()?, after }))
        } else {
            let Some(after) = record.after()? else { return Ok(None) };
            Ok(Some(Self::Code { before: record.before()?, after }))
        }
    }

    fn lane(&self) -> String {
        self.account_id().to_string()
    }

    fn group(&self) -> String {
        self.pool_id().to_string()
    }

    async fn follow(context: &Context, changes: &[Self]) -> Result<(), FollowError> {
        match changes.first() {
            Some(first) => Ok(count(&context.table, first.pool_id(), changes).await?),
            None => Ok(()),
        }
    }
}

//! What follows from claims and redemptions: numbers, and the word that stock is low.
//!
//! Each fact leaves a [`Tally`] in the transaction that counts it, so that a record that
//! comes again counts nothing.

use std::collections::BTreeMap;

use domain::id::{ClaimId, CodeId, CodePoolId};
use jiff::Timestamp;

use crate::{
    Commit, CommitError, StoreError, Table, code_pools,
    commit::leave_out,
    entities::{CodePoolStats, Event, EventKind, Tally},
    patterns,
};

/// Facts counted in one transaction, which also holds the numbers and some events.
const FACTS_AT_ONCE: usize = 80;

/// Something that happens to a code once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Claimed(ClaimId),
    Redeemed(CodeId),
}

impl Fact {
    fn tally(&self, at: Timestamp) -> Tally {
        let fact = match self {
            Self::Claimed(id) => format!("{id}:claimed"),
            Self::Redeemed(id) => format!("{id}:redeemed"),
        };
        Tally { fact, at }
    }
}

/// Counts facts about one pool, those that were not counted before.
///
/// # Errors
/// When the table is out of reach.
pub async fn count(
    table: &Table,
    pool: &CodePoolId,
    facts: &[Fact],
    now: Timestamp,
) -> Result<(), StoreError> {
    for facts in facts.chunks(FACTS_AT_ONCE) {
        count_some(table, pool, facts.to_vec(), now).await?;
    }
    Ok(())
}

async fn count_some(
    table: &Table,
    pool: &CodePoolId,
    mut facts: Vec<Fact>,
    now: Timestamp,
) -> Result<(), StoreError> {
    while !facts.is_empty() {
        // Without numbers there is no pool any more.
        let Some(before) = code_pools::stats(table, pool).await? else { return Ok(()) };
        let Some(settings) = code_pools::find(table, pool).await? else { return Ok(()) };
        let claimed = facts.iter().filter(|fact| matches!(fact, Fact::Claimed(_))).count() as u64;
        let after = CodePoolStats {
            claimed: before.claimed + claimed,
            redeemed: before.redeemed + facts.len() as u64 - claimed,
            rev: before.rev + 1,
            ..before.clone()
        };
        let mut commit = Commit::new(&patterns::CODES_COUNT);
        for fact in &facts {
            commit = commit.create("tally", &fact.tally(now));
        }
        commit = commit.replace("stats", &after, before.rev);
        for threshold in settings.settings.low_stock_thresholds.crossed(before.remaining(), after.remaining())
        {
            let numbers = [("threshold", u64::from(threshold)), ("remaining", after.remaining())];
            let event = Event {
                data: BTreeMap::from(numbers.map(|(name, number)| (name.to_owned(), number))),
                ..Event::new(&settings.account_id, pool.as_str(), EventKind::CodePoolLowStock, now)
            };
            commit = commit.create("event", &event);
        }
        match commit.apply(table).await {
            Ok(()) => return Ok(()),
            Err(CommitError::Store(error)) => return Err(error),
            Err(CommitError::Condition(failed)) => {
                let counted: Vec<_> = failed
                    .iter()
                    .filter(|failed| failed.label == "tally")
                    .map(|failed| failed.position)
                    .collect();
                leave_out(&mut facts, &counted);
            }
        }
    }
    Ok(())
}

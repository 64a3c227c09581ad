//! Choice of a code from the stock of a pool.
//!
//! The stock is ordered by lot, so a claimer does not read lots that have nothing to give. A claimer first reads at
//! a random position in the lot that ends soonest, where concurrent claimers seldom choose the same code. If that
//! finds nothing, the claimer reads the first available codes of every partition. Both reads are consistent: if the
//! second one finds nothing, the pool had nothing to give (see `docs/adr/0024-stock-ordered-by-end.md`).

use std::collections::{BTreeMap, BTreeSet};

use domain::secret;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use table::{AttributeValue, Commit, CommitError, Entity, Filter, Item, Query, Range, Table, TableError};

use crate::{
    code_pool::{Lot, Platform},
    entities::{CODE_SHARDS, HELD_UNTIL, LOT, Shelf, Stock, VALID_UNTIL},
    id::CodePoolId,
    patterns,
};

/// Number of codes of a partition among which a claimer chooses.
const CHOICE: usize = 8;
/// Number of partitions that are read at the same time. A pool whose whole stock is ordered by lot has at most 16
/// of them for a platform.
const AT_ONCE: usize = 32;

/// Lots from which a code is chosen.
pub(crate) struct Choice {
    /// Lots that serve the platform, the one that ends soonest first.
    lots: Vec<Lot>,
    /// Number of lots, counted from the first that has codes, among which the code is chosen.
    reach: usize,
}

impl Choice {
    /// Returns the choice of an attempt, counted from 1. The first attempt uses only the lot that ends soonest. Each
    /// further attempt chooses among twice as many lots. Otherwise all claimers that compete for a lot of few codes
    /// would meet there again.
    pub(crate) fn of(shelf: &Shelf, platform: Platform, attempt: u32, now: Timestamp) -> Self {
        let reach = 1 << attempt.saturating_sub(1).min(10);
        Self { lots: shelf.lots.serving(platform, now).collect(), reach }
    }

    /// Returns a code, found in at most two reads. The first read begins at a random position in a lot. If it finds
    /// nothing, a second read begins at the start of the lot in a random partition, because the random position may
    /// be behind the last of few codes. `None` does not mean that there is no code: [`search`](Self::search) tells.
    pub(crate) async fn glance(
        &self,
        table: &Table,
        shelf: &Shelf,
        now: Timestamp,
    ) -> Result<Option<Stock>, TableError> {
        let within = &self.lots[..self.lots.len().min(self.reach)];
        let Some(lot) = within.get(random(within.len())) else { return Ok(None) };
        for anywhere in [true, false] {
            let shard = CODE_SHARDS[random(CODE_SHARDS.len())];
            // All numbers in a partition begin with the name of its shard.
            let number = match anywhere {
                true => format!("{shard}{}", secret::encode(&secret::random::<16>()).to_lowercase()),
                false => shard.to_owned(),
            };
            let (mut found, _) = look(table, &shelf.pool_id, *lot, shard, &number, 1, now).await?;
            found.retain(|(lot, _)| within.contains(lot));
            if !found.is_empty() {
                return choose(found);
            }
        }
        Ok(None)
    }

    /// Returns a code after a survey of all partitions. `None` means that there was no code.
    ///
    /// The number of reads does not depend on the number of lots, except for lots from before the stock was ordered
    /// by lot.
    pub(crate) async fn search(
        &self,
        table: &Table,
        shelf: &Shelf,
        now: Timestamp,
    ) -> Result<Option<Stock>, TableError> {
        // A hold that ends during the survey may free a code in a partition that was read already: survey twice.
        for _ in 0..2 {
            let survey = Survey::of(table, &shelf.pool_id, &self.lots, now).await?;
            if !survey.empty.is_empty() {
                take_off(table, shelf, &survey.empty).await?;
            }
            let sold_out = survey.empty.len() == self.lots.len();
            match survey.choose(self.reach)? {
                None if !sold_out => {}
                found => return Ok(found),
            }
        }
        Ok(None)
    }
}

/// Returns true if a code for this platform can be claimed now.
///
/// # Errors
/// When the table is unavailable.
pub async fn is_available(
    table: &Table,
    shelf: &Shelf,
    platform: Platform,
    now: Timestamp,
) -> Result<bool, TableError> {
    let lots: Vec<Lot> = shelf.lots.serving(platform, now).collect();
    let any = Choice { reach: lots.len(), lots };
    if any.glance(table, shelf, now).await?.is_some() {
        return Ok(true);
    }
    Ok(!Survey::of(table, &shelf.pool_id, &any.lots, now).await?.found.is_empty())
}

/// Returns a random number below the bound; 0 if the bound is 0.
fn random(bound: usize) -> usize {
    let number = u32::from_be_bytes(secret::random());
    usize::try_from(number).unwrap_or_default().checked_rem(bound).unwrap_or_default()
}

/// Returns a random one of the codes found.
fn choose(mut found: Vec<Place>) -> Result<Option<Stock>, TableError> {
    if found.is_empty() {
        return Ok(None);
    }
    let (_, item) = found.swap_remove(random(found.len()));
    Stock::from_item(item).map(Some)
}

/// First codes of each partition of the stock that can be claimed.
struct Survey {
    found: Vec<Place>,
    /// Lots without any code, not even a held or an expired one.
    empty: Vec<Lot>,
}

/// Stock item with its lot.
type Place = (Lot, Item);

impl Survey {
    async fn of(table: &Table, pool: &CodePoolId, lots: &[Lot], now: Timestamp) -> Result<Self, TableError> {
        let mut sections: BTreeMap<String, Vec<Lot>> = BTreeMap::new();
        for lot in lots {
            sections.entry(lot.section()).or_default().push(*lot);
        }
        let mut looks = Vec::new();
        for first in sections.values().filter_map(|lots| lots.first()) {
            for shard in CODE_SHARDS {
                looks.push(look(table, pool, *first, shard, shard, usize::MAX, now));
            }
        }
        let looks: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        let (mut survey, mut looks) = (Self { found: Vec::new(), empty: Vec::new() }, looks.into_iter());
        for lots in sections.into_values() {
            let (found, passed_over): (Vec<_>, Vec<_>) = looks.by_ref().take(CODE_SHARDS.len()).unzip();
            let found: Vec<Place> = found.into_iter().flatten().collect();
            let first = found.iter().map(|(lot, _)| *lot).min();
            // A code that was passed over may belong to any lot: then no lot counts as empty.
            if !passed_over.contains(&true) {
                survey.empty.extend(lots.into_iter().filter(|lot| first.is_none_or(|first| *lot < first)));
            }
            survey.found.extend(found);
        }
        Ok(survey)
    }

    /// Returns a random one of the codes in the first `reach` lots that have any.
    fn choose(self, reach: usize) -> Result<Option<Stock>, TableError> {
        let lots: BTreeSet<Lot> = self.found.iter().map(|(lot, _)| *lot).collect();
        let Some(last) = lots.into_iter().take(reach).next_back() else { return Ok(None) };
        choose(self.found.into_iter().filter(|(lot, _)| *lot <= last).collect())
    }
}

/// Reads the first codes of a partition that can be claimed, beginning at this lot and this number. Also returns
/// whether other codes were passed over because they are held or have expired.
async fn look(
    table: &Table,
    pool: &CodePoolId,
    lot: Lot,
    shard: &str,
    number: &str,
    pages: usize,
    now: Timestamp,
) -> Result<(Vec<Place>, bool), TableError> {
    let query = Query {
        range: Range::After(Stock::sort_key(lot, number)),
        limit: Some(CHOICE),
        consistent: true,
        ..Query::partition(Stock::partition(pool, lot, shard))
    };
    let to_be_had = Filter {
        expression: "(attribute_not_exists(#held) OR #held <= :now) \
                     AND (attribute_not_exists(#valid) OR #valid > :now)",
        names: vec![("#held", HELD_UNTIL), ("#valid", VALID_UNTIL)],
        values: vec![(":now", AttributeValue::N(now.as_millisecond().to_string()))],
    };
    let (found, passed_over) = table.query_until(&patterns::STOCK, query, &to_be_had, pages).await?;
    let place = |item: Item| {
        let lot =
            item.get(LOT).and_then(|lot| lot.as_s().ok()).and_then(|lot| Lot::try_from(lot.clone()).ok());
        let malformed = || TableError::Malformed { entity: Stock::TYPE, detail: "it has no lot".to_owned() };
        lot.map(|lot| (lot, item)).ok_or_else(malformed)
    };
    Ok((found.into_iter().map(place).collect::<Result<_, _>>()?, passed_over))
}

/// Removes empty lots from the shelf, on condition that the shelf has not changed since it was read: an import may
/// have added codes to these lots. Best effort: the removal only saves reads for the next claimer, and another
/// claimer may be making it at the same time.
async fn take_off(table: &Table, shelf: &Shelf, empty: &[Lot]) -> Result<(), TableError> {
    let mut without = Shelf { rev: shelf.rev + 1, ..shelf.clone() };
    without.lots.remove(empty);
    let taken = Commit::new(&patterns::LOT_EMPTY).once().replace("shelf", &without, shelf.rev).apply(table);
    match taken.await {
        Ok(()) | Err(CommitError::Condition(_) | CommitError::Table(TableError::Unavailable { .. })) => {
            Ok(())
        }
        Err(CommitError::Table(error)) => Err(error),
    }
}

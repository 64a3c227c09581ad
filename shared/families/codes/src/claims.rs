//! Claims of codes. Each code is given once, and each user receives one code of a pool.
//!
//! A code that can be claimed has a stock item ([`Stock`]). A claim is one transaction. It writes the claim, on
//! condition that the user's claim is as it was read, and deletes the stock item, on condition that nobody else
//! took the code. A reservation marks the stock item as held instead. A hold expires: when its time is over, the
//! code can be claimed again.
//!
//! The stock is ordered by lot, so a claimer does not read lots that have nothing to give. A claimer first reads at
//! a random position in the lot that ends soonest, where concurrent claimers seldom choose the same code. If that
//! finds nothing, the claimer reads the first available codes of every partition. Both reads are consistent: if the
//! second one finds nothing, the pool had nothing to give (see `docs/adr/0024-stock-ordered-by-end.md`).

use std::collections::{BTreeMap, BTreeSet};

use accounts::entities::{Account, AccountSigning};
use domain::{id::AccountId, secret};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use table::{AttributeValue, Commit, CommitError, Entity, Filter, Item, Query, Range, Table, TableError};

use crate::{
    claim::{Claim, ClaimStatus},
    code_pool::{CodePool, Lot, Platform, PromoCode},
    entities::{CODE_SHARDS, HELD_UNTIL, LOT, Shelf, Stock, VALID_UNTIL, claim_key, code_pool_key},
    id::{ClaimId, CodePoolId},
    patterns,
};

/// Number of codes of a partition among which a claimer chooses.
const CHOICE: usize = 8;
/// Number of partitions that are read at the same time. A pool whose whole stock is ordered by lot has at most 16
/// of them for a platform.
const AT_ONCE: usize = 32;

/// Pool from which a request claims a code, with its account.
pub struct Counter {
    pub account: Account,
    pub signing: AccountSigning,
    pub pool: CodePool,
    /// Shelf of the pool; `None` if the pool is being removed.
    pub shelf: Option<Shelf>,
}

/// Reads a pool with its shelf and its account. Returns `None` if the pool belongs to another account or is being
/// deleted.
pub async fn counter(
    table: &Table,
    account: &AccountId,
    pool: &CodePoolId,
) -> Result<Option<Counter>, TableError> {
    let keys =
        [Account::key_of(account), AccountSigning::key_of(account), code_pool_key(pool), Shelf::key_of(pool)];
    let mut found = table.batch_get(&patterns::CLAIM_POOL, &keys).await?;
    let mut take = |position: usize| found.remove(&keys[position]);
    let (Some(account), Some(signing), Some(pool)) = (take(0), take(1), take(2)) else { return Ok(None) };
    let shelf = take(3).map(Shelf::from_item).transpose()?;
    let account = Account::from_item(account)?;
    let pool = CodePool::from_item(pool)?;
    let own = pool.account_id == account.id && !pool.deleting;
    Ok(if own { Some(Counter { account, signing: Entity::from_item(signing)?, pool, shelf }) } else { None })
}

/// Reads a claim of any account, for callers that computed the id.
pub(crate) async fn find(table: &Table, id: &ClaimId) -> Result<Option<Claim>, TableError> {
    table.get(&patterns::CLAIM, &claim_key(id)).await
}

/// Reads a claim of this account. Returns `None` for a claim of another account.
pub async fn read(table: &Table, account: &AccountId, id: &ClaimId) -> Result<Option<Claim>, TableError> {
    Ok(find(table, id).await?.filter(|claim| claim.account_id == *account))
}

/// Reads the shelf of a pool, for imports that fill it.
pub async fn shelf(table: &Table, pool: &CodePoolId) -> Result<Option<Shelf>, TableError> {
    let key = Shelf::key_of(pool);
    let mut found = table.batch_get(&patterns::SHELF, std::slice::from_ref(&key)).await?;
    found.remove(&key).map(Shelf::from_item).transpose()
}

/// Returns a code that can be claimed now, from the lot that ends soonest; `None` if there is none.
///
/// `attempt` counts from 1. The first attempt uses only the lot that ends soonest. Each further attempt chooses
/// among twice as many lots. Otherwise all claimers that compete for a lot of few codes would meet there again.
///
/// The number of reads does not depend on the number of lots, except for lots from before the stock was ordered by
/// lot.
pub async fn pick(
    table: &Table,
    shelf: &Shelf,
    platform: Platform,
    attempt: u32,
    now: Timestamp,
) -> Result<Option<Stock>, TableError> {
    match glance_at(table, shelf, platform, attempt, now).await? {
        Some(stock) => Ok(Some(stock)),
        None => search(table, shelf, platform, attempt, now).await,
    }
}

/// Returns the number of lots among which an attempt chooses.
fn reach(attempt: u32) -> usize {
    1 << attempt.saturating_sub(1).min(10)
}

/// Runs the first part of [`pick`], in at most two reads. `None` does not mean that there is no code.
pub(crate) async fn glance_at(
    table: &Table,
    shelf: &Shelf,
    platform: Platform,
    attempt: u32,
    now: Timestamp,
) -> Result<Option<Stock>, TableError> {
    let lots: Vec<Lot> = shelf.lots.serving(platform, now).collect();
    glance(table, &shelf.pool_id, &lots, reach(attempt), now).await
}

/// Runs the second part of [`pick`]. `None` means that there was no code.
pub(crate) async fn search(
    table: &Table,
    shelf: &Shelf,
    platform: Platform,
    attempt: u32,
    now: Timestamp,
) -> Result<Option<Stock>, TableError> {
    let lots: Vec<Lot> = shelf.lots.serving(platform, now).collect();
    // A hold that ends during the survey may free a code in a partition that was read already: survey twice.
    for _ in 0..2 {
        let survey = Survey::of(table, &shelf.pool_id, &lots, now).await?;
        if !survey.empty.is_empty() {
            take_off(table, shelf, &survey.empty).await?;
        }
        let sold_out = survey.empty.len() == lots.len();
        match survey.choose(reach(attempt))? {
            None if !sold_out => {}
            found => return Ok(found),
        }
    }
    Ok(None)
}

/// Returns true if a code for this platform can be claimed now.
pub async fn is_available(
    table: &Table,
    shelf: &Shelf,
    platform: Platform,
    now: Timestamp,
) -> Result<bool, TableError> {
    let lots: Vec<Lot> = shelf.lots.serving(platform, now).collect();
    if glance(table, &shelf.pool_id, &lots, lots.len(), now).await?.is_some() {
        return Ok(true);
    }
    Ok(!Survey::of(table, &shelf.pool_id, &lots, now).await?.found.is_empty())
}

/// Returns a random number below the bound; 0 if the bound is 0.
fn random(bound: usize) -> usize {
    let number = u32::from_be_bytes(secret::random());
    usize::try_from(number).unwrap_or_default().checked_rem(bound).unwrap_or_default()
}

/// Returns a code of one of the first `reach` lots. The first read begins at a random position in a lot. If it
/// finds nothing, a second read begins at the start of the lot in a random partition, because the random position
/// may be behind the last of few codes. `None` does not mean that there is no code.
async fn glance(
    table: &Table,
    pool: &CodePoolId,
    lots: &[Lot],
    reach: usize,
    now: Timestamp,
) -> Result<Option<Stock>, TableError> {
    let within = &lots[..lots.len().min(reach)];
    let Some(lot) = within.get(random(within.len())) else { return Ok(None) };
    for anywhere in [true, false] {
        let shard = CODE_SHARDS[random(CODE_SHARDS.len())];
        // All numbers in a partition begin with the name of its shard.
        let number = match anywhere {
            true => format!("{shard}{}", secret::encode(&secret::random::<16>()).to_lowercase()),
            false => shard.to_owned(),
        };
        let (mut found, _) = look(table, pool, *lot, shard, &number, 1, now).await?;
        found.retain(|(lot, _)| within.contains(lot));
        if !found.is_empty() {
            return choose(found);
        }
    }
    Ok(None)
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

/// Caller that claims a code, and the terms of the claim.
pub struct Claimant {
    pub id: ClaimId,
    pub account_id: AccountId,
    /// Pseudonym of the user; `device` is the pseudonym of the device.
    pub user: String,
    pub device: Option<String>,
    /// True if a server claims the code; false if a web page does.
    pub by_server: bool,
    /// End of the reservation; `None` for a claim.
    pub reserved_until: Option<Timestamp>,
    pub at: Timestamp,
}

/// Returns a claim of the chosen code, with the writes that make it. The label `stock` fails if somebody else took
/// the code. The label `claim` fails if the user's claim has changed.
///
/// `previous` is the user's earlier claim.
pub fn take(claimant: Claimant, previous: Option<&Claim>, stock: &Stock) -> (Claim, Commit) {
    let Claimant { id, account_id, user, device, by_server, reserved_until, at } = claimant;
    let mut claim = Claim {
        pool_id: id.pool(),
        id,
        account_id,
        user,
        device,
        status: if reserved_until.is_some() { ClaimStatus::Reserved } else { ClaimStatus::Claimed },
        by_server,
        code_id: stock.code_id.clone(),
        code: Some(stock.code.clone()),
        masked: stock.code.masked(),
        platform: stock.lot.platform,
        valid_until: stock.valid_until(),
        lot: stock.lot,
        stock_rev: None,
        reserved_until,
        claimed_at: reserved_until.is_none().then_some(at),
        archived: None,
        rev: previous.map_or(1, |previous| previous.rev + 1),
    };
    let mut commit = Commit::new(&patterns::CLAIM_WRITE);
    commit = match reserved_until {
        Some(until) => {
            let held = Stock {
                held_by: Some(claim.id.clone()),
                held_until: Some(until.as_millisecond()),
                rev: stock.rev + 1,
                ..stock.clone()
            };
            claim.stock_rev = Some(held.rev);
            commit.replace("stock", &held, stock.rev)
        }
        None => commit.delete("stock", &stock.key(), stock.rev),
    };
    commit = match previous {
        Some(previous) => commit.replace("claim", &claim, previous.rev),
        None => commit.create("claim", &claim),
    };
    (claim, commit)
}

/// Turns a reservation into a claim. The label `stock` fails if the reservation expired and somebody else has the
/// code.
pub fn confirm(reserved: &Claim, now: Timestamp) -> (Claim, Commit) {
    let claim = Claim {
        status: ClaimStatus::Claimed,
        claimed_at: Some(now),
        stock_rev: None,
        rev: reserved.rev + 1,
        ..reserved.clone()
    };
    let commit = Commit::new(&patterns::CLAIM_WRITE)
        .delete("stock", &Stock::key_of(&claim.code_id, claim.lot), reserved.stock_rev.unwrap_or_default())
        .replace("claim", &claim, reserved.rev);
    (claim, commit)
}

/// Turns a web page's reservation into a server's reservation. The code is held until `until` or until the end of
/// the present reservation, whichever is later, but no longer than the code is valid. The label `stock` fails if
/// the reservation expired and somebody else has the code. The label `claim` fails if the claim has changed.
pub fn take_over(reserved: &Claim, text: &PromoCode, until: Timestamp) -> (Claim, Commit) {
    let until = until.max(reserved.reserved_until.unwrap_or(until));
    let until = reserved.valid_until.map_or(until, |end| until.min(end));
    let stock = stock_of(reserved, text, Some(until));
    let claim = Claim {
        by_server: true,
        reserved_until: Some(until),
        stock_rev: Some(stock.rev),
        rev: reserved.rev + 1,
        ..reserved.clone()
    };
    let commit = resettled(&stock, reserved, &claim);
    (claim, commit)
}

/// Gives a reserved code back. The label `stock` fails if the reservation expired and somebody else has the code.
pub fn release(reserved: &Claim, text: &PromoCode, now: Timestamp) -> (Claim, Commit) {
    let claim = Claim {
        status: ClaimStatus::Released,
        reserved_until: Some(now),
        stock_rev: None,
        rev: reserved.rev + 1,
        ..reserved.clone()
    };
    let commit = resettled(&stock_of(reserved, text, None), reserved, &claim);
    (claim, commit)
}

/// Returns the next revision of a reserved code's stock item: held until `held_until`, or free if that is `None`.
fn stock_of(reserved: &Claim, text: &PromoCode, held_until: Option<Timestamp>) -> Stock {
    Stock {
        code_id: reserved.code_id.clone(),
        code: text.clone(),
        lot: reserved.lot,
        valid_until: reserved.valid_until.map(Timestamp::as_millisecond),
        held_by: held_until.map(|_| reserved.id.clone()),
        held_until: held_until.map(Timestamp::as_millisecond),
        rev: reserved.stock_rev.unwrap_or_default() + 1,
    }
}

fn resettled(stock: &Stock, reserved: &Claim, claim: &Claim) -> Commit {
    Commit::new(&patterns::CLAIM_WRITE)
        .replace("stock", stock, reserved.stock_rev.unwrap_or_default())
        .replace("claim", claim, reserved.rev)
}

/// Returns an empty commit, for a request that leaves the claim as it is and only stores its answer.
pub fn unchanged() -> Commit {
    Commit::new(&patterns::CLAIM_WRITE)
}

/// Returns true if a claim was not written because somebody else took the code, or because the same user sent two
/// requests at once.
pub fn is_lost(error: &CommitError) -> bool {
    error.failed("stock").is_some() || error.failed("claim").is_some()
}

//! Codes given to people: each once, and one to each user.
//!
//! A code that can be had has its place in the stock ([`Stock`]), an item of its own. To
//! claim is one transaction: the claim is written, unless the user has one, and the place
//! is taken away, unless somebody else was faster. To reserve holds the place instead.
//! A hold ends by itself when its time is over: the place can be had again.
//!
//! The stock is ordered by lot, so that what has nothing to give is not read: a claimer looks at a
//! random place in the lot that ends soonest, where many at once seldom choose the same code, and
//! else reads where each partition begins to have something. Both reads are consistent: when nothing
//! is found, there was nothing (see `docs/adr/0024-stock-ordered-by-end.md`).

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

/// Codes of a partition that are looked at to choose one from.
const CHOICE: usize = 8;
/// Partitions that are read at once. A pool whose stock is all in order has at most sixteen.
const AT_ONCE: usize = 32;

/// The pool that is claimed from, and its account.
pub struct Counter {
    pub account: Account,
    pub signing: AccountSigning,
    pub pool: CodePool,
    /// What the pool may have. A pool that is being removed has none any more.
    pub shelf: Option<Shelf>,
}

/// `None` unless the pool is this account's.
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

/// The claim, whosever it is: for who computed its id.
pub(crate) async fn find(table: &Table, id: &ClaimId) -> Result<Option<Claim>, TableError> {
    table.get(&patterns::CLAIM, &claim_key(id)).await
}

/// The claim, if it is this account's.
pub async fn read(table: &Table, account: &AccountId, id: &ClaimId) -> Result<Option<Claim>, TableError> {
    Ok(find(table, id).await?.filter(|claim| claim.account_id == *account))
}

/// The shelf of a pool, for whoever fills it.
pub async fn shelf(table: &Table, pool: &CodePoolId) -> Result<Option<Shelf>, TableError> {
    let key = Shelf::key_of(pool);
    let mut found = table.batch_get(&patterns::SHELF, std::slice::from_ref(&key)).await?;
    found.remove(&key).map(Shelf::from_item).transpose()
}

/// A code that can be had now, of the lot that ends soonest; `None` when there is none.
///
/// `attempt` counts from 1. The first goes strictly by the end of lots. Each further one chooses among twice as many
/// lots: all that compete for a lot of few codes would otherwise meet there again.
///
/// The number of reads doesn't depend on how many lots there are, except for those from before the stock was in order.
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

/// How many lots are chosen among.
fn reach(attempt: u32) -> usize {
    1 << attempt.saturating_sub(1).min(10)
}

/// The first part of [`pick`], in at most two reads: `None` means little.
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

/// The second part of [`pick`]: `None` means that there was none.
pub(crate) async fn search(
    table: &Table,
    shelf: &Shelf,
    platform: Platform,
    attempt: u32,
    now: Timestamp,
) -> Result<Option<Stock>, TableError> {
    let lots: Vec<Lot> = shelf.lots.serving(platform, now).collect();
    // A code that comes back, when a hold ends, may come where we have looked already.
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

/// Whether a code for this platform can be had now.
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

/// A number below the bound, or 0.
fn random(bound: usize) -> usize {
    let number = u32::from_be_bytes(secret::random());
    usize::try_from(number).unwrap_or_default().checked_rem(bound).unwrap_or_default()
}

/// A code of one of the first lots, found by a read at a random place, or by another where a partition begins: the random
/// place may lie behind the last of few. `None` means little.
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
        // The numbers of a partition all begin with its name.
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

/// A random one of these.
fn choose(mut found: Vec<Place>) -> Result<Option<Stock>, TableError> {
    if found.is_empty() {
        return Ok(None);
    }
    let (_, item) = found.swap_remove(random(found.len()));
    Stock::from_item(item).map(Some)
}

/// Where each partition of the stock begins to have codes that can be had.
struct Survey {
    found: Vec<Place>,
    /// Lots in which there is nothing, not even what is held or has expired.
    empty: Vec<Lot>,
}

/// A code's place in the stock, and its lot.
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
            // What was passed over may be of any lot.
            if !passed_over.contains(&true) {
                survey.empty.extend(lots.into_iter().filter(|lot| first.is_none_or(|first| *lot < first)));
            }
            survey.found.extend(found);
        }
        Ok(survey)
    }

    /// A random one of the codes in the first lots that have any.
    fn choose(self, reach: usize) -> Result<Option<Stock>, TableError> {
        let lots: BTreeSet<Lot> = self.found.iter().map(|(lot, _)| *lot).collect();
        let Some(last) = lots.into_iter().take(reach).next_back() else { return Ok(None) };
        choose(self.found.into_iter().filter(|(lot, _)| *lot <= last).collect())
    }
}

/// The first codes to be had in a partition, from this lot and this beginning of a number on. Also says whether others
/// were passed over: they are held, or have expired.
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

/// Takes empty lots off the shelf, unless the shelf has changed since it was read: codes may have come into them.
/// Nothing depends on it but how soon the next claimer finds something, and it may be done by another just now.
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

/// Who claims.
pub struct Claimant {
    pub id: ClaimId,
    pub account_id: AccountId,
    /// Pseudonyms of the user and the device.
    pub user: String,
    pub device: Option<String>,
    /// Whether a server claims, and not a page.
    pub by_server: bool,
    /// Until when the code is held, if it is only reserved.
    pub reserved_until: Option<Timestamp>,
    pub at: Timestamp,
}

/// A claim of the code that was picked, and the writes that make it; the label `stock`
/// fails when somebody else took the code, `claim` when the user's claim has changed.
///
/// `previous` is what the user had before.
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

/// Makes a reservation a claim; the label `stock` fails when it lapsed and somebody else has the code.
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

/// Makes a page's reservation a server's, which holds until then; the label `stock` fails when it lapsed and somebody else has
/// the code, `claim` when the claim has changed.
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

/// Gives a reserved code back; the label `stock` fails when it lapsed and somebody else has the code.
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

/// The next revision of a reserved code's place, held until then or by nobody.
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

/// The writes of a request that leaves the claim as it is: there is an answer to remember.
pub fn unchanged() -> Commit {
    Commit::new(&patterns::CLAIM_WRITE)
}

/// Whether a claim was not written because somebody else took the code, or the same user asked twice at once.
pub fn is_lost(error: &CommitError) -> bool {
    error.failed("stock").is_some() || error.failed("claim").is_some()
}

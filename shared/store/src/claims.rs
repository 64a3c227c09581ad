//! Codes given to people: each once, and one to each user.
//!
//! A code that can be had has its place in the stock ([`Stock`]), an item of its own. To
//! claim is one transaction: the claim is written, unless the user has one, and the place
//! is taken away, unless somebody else was faster. To reserve holds the place instead.
//! A hold ends by itself when its time is over: the place can be had again.
//!
//! Claimers choose at random within the lot that ends soonest, so that many at once
//! seldom choose the same. The stock is read consistently: when nothing is found, there
//! was nothing (see `docs/adr/0008-stock-of-codes.md`).

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    claim::{Claim, ClaimStatus},
    code_pool::{CodePool, Lot, Platform},
    id::{AccountId, ClaimId, CodePoolId},
    secret,
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use crate::{
    Commit, CommitError, StoreError, Table,
    entities::{
        Account, AccountSigning, CODE_SHARDS, Entity, HELD_UNTIL, Item, Shelf, Stock, VALID_UNTIL, claim_key,
        code_pool_key,
    },
    patterns,
    table::{Filter, Query, Range},
};

/// Codes looked at to choose one from.
const CHOICE: usize = 8;

/// The pool that is claimed from, and its account.
pub struct Counter {
    pub account: Account,
    pub signing: AccountSigning,
    pub pool: CodePool,
}

/// `None` unless the pool is this account's.
pub async fn counter(
    table: &Table,
    account: &AccountId,
    pool: &CodePoolId,
) -> Result<Option<Counter>, StoreError> {
    let keys = [Account::key_of(account), AccountSigning::key_of(account), code_pool_key(pool)];
    let mut found = table.batch_get(&patterns::CLAIM_POOL, &keys).await?;
    let mut take = |position: usize| found.remove(&keys[position]);
    let (Some(account), Some(signing), Some(pool)) = (take(0), take(1), take(2)) else { return Ok(None) };
    let account = Account::from_item(account)?;
    let pool = CodePool::from_item(pool)?;
    let own = pool.account_id == account.id && !pool.deleting;
    Ok(if own { Some(Counter { account, signing: Entity::from_item(signing)?, pool }) } else { None })
}

/// What the user has of the pool, and what the pool may have for the user.
pub async fn context(table: &Table, id: &ClaimId) -> Result<(Option<Claim>, Option<Shelf>), StoreError> {
    let keys = [claim_key(id), Shelf::key_of(&id.pool())];
    let mut found = table.batch_get(&patterns::CLAIM_CONTEXT, &keys).await?;
    let claim = found.remove(&keys[0]).map(Claim::from_item).transpose()?;
    let shelf = found.remove(&keys[1]).map(Shelf::from_item).transpose()?;
    Ok((claim, shelf))
}

/// The claim, if it is this account's.
pub async fn read(table: &Table, account: &AccountId, id: &ClaimId) -> Result<Option<Claim>, StoreError> {
    let claim: Option<Claim> = table.get(&patterns::CLAIM, &claim_key(id)).await?;
    Ok(claim.filter(|claim| claim.account_id == *account))
}

/// The shelf of a pool, for those who want to see without claiming.
pub async fn shelf(table: &Table, pool: &CodePoolId) -> Result<Option<Shelf>, StoreError> {
    let key = Shelf::key_of(pool);
    let mut found = table.batch_get(&patterns::CLAIM_CONTEXT, std::slice::from_ref(&key)).await?;
    found.remove(&key).map(Shelf::from_item).transpose()
}

/// What a look at the stock showed.
enum Look {
    Found(Stock),
    /// All that is there is held or has expired.
    Held,
    Empty,
}

/// A code that can be had now, of the lot that ends soonest; `None` when there is none.
///
/// `attempt` counts from 1. The first goes strictly by the end of lots; whoever lost to
/// somebody else looks further, or else all would meet again at a lot of few codes.
pub async fn pick(
    table: &Table,
    mut shelf: Shelf,
    platform: Platform,
    attempt: u32,
    now: Timestamp,
) -> Result<Option<Stock>, StoreError> {
    // A code that comes back, when a hold ends, may come where we have looked already.
    for _ in 0..2 {
        let mut lots: Vec<Lot> = shelf.lots.serving(platform, now).collect();
        let further = random(usize::try_from(attempt).unwrap_or(usize::MAX).min(lots.len()));
        lots.rotate_left(further);
        let mut held = false;
        for lot in lots {
            match look(table, &shelf.pool_id, lot, now).await? {
                Look::Found(stock) => return Ok(Some(stock)),
                Look::Held => held = true,
                Look::Empty => shelf = take_off(table, shelf, lot).await?,
            }
        }
        if !held {
            break;
        }
    }
    Ok(None)
}

/// A number below the bound, or 0.
fn random(bound: usize) -> usize {
    let number = u32::from_be_bytes(secret::random());
    usize::try_from(number).unwrap_or_default().checked_rem(bound).unwrap_or_default()
}

async fn look(table: &Table, pool: &CodePoolId, lot: Lot, now: Timestamp) -> Result<Look, StoreError> {
    let first = random(CODE_SHARDS.len());
    let mut any = false;
    // From a random place to the end of its partition, and then all that there is.
    for (shards, from) in [
        (vec![first], Some(secret::encode(&secret::random::<16>()).to_lowercase())),
        (vec![first], None),
        ((0..CODE_SHARDS.len()).filter(|shard| *shard != first).collect(), None),
    ] {
        let looks =
            shards.into_iter().map(|shard| look_into(table, pool, lot, CODE_SHARDS[shard], &from, now));
        let looks = try_join_all(looks).await?;
        any |= looks.iter().any(|(_, any)| *any);
        let mut found: Vec<Item> = looks.into_iter().flat_map(|(found, _)| found).collect();
        if !found.is_empty() {
            let chosen = random(found.len());
            return Stock::from_item(found.swap_remove(chosen)).map(Look::Found);
        }
    }
    Ok(if any { Look::Held } else { Look::Empty })
}

async fn look_into(
    table: &Table,
    pool: &CodePoolId,
    lot: Lot,
    shard: &str,
    from: &Option<String>,
    now: Timestamp,
) -> Result<(Vec<Item>, bool), StoreError> {
    let range = match from {
        // The numbers of a partition all begin with its name.
        Some(rest) => Range::After(format!("{shard}{rest}")),
        None => Range::All,
    };
    let query = Query {
        range,
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
    table.query_until(&patterns::STOCK, query, &to_be_had).await
}

/// Takes an empty lot off the shelf, unless the shelf has changed since it was read:
/// codes may have come into the lot.
async fn take_off(table: &Table, shelf: Shelf, lot: Lot) -> Result<Shelf, StoreError> {
    let mut without = Shelf { rev: shelf.rev + 1, ..shelf.clone() };
    without.lots.remove(lot);
    match Commit::new(&patterns::LOT_EMPTY).replace("shelf", &without, shelf.rev).apply(table).await {
        Ok(()) => Ok(without),
        Err(CommitError::Condition(_)) => Ok(shelf),
        Err(CommitError::Store(error)) => Err(error),
    }
}

/// Whether a code for this platform can be had now.
pub async fn is_available(
    table: &Table,
    shelf: &Shelf,
    platform: Platform,
    now: Timestamp,
) -> Result<bool, StoreError> {
    for lot in shelf.lots.serving(platform, now) {
        if let Look::Found(_) = look(table, &shelf.pool_id, lot, now).await? {
            return Ok(true);
        }
    }
    Ok(false)
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

/// Makes a page's reservation a server's; the label `claim` fails when the claim has changed.
pub fn take_over(reserved: &Claim) -> (Claim, Commit) {
    let claim = Claim { by_server: true, rev: reserved.rev + 1, ..reserved.clone() };
    let commit = Commit::new(&patterns::CLAIM_WRITE).replace("claim", &claim, reserved.rev);
    (claim, commit)
}

/// Gives a reserved code back; the label `stock` fails when it lapsed and somebody else has the code.
pub fn release(reserved: &Claim, text: &domain::code_pool::PromoCode, now: Timestamp) -> (Claim, Commit) {
    let held_rev = reserved.stock_rev.unwrap_or_default();
    let stock = Stock {
        code_id: reserved.code_id.clone(),
        code: text.clone(),
        lot: reserved.lot,
        valid_until: reserved.valid_until.map(Timestamp::as_millisecond),
        held_by: None,
        held_until: None,
        rev: held_rev + 1,
    };
    let claim = Claim {
        status: ClaimStatus::Released,
        reserved_until: Some(now),
        stock_rev: None,
        rev: reserved.rev + 1,
        ..reserved.clone()
    };
    let commit = Commit::new(&patterns::CLAIM_WRITE).replace("stock", &stock, held_rev).replace(
        "claim",
        &claim,
        reserved.rev,
    );
    (claim, commit)
}

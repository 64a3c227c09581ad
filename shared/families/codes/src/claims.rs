//! Claims of codes. Each code is given once, and each user receives one code of a pool.
//!
//! A code that can be claimed has a stock item ([`Stock`]). A claim is one transaction. It writes the claim, on
//! condition that the user's claim is as it was read, and deletes the stock item, on condition that nobody else
//! took the code. A reservation marks the stock item as held instead. A hold expires: when its time is over, the
//! code can be claimed again.

use accounts::entities::{Account, AccountSigning};
use domain::id::AccountId;
use jiff::Timestamp;
use table::{
    Commit, CommitError, Entity, Table, TableError,
    lookup::{Lookup, Wanted, one},
};

use crate::{
    claim::{Claim, ClaimStatus},
    code_pool::{CodePool, PromoCode},
    entities::{Shelf, Stock, claim_key, code_pool_key},
    id::{ClaimId, CodePoolId},
    patterns,
};

/// Pool from which a request claims a code, with its account.
pub struct Counter {
    pub account: Account,
    pub signing: AccountSigning,
    pub pool: CodePool,
    /// Shelf of the pool; `None` if the pool is being removed.
    pub shelf: Option<Shelf>,
}

/// Lookup of a pool with its shelf and its account. Finds `None` if the pool belongs to another account or is being
/// deleted.
pub fn counter(
    account: &AccountId,
    pool: &CodePoolId,
) -> Lookup<impl Wanted<Found = Option<Counter>> + use<>> {
    let wanted = (
        one::<Account>(Account::key_of(account)),
        one::<AccountSigning>(AccountSigning::key_of(account)),
        one::<CodePool>(code_pool_key(pool)),
        one::<Shelf>(Shelf::key_of(pool)),
    );
    Lookup::new(&patterns::CLAIM_POOL, wanted).map(|(account, signing, pool, shelf)| {
        let (account, signing, pool) = (account?, signing?, pool?);
        let own = pool.account_id == account.id && !pool.deleting;
        own.then_some(Counter { account, signing, pool, shelf })
    })
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
    table.look_up(Lookup::new(&patterns::SHELF, one(Shelf::key_of(pool)))).await
}

/// Caller that claims a code, and the terms of the claim.
pub(crate) struct Claimant {
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
pub(crate) fn take(claimant: Claimant, previous: Option<&Claim>, stock: &Stock) -> (Claim, Commit) {
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

//! Claiming a code: one rule for the route, the message that tells a code, and whoever else gives codes for something.
//!
//! An [`Offer`] comes with its writes, so that they may be part of a transaction that does more. When the writes are
//! refused ([`is_lost`](crate::claims::is_lost)), somebody else was faster: ask again.

use domain::id::AccountId;
use futures_util::future::try_join;
use jiff::{SignedDuration, Timestamp};
use table::{Commit, Table, TableError};

use crate::{
    claim::{Claim, ClaimStatus},
    claims::{self, Claimant, Counter},
    code_pool::{Closed, CodePool, Platform},
    entities::Stock,
    id::ClaimId,
};

/// Who asks a pool for a code, and for what.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: ClaimId,
    pub account_id: AccountId,
    /// Pseudonyms of the user and the device.
    pub user: String,
    pub device: Option<String>,
    /// Whether a server asks, and not a page.
    pub by_server: bool,
    pub platform: Platform,
    /// For how long the code is to be held; `None` to claim it for good.
    pub hold: Option<SignedDuration>,
    /// Whether a code whose text has been archived counts as none: there is another one then.
    pub with_text: bool,
}

/// What a pool has for somebody.
pub enum Offer {
    /// The claim as it is once the writes are made.
    Claim {
        claim: Box<Claim>,
        writes: Commit,
        /// Whether the user had none.
        is_new: bool,
    },
    /// A server claimed or reserved the user's code, and a page asks: a page names whatever user it likes.
    OfServer,
    Closed(Closed),
    /// There is no such pool any more.
    Gone,
    Exhausted,
    /// The user got a code a moment ago, asking twice at once: ask again.
    Again,
}

impl Offer {
    fn new(claim: Claim, writes: Commit, is_new: bool) -> Self {
        Self::Claim { claim: Box::new(claim), writes, is_new }
    }
}

/// What was found at a first look, in at most three reads at the same time.
pub struct Look {
    previous: Option<Claim>,
    stock: Option<Stock>,
    attempt: u32,
}

/// Looks what a pool may have for somebody. Nothing is decided by that: it may go on while a request is counted. `attempt` counts
/// from 1, as in [`claims::pick`]; for a further one the counter is read anew.
///
/// # Errors
/// When the table is out of reach.
pub async fn look(
    table: &Table,
    counter: &Counter,
    request: &Request,
    attempt: u32,
    now: Timestamp,
) -> Result<Look, TableError> {
    let glance = async {
        match counter.shelf.as_ref().filter(|_| counter.pool.closed(now).is_none()) {
            Some(shelf) => claims::glance_at(table, shelf, request.platform, attempt, now).await,
            None => Ok(None),
        }
    };
    let (previous, stock) = try_join(claims::find(table, &request.id), glance).await?;
    Ok(Look { previous, stock, attempt })
}

/// What a pool has for somebody, after a look: the code of before, or another one.
///
/// # Errors
/// When the table is out of reach.
pub async fn offer(
    table: &Table,
    counter: &Counter,
    request: &Request,
    look: Look,
    now: Timestamp,
) -> Result<Offer, TableError> {
    let pool = &counter.pool;
    let Look { previous, stock, attempt } = look;
    if let Some(current) = previous.as_ref().filter(|claim| request.is_met_by(claim, now)) {
        return Ok(again(pool, request, current, now));
    }
    if let Some(closed) = pool.closed(now) {
        return Ok(Offer::Closed(closed));
    }
    let Some(shelf) = &counter.shelf else { return Ok(Offer::Gone) };
    let stock = match stock {
        Some(stock) => Some(stock),
        None => claims::search(table, shelf, request.platform, attempt, now).await?,
    };
    let Some(stock) = stock else {
        // Perhaps it was this very user, asking twice at once, who took the last one.
        let own = claims::read(table, &request.account_id, &request.id).await?;
        let met = own.is_some_and(|claim| request.is_met_by(&claim, Timestamp::now()));
        return Ok(if met { Offer::Again } else { Offer::Exhausted });
    };
    let claimant = Claimant {
        id: request.id.clone(),
        account_id: request.account_id.clone(),
        user: request.user.clone(),
        device: request.device.clone(),
        by_server: request.by_server,
        // A code can't be confirmed when it is no good any more.
        reserved_until: request
            .hold
            .map(|hold| now + hold)
            .map(|held| stock.valid_until().map_or(held, |end| held.min(end))),
        at: now,
    };
    let (claim, writes) = claims::take(claimant, previous.as_ref(), &stock);
    Ok(Offer::new(claim, writes, true))
}

impl Request {
    /// Whether this claim is what is asked for.
    fn is_met_by(&self, claim: &Claim, now: Timestamp) -> bool {
        claim.is_current(now) && (claim.code.is_some() || !self.with_text)
    }
}

/// What there is for a user who has a code, or a reservation, already.
fn again(pool: &CodePool, request: &Request, current: &Claim, now: Timestamp) -> Offer {
    if current.by_server && !request.by_server {
        return Offer::OfServer;
    }
    let reserved = current.status == ClaimStatus::Reserved;
    // Or else a page could reserve for somebody first, and then settle what the server reserves.
    let takes_over = reserved && !current.by_server && request.by_server;
    let (claim, writes) = match (current.code.as_ref(), request.hold) {
        (_, None) if reserved => {
            // What was reserved was promised: a pause does not take it back.
            if let Some(closed) = pool.closed(now).filter(|closed| *closed != Closed::Paused) {
                return Offer::Closed(closed);
            }
            claims::confirm(&Claim { by_server: current.by_server || takes_over, ..current.clone() }, now)
        }
        (Some(text), Some(hold)) if takes_over => claims::take_over(current, text, now + hold),
        _ => (current.clone(), claims::unchanged()),
    };
    Offer::new(claim, writes, false)
}

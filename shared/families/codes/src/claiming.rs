//! Rules for claiming a code, shared by the route, by the messages that tell a code, and by other callers that give
//! codes.
//!
//! An [`Offer`] comes with its writes, so that a larger transaction can contain them. If the writes are refused
//! ([`is_lost`](crate::claims::is_lost)), another request was faster: the caller retries from [`look`].

use domain::id::AccountId;
use futures_util::future::try_join;
use jiff::{SignedDuration, Timestamp};
use table::{Commit, Table, TableError};

use crate::{
    choice::Choice,
    claim::{Claim, ClaimStatus},
    claims::{self, Claimant, Counter},
    code_pool::{Closed, CodePool, Platform},
    entities::Stock,
    id::ClaimId,
};

/// Request for a code of a pool.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: ClaimId,
    pub account_id: AccountId,
    /// Pseudonym of the user; `device` is the pseudonym of the device.
    pub user: String,
    pub device: Option<String>,
    /// True if a server sent the request; false if a web page did.
    pub by_server: bool,
    pub platform: Platform,
    /// Duration for which the code is held; `None` for a claim.
    pub hold: Option<SignedDuration>,
    /// True if an existing claim whose text is archived does not count, so that the user receives another code.
    pub with_text: bool,
}

/// Outcome of a request for a code.
pub enum Offer {
    /// Claim as it is after the writes.
    Claim {
        claim: Box<Claim>,
        writes: Commit,
        /// True if the code is newly given to the user.
        is_new: bool,
    },
    /// A server claimed or reserved the user's code, and a web page asks for it. The request is refused, because a
    /// web page can name any user.
    OfServer,
    Closed(Closed),
    /// The pool no longer exists.
    Gone,
    Exhausted,
    /// The user received a code a moment ago, through a concurrent request. The caller retries.
    Again,
}

impl Offer {
    fn new(claim: Claim, writes: Commit, is_new: bool) -> Self {
        Self::Claim { claim: Box::new(claim), writes, is_new }
    }
}

/// Result of the first reads for a request: the user's earlier claim, and a code that may be free.
pub struct Look {
    previous: Option<Claim>,
    /// Lots from which a code is chosen; `None` if the pool is being removed.
    choice: Option<Choice>,
    stock: Option<Stock>,
}

/// Reads the user's earlier claim and a code that the pool may give, in at most three reads. Decides nothing, so it
/// can run while the request is counted against its rate limit. `attempt` counts from 1: each further attempt chooses
/// among more lots, and the caller reads the counter again for it.
///
/// # Errors
/// When the table is unavailable.
pub async fn look(
    table: &Table,
    counter: &Counter,
    request: &Request,
    attempt: u32,
    now: Timestamp,
) -> Result<Look, TableError> {
    let choice = counter.shelf.as_ref().map(|shelf| Choice::of(shelf, request.platform, attempt, now));
    let glance = async {
        match (&counter.shelf, &choice) {
            (Some(shelf), Some(choice)) if counter.pool.closed(now).is_none() => {
                choice.glance(table, shelf, now).await
            }
            _ => Ok(None),
        }
    };
    let (previous, stock) = try_join(claims::find(table, &request.id), glance).await?;
    Ok(Look { previous, choice, stock })
}

/// Decides what a request receives, after [`look`]: the user's earlier code, or another one.
///
/// # Errors
/// When the table is unavailable.
pub async fn offer(
    table: &Table,
    counter: &Counter,
    request: &Request,
    look: Look,
    now: Timestamp,
) -> Result<Offer, TableError> {
    let pool = &counter.pool;
    let Look { previous, choice, stock } = look;
    if let Some(current) = previous.as_ref().filter(|claim| request.is_met_by(claim, now)) {
        return Ok(again(pool, request, current, now));
    }
    if let Some(closed) = pool.closed(now) {
        return Ok(Offer::Closed(closed));
    }
    let (Some(shelf), Some(choice)) = (&counter.shelf, choice) else { return Ok(Offer::Gone) };
    let stock = match stock {
        Some(stock) => Some(stock),
        None => choice.search(table, shelf, now).await?,
    };
    let Some(stock) = stock else {
        // A concurrent request of the same user may have taken the last code.
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
        // An expired code cannot be confirmed, so the hold ends with the validity of the code.
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
    /// Returns true if this claim is what the request asks for.
    fn is_met_by(&self, claim: &Claim, now: Timestamp) -> bool {
        claim.is_current(now) && (claim.code.is_some() || !self.with_text)
    }
}

/// Returns the offer for a user who already has a code or a reservation.
fn again(pool: &CodePool, request: &Request, current: &Claim, now: Timestamp) -> Offer {
    if current.by_server && !request.by_server {
        return Offer::OfServer;
    }
    let reserved = current.status == ClaimStatus::Reserved;
    // Otherwise a web page could reserve for a user first, and then confirm or release what the server reserves.
    let takes_over = reserved && !current.by_server && request.by_server;
    let (claim, writes) = match (current.code.as_ref(), request.hold) {
        (_, None) if reserved => {
            // A reservation is a promise: pausing the pool does not revoke it.
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

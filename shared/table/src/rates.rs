//! Rate limits: counts requests per minute; see [`domain::rate`].

use domain::{
    id::AccountId,
    rate::{Rate, Verdict},
};
use jiff::Timestamp;

use crate::{
    Table, TableError,
    counters::{Clock, Moved},
    keys::Key,
    patterns,
};

/// Returns the key of the clock for one limit of one caller.
pub fn rate_key(account: &AccountId, limit: &str, caller: &str) -> Key {
    Key::new(&["RATE", account.as_str(), limit, caller], &["META"])
}

/// Counts a request of `caller` against a limit of `limit` requests a minute, and returns whether the request is
/// allowed. A refused request is not counted.
///
/// Makes one conditional write if the caller's whole allowance is available or the request is refused, otherwise
/// two. Concurrent requests of the same caller may cause more.
pub async fn count(
    table: &Table,
    account: &AccountId,
    name: &str,
    caller: &str,
    limit: u64,
    now: Timestamp,
) -> Result<Verdict, TableError> {
    let rate = Rate::per_minute(limit);
    let key = rate_key(account, name, caller);
    let (start, latest) = (now.as_microsecond(), rate.latest(now));
    let mut clock = Clock::Restarted { at: start };
    loop {
        match table.move_clock(&patterns::RATE, &key, clock, rate.interval()).await? {
            Moved::To(arrival) => return Ok(rate.allowed(arrival, now)),
            Moved::Not { stands: arrival } if arrival > latest => return Ok(rate.refused(arrival, now)),
            Moved::Not { stands: arrival } if arrival > start => clock = Clock::GoesOn { latest },
            Moved::Not { .. } => clock = Clock::Restarted { at: start },
        }
    }
}

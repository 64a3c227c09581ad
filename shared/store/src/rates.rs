//! Counts requests a minute; see [`domain::rate`].

use domain::{
    id::AccountId,
    rate::{Rate, Verdict},
};
use jiff::Timestamp;

use crate::{
    StoreError, Table,
    entities::rate_key,
    patterns,
    table::{Clock, Moved},
};

/// Counts a request of `caller` against `limit` a minute and says whether it may go on.
/// Refused requests are not counted.
///
/// One write for a caller who was at rest, a second one for others.
pub async fn count(
    table: &Table,
    account: &AccountId,
    name: &str,
    caller: &str,
    limit: u64,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    let rate = Rate::per_minute(limit);
    let key = rate_key(account, name, caller);
    let (start, latest) = (now.as_microsecond(), rate.latest(now));
    let mut clock = Clock::Restarted { at: start };
    loop {
        match table.move_clock(&patterns::RATE, &key, clock, rate.interval(), now).await? {
            Moved::To(arrival) => return Ok(rate.allowed(arrival, now)),
            Moved::Not { stands: arrival } if arrival > latest => return Ok(rate.refused(arrival, now)),
            Moved::Not { stands: arrival } if arrival > start => clock = Clock::GoesOn { latest },
            Moved::Not { .. } => clock = Clock::Restarted { at: start },
        }
    }
}

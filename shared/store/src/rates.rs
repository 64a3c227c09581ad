//! Counts requests a minute; see [`domain::rate`].

use domain::{
    id::AccountId,
    rate::{self, Verdict},
};
use jiff::Timestamp;

use crate::{StoreError, Table, entities::rate_key, patterns};

/// Counts a request of `caller` against `limit` and says whether it may go on.
/// Refused requests are not counted.
pub async fn count(
    table: &Table,
    account: &AccountId,
    name: &str,
    caller: &str,
    limit: u64,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    let window = rate::window(now);
    let previous = table.counters(&patterns::RATE, &rate_key(account, name, caller, window - 1)).await?;
    let previous = number(&previous, "n");
    let bound = rate::allowance(limit, previous, now);
    let counted = match bound {
        0 => None,
        _ => {
            let key = rate_key(account, name, caller, window);
            let expires = (window + 3) * rate::WINDOW;
            table.add(&patterns::RATE, &key, &[("n", 1)], Some(("n", bound)), Some(expires)).await?
        }
    };
    let counted = counted.map(|counters| number(&counters, "n"));
    Ok(rate::verdict(limit, previous, counted, now))
}

fn number(counters: &std::collections::HashMap<String, i64>, name: &str) -> u64 {
    counters.get(name).and_then(|n| u64::try_from(*n).ok()).unwrap_or_default()
}

//! Counts requests a minute; see [`domain::rate`].

use domain::{
    id::AccountId,
    rate::{self, Verdict},
};
use jiff::Timestamp;

use crate::{StoreError, Table, entities::rate_key, patterns};

/// Counts a request of `caller` against `limit` and says whether it may go on.
/// Once the limit is reached within a window, refused requests are not counted.
pub async fn count(
    table: &Table,
    account: &AccountId,
    name: &str,
    caller: &str,
    limit: u64,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    let window = rate::window(now);
    let expires = (window + 3) * rate::WINDOW;
    let key = rate_key(account, name, caller, window);
    let counted = table
        .add(&patterns::RATE, &key, &[("n", 1)], Some(("n", limit.saturating_add(1))), Some(expires))
        .await?;
    let current = counted.map_or(limit.saturating_add(1), |counters| number(&counters, "n"));
    let previous = table.counters(&patterns::RATE, &rate_key(account, name, caller, window - 1)).await?;
    Ok(rate::judge(limit, number(&previous, "n"), current, now))
}

fn number(counters: &std::collections::HashMap<String, i64>, name: &str) -> u64 {
    counters.get(name).and_then(|n| u64::try_from(*n).ok()).unwrap_or_default()
}

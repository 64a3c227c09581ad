//! Sliding-window rate limits from two fixed windows.
//!
//! The count of the last minute is estimated as this window's count plus the
//! previous window's, weighted by how much of it still overlaps.

use jiff::Timestamp;

/// Length of a window, in seconds.
pub const WINDOW: i64 = 60;

/// The number of the window that `now` falls into.
pub fn window(now: Timestamp) -> i64 {
    now.as_second().div_euclid(WINDOW)
}

/// The state of a limit after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub limit: u64,
    /// Requests still allowed now.
    pub remaining: u64,
    /// Seconds until the current window ends.
    pub reset: u64,
    /// Seconds after which another request may be allowed.
    pub retry_after: u64,
}

/// How many requests the current window may have in all, as of now, given how many
/// were allowed in the previous one.
pub fn allowance(limit: u64, previous: u64, now: Timestamp) -> u64 {
    limit.saturating_sub(previous * rest(now) / WINDOW.unsigned_abs())
}

/// Seconds until the window ends, 1–60.
fn rest(now: Timestamp) -> u64 {
    (WINDOW - now.as_second().rem_euclid(WINDOW)).unsigned_abs()
}

/// The verdict on a request. `counted` is the window's count with this request in it,
/// or `None` when the request was refused; only allowed requests count.
pub fn verdict(limit: u64, previous: u64, counted: Option<u64>, now: Timestamp) -> Verdict {
    let allowance = allowance(limit, previous, now);
    let window = WINDOW.unsigned_abs();
    let reset = rest(now);
    let retry_after = if allowance < limit {
        // The previous window fades: its next request falls out of the last minute.
        window.div_ceil(previous.max(1)).min(reset)
    } else {
        reset + window.div_ceil(limit.max(1))
    };
    Verdict {
        allowed: counted.is_some(),
        limit,
        remaining: counted.map_or(0, |counted| allowance.saturating_sub(counted)),
        reset,
        retry_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that come every second for some minutes: how many are allowed in each.
    fn steady(limit: u64, minutes: usize) -> Vec<u64> {
        let mut counts = vec![0u64; minutes + 1];
        for second in 0..minutes as i64 * WINDOW {
            let now = Timestamp::from_second(second).unwrap();
            let minute = usize::try_from(window(now)).unwrap();
            let previous = if minute == 0 { 0 } else { counts[minute - 1] };
            if counts[minute] < allowance(limit, previous, now) {
                counts[minute] += 1;
            }
        }
        counts.truncate(minutes);
        counts
    }

    #[test]
    fn steady_demand_gets_its_limit_minute_after_minute() {
        for limit in [1, 3, 20, 59] {
            for allowed in steady(limit, 10) {
                assert!(allowed <= limit && allowed * 2 >= limit, "{limit}: {allowed}");
            }
        }
    }

    #[test]
    fn the_previous_window_fades_out() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(allowance(10, 0, at(600)), 10);
        assert_eq!(allowance(10, 10, at(600)), 0);
        assert_eq!(allowance(10, 10, at(630)), 5);
        assert_eq!(allowance(10, 10, at(659)), 10);
        let refused = verdict(10, 10, None, at(630));
        assert_eq!(
            (refused.allowed, refused.remaining, refused.reset, refused.retry_after),
            (false, 0, 30, 6)
        );
        let full = verdict(10, 0, None, at(630));
        assert_eq!(full.retry_after, 36, "when this window's requests begin to fall out of the last minute");
    }
}

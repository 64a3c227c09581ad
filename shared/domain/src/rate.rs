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

/// The state of a limit after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub limit: u64,
    /// Requests still allowed now.
    pub remaining: u64,
    /// Seconds until the current window ends.
    pub reset: u64,
}

/// Judges a request given the counts of the previous and the current window,
/// the current one with this request in it.
pub fn judge(limit: u64, previous: u64, current: u64, now: Timestamp) -> Verdict {
    let elapsed = now.as_second().rem_euclid(WINDOW).unsigned_abs();
    let window = WINDOW.unsigned_abs();
    let used = current + previous * (window - elapsed) / window;
    Verdict { allowed: used <= limit, limit, remaining: limit.saturating_sub(used), reset: window - elapsed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_window_fades_out() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(judge(10, 0, 10, at(600)).allowed);
        assert!(!judge(10, 0, 11, at(600)).allowed);
        assert!(!judge(10, 10, 1, at(600)).allowed);
        let half = judge(10, 10, 4, at(630));
        assert_eq!((half.allowed, half.remaining, half.reset), (true, 1, 30));
        assert!(judge(10, 10, 10, at(659)).allowed);
    }
}

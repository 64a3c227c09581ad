//! Rate limits by the generic cell rate algorithm (GCRA).
//!
//! A caller may make `limit` requests at once. After that, the allowance for one request comes back every
//! `60 s / limit`. The only state is one time, the theoretical arrival time, at which the whole allowance is back.
//! Times are in microseconds since the epoch.

use jiff::Timestamp;

const MINUTE: i64 = 60_000_000;
const SECOND: i64 = 1_000_000;

/// Limit of requests per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    limit: u64,
}

/// State of a limit after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub limit: u64,
    /// Number of requests that are allowed now.
    pub remaining: u64,
    /// Seconds until the whole allowance is back.
    pub reset: u64,
    /// Seconds until another request is allowed.
    pub retry_after: u64,
}

impl Rate {
    pub fn per_minute(limit: u64) -> Self {
        Self { limit }
    }

    /// Returns the microseconds that a request adds to the arrival time.
    pub fn interval(self) -> i64 {
        MINUTE.unsigned_abs().div_ceil(self.limit.max(1)).cast_signed()
    }

    /// Returns the microseconds until a used-up allowance is back.
    fn period(self) -> i64 {
        self.interval().saturating_mul(i64::try_from(self.limit).unwrap_or(i64::MAX))
    }

    /// Returns the latest arrival time at which a request is allowed now.
    pub fn latest(self, now: Timestamp) -> i64 {
        now.as_microsecond().saturating_add(self.period() - self.interval())
    }

    /// Returns the verdict on an allowed request. `arrival` is the arrival time after the request.
    pub fn allowed(self, arrival: i64, now: Timestamp) -> Verdict {
        self.verdict(true, arrival, now)
    }

    /// Returns the verdict on a refused request, which leaves the arrival time unchanged.
    pub fn refused(self, arrival: i64, now: Timestamp) -> Verdict {
        self.verdict(false, arrival, now)
    }

    fn verdict(self, allowed: bool, arrival: i64, now: Timestamp) -> Verdict {
        let ahead = (arrival - now.as_microsecond()).max(0);
        let late = arrival - self.latest(now);
        Verdict {
            allowed,
            limit: self.limit,
            remaining: ((self.period() - ahead).max(0) / self.interval()).unsigned_abs(),
            reset: seconds(ahead),
            retry_after: seconds(late),
        }
    }
}

/// Converts microseconds to seconds, rounded up.
fn seconds(micros: i64) -> u64 {
    micros.max(0).unsigned_abs().div_ceil(SECOND.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(1_700_000_000_000_000 + micros).unwrap()
    }

    /// Counts a request in the same way as the store.
    fn request(rate: Rate, arrival: &mut i64, now: Timestamp) -> Verdict {
        let before = (*arrival).max(now.as_microsecond());
        if before > rate.latest(now) {
            return rate.refused(before, now);
        }
        *arrival = before + rate.interval();
        rate.allowed(*arrival, now)
    }

    #[test]
    fn the_limit_is_allowed_at_once_and_then_one_by_one() {
        for limit in [1, 2, 3, 7, 20, 59, 1_000, 999_999] {
            let rate = Rate::per_minute(limit);
            let mut arrival = 0;
            for left in (0..limit).rev().take(2_000) {
                let verdict = request(rate, &mut arrival, at(0));
                assert!(verdict.allowed, "{limit}: {left} left");
                assert_eq!(verdict.remaining, left);
            }
            arrival = rate.latest(at(0)) + rate.interval();
            let refused = request(rate, &mut arrival, at(0));
            assert_eq!((refused.allowed, refused.remaining), (false, 0), "{limit}");
            assert!((60..=61).contains(&refused.reset), "{limit}");
            assert_eq!(refused.retry_after, 60_u64.div_ceil(limit), "{limit}");
            let again = at(rate.interval());
            assert!(request(rate, &mut arrival, again).allowed, "{limit}");
            assert!(!request(rate, &mut arrival, again).allowed, "{limit}");
        }
    }

    #[test]
    fn steady_demand_gets_exactly_its_limit() {
        for limit in [1, 3, 20] {
            let rate = Rate::per_minute(limit);
            let mut arrival = 0;
            let allowed = (0..600).filter(|n| request(rate, &mut arrival, at(n * SECOND)).allowed).count();
            let expected = usize::try_from(limit).unwrap() * 11;
            assert!((expected - 1..=expected).contains(&allowed), "{limit}: {allowed}");
        }
    }

    #[test]
    fn whoever_waits_as_told_is_let_through() {
        for limit in [1, 3, 7, 100] {
            let rate = Rate::per_minute(limit);
            let mut arrival = 0;
            let refused =
                (0..).map(|n| request(rate, &mut arrival, at(n * 1_000))).find(|verdict| !verdict.allowed);
            let wait = refused.unwrap().retry_after * SECOND.unsigned_abs();
            assert!(request(rate, &mut arrival, at(101_000 + wait.cast_signed())).allowed, "{limit}");
        }
    }
}

//! Optimistic concurrency: read, decide, write on the condition that nothing has changed, and retry after a
//! conflict.

use crate::Problem;

/// Attempts before the caller gets the conflict. In each round one of the concurrent writers succeeds, so 20
/// writers of the same item all get through.
const ATTEMPTS: u32 = 20;

/// Calls `act` again, with back-off, while another writer changes the same items at the same time. Each call of
/// `act` must read anew the items that it decides by. Effects outside its commit must be idempotent.
///
/// # Errors
/// The problem of `act`, or [`problems::CONFLICT`](crate::problems::CONFLICT) if other writers still conflict at
/// the last attempt.
pub async fn retried<T, F>(mut act: impl FnMut() -> F) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>>,
{
    let mut attempt = 1;
    loop {
        match act().await {
            Err(problem) if problem.contended && attempt < ATTEMPTS => table::back_off(attempt).await,
            outcome => return outcome,
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{ProblemKind, problems};

    /// Returns the outcome and the number of attempts.
    async fn tried(outcome: impl Fn(u32) -> Result<u32, Problem>) -> (Result<u32, ProblemKind>, u32) {
        let (times, outcome) = (&Cell::new(0), &outcome);
        let found = retried(|| async move {
            times.set(times.get() + 1);
            outcome(times.get())
        });
        (found.await.map_err(|problem| problem.kind), times.get())
    }

    #[tokio::test]
    async fn who_loses_a_race_tries_again_and_who_is_refused_does_not() {
        let third = |time| if time < 3 { Err(Problem::contended()) } else { Ok(time) };
        assert_eq!(tried(third).await, (Ok(3), 3));
        assert_eq!(tried(|_| Err(problems::CONFLICT.into())).await, (Err(problems::CONFLICT), 1));
        assert_eq!(tried(|_| Err(Problem::contended())).await, (Err(problems::CONFLICT), ATTEMPTS));
    }

    #[test]
    fn only_a_lost_race_becomes_unavailable() {
        assert_eq!(Problem::contended().or_unavailable().kind, problems::UNAVAILABLE);
        assert_eq!(Problem::from(problems::CONFLICT).or_unavailable().kind, problems::CONFLICT);
    }
}

//! Optimistic concurrency: read, decide, write on the condition that nothing has changed; and again when it has.

use crate::Problem;

/// Before somebody who keeps losing is told so. Twenty who change the same thing at once all get through.
const ATTEMPTS: u32 = 20;

/// Does it, and again as long as somebody else changes the same things at the same time. It has to read anew what it
/// decides by, and must do nothing outside of its commit that can't be done twice.
///
/// # Errors
/// Its own; [`problems::CONFLICT`](crate::problems::CONFLICT) when others keep changing the same.
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

    /// The outcome, and how often it was tried.
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

//! EventBridge Scheduler: invokes a function at intervals of wall-clock time.
//!
//! A file stores the time of the last successful firing. A restart by itself fires nothing. A firing that became
//! due while the process was down, or that was cut off when the process was killed, happens at the next start,
//! and only once even if several were missed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use super::{read_checkpoint, write_checkpoint};
use crate::{PlatformError, functions::Functions};

/// Maximum sleep. The clock that measures sleeps stops while a laptop is suspended.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Pause after a failure. Lambda retries twice and then waits for the next firing, which may be a day away.
const RETRY_AFTER: Duration = Duration::from_secs(60);

pub struct SchedulePoller {
    pub functions: Functions,
    pub function: String,
    pub interval: Duration,
    pub input: Value,
    pub written: Arc<Notify>,
    /// File that stores the time of the last firing.
    pub checkpoint: PathBuf,
}

impl SchedulePoller {
    /// Runs for ever.
    pub async fn run(self) {
        loop {
            let pause = match self.step(Timestamp::now()).await {
                Ok(remaining) => remaining.min(LOOK_EVERY),
                Err(error) => {
                    tracing::error!(function = self.function, cause = %error, "schedule failed");
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Fires if the interval has passed. Returns the time until the next firing.
    async fn step(&self, now: Timestamp) -> Result<Duration, PlatformError> {
        let last = read_checkpoint(&self.checkpoint).and_then(|time| time.parse().ok());
        if let Some(last) = last {
            let remaining = remaining(self.interval, last, now);
            if !remaining.is_zero() {
                return Ok(remaining);
            }
            let fired = self.functions.invoke(&self.function, self.input.clone()).await;
            self.written.notify_one();
            fired.map_err(|reason| PlatformError::Function { name: self.function.clone(), reason })?;
        }
        // The first interval begins when the platform first runs.
        write_checkpoint(&self.checkpoint, &now.to_string())?;
        Ok(self.interval)
    }
}

/// Returns the rest of an interval. The rest is never longer than the interval, even if the clock was set back.
fn remaining(interval: Duration, last: Timestamp, now: Timestamp) -> Duration {
    let elapsed = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    interval.saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::ToSpan as _;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(minute: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + minute.minutes()
    }

    #[test]
    fn what_is_left_of_an_interval() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for (now, left) in [(0, 60), (1, 59), (59, 1), (60, 0), (1000, 0), (-5, 60)] {
            assert_eq!(remaining(HOUR, at(0), at(now)), minutes(left), "{now}");
        }
    }

    #[tokio::test]
    async fn it_fires_when_due_and_once_for_all_that_was_missed() {
        let directory = TempDir::new().unwrap();
        let answers = Arc::new(Mutex::new(Vec::<Result<Value, String>>::new()));
        let poller = || SchedulePoller {
            functions: Functions::of("Sweep", None, {
                let answers = answers.clone();
                Box::new(move |input| {
                    assert_eq!(input, json!({ "kind": "sweep" }));
                    let answer = answers.lock().unwrap().pop().ok_or("fired too early".to_owned());
                    Box::pin(async { answer? })
                })
            }),
            function: "Sweep".to_owned(),
            interval: HOUR,
            input: json!({ "kind": "sweep" }),
            written: Arc::default(),
            checkpoint: directory.path().join("schedule-sweep.checkpoint"),
        };
        let answer =
            |answer: Result<Value, &str>| answers.lock().unwrap().push(answer.map_err(str::to_owned));
        let fired = || answers.lock().unwrap().is_empty();

        assert_eq!(poller().step(at(0)).await.unwrap(), HOUR);
        assert_eq!(poller().step(at(59)).await.unwrap(), HOUR / 60);
        answer(Ok(Value::Null));
        assert_eq!(poller().step(at(60)).await.unwrap(), HOUR);
        assert!(fired());
        // A restart by itself fires nothing.
        assert_eq!(poller().step(at(61)).await.unwrap(), 59 * HOUR / 60);

        answer(Err("throttled"));
        assert!(poller().step(at(300)).await.unwrap_err().to_string().contains("throttled"));
        answer(Ok(Value::Null));
        assert_eq!(poller().step(at(301)).await.unwrap(), HOUR);
        assert!(fired());
        assert_eq!(poller().step(at(302)).await.unwrap(), 59 * HOUR / 60);
    }
}

//! Lambda's event source mapping of the table's stream.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{read_checkpoint, write_checkpoint};
use crate::{PlatformError, dynamodb::Stream, functions::Functions, pattern::Pattern, sqs::Sqs};

/// How long the stream's poller sleeps when nobody tells it of a write.
const IDLE: Duration = Duration::from_millis(200);
/// Consumed records are trimmed when there are so many of them.
const TRIM_EVERY: u64 = 2000;

/// Feeds the table's stream to one function, in order.
pub struct StreamPoller {
    pub stream: Stream,
    pub functions: Functions,
    pub function: String,
    pub batch_size: u32,
    pub filters: Vec<Pattern>,
    pub bisect: bool,
    pub max_retries: u32,
    pub dead_letters: Option<String>,
    pub sqs: Sqs,
    pub written: Arc<Notify>,
    /// Where the last consumed sequence number is kept.
    pub checkpoint: PathBuf,
    /// Keep consumed records, so that the stream can be replayed.
    pub keep: bool,
}

impl StreamPoller {
    /// Runs for ever.
    pub async fn run(self) {
        let mut after = read_checkpoint(&self.checkpoint);
        let mut size = self.batch_size;
        let mut attempt = 0;
        let mut consumed = 0;
        loop {
            match self.step(&mut after, size).await {
                Ok(0) => {
                    let _ = tokio::time::timeout(IDLE, self.written.notified()).await;
                }
                Ok(count) => {
                    consumed += count;
                    attempt = 0;
                    size = (size * 2).min(self.batch_size);
                    if consumed >= TRIM_EVERY && !self.keep {
                        consumed = 0;
                        self.trim(after.as_deref());
                    }
                }
                Err(error) => {
                    attempt += 1;
                    tracing::warn!(function = self.function, attempt, size, cause = %error, "stream batch failed");
                    if self.bisect && size > 1 {
                        size /= 2;
                    } else if attempt > self.max_retries {
                        attempt = 0;
                        self.give_up(&mut after, size, &error).await;
                    }
                    let pause = Duration::from_millis(20 << attempt.min(8));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Delivers one batch; the number of records consumed.
    async fn step(&self, after: &mut Option<String>, size: u32) -> Result<u64, PlatformError> {
        let records = self.stream.read(after.as_deref(), size)?;
        let Some(last) = records.last().map(sequence_number) else { return Ok(0) };
        let count = records.len() as u64;
        let wanted: Vec<_> =
            records.into_iter().filter(|record| self.filters.is_empty() || self.wants(record)).collect();
        if !wanted.is_empty() {
            let numbers: Vec<_> = wanted.iter().map(sequence_number).collect();
            let answer = self
                .functions
                .invoke(&self.function, json!({ "Records": wanted }))
                .await
                .map_err(|reason| PlatformError::Function { name: self.function.clone(), reason })?;
            if let Some(failed) = first_failure(&answer, &numbers) {
                // What came before the failed record is done.
                if failed > 0 {
                    self.advance(after, numbers[failed - 1].clone())?;
                }
                let reason = format!("reported record {}", numbers[failed]);
                return Err(PlatformError::Function { name: self.function.clone(), reason });
            }
        }
        self.advance(after, last)?;
        Ok(count)
    }

    fn wants(&self, record: &Value) -> bool {
        self.filters.iter().any(|filter| filter.matches(record))
    }

    fn advance(&self, after: &mut Option<String>, to: String) -> Result<(), PlatformError> {
        write_checkpoint(&self.checkpoint, &to)?;
        *after = Some(to);
        Ok(())
    }

    /// Puts aside what failed for good, as Lambda does: the dead-letter queue gets
    /// where the records were, not the records.
    async fn give_up(&self, after: &mut Option<String>, size: u32, error: &PlatformError) {
        let Ok(records) = self.stream.read(after.as_deref(), size) else { return };
        let Some(last) = records.last().map(sequence_number) else { return };
        tracing::error!(function = self.function, cause = %error, last, "stream records given up");
        if let Some(queue) = &self.dead_letters {
            let body = json!({
                "requestContext": { "functionArn": self.function, "condition": "RetryAttemptsExhausted" },
                "DDBStreamBatchInfo": {
                    "startSequenceNumber": records.first().map(sequence_number),
                    "endSequenceNumber": last,
                    "batchSize": records.len(),
                },
            });
            if let Err(error) = self.sqs.send(queue, &body.to_string()) {
                tracing::error!(cause = %error, "dead letter not kept");
                return;
            }
        }
        if let Err(error) = self.advance(after, last) {
            tracing::error!(cause = %error, "checkpoint not kept");
        }
    }

    fn trim(&self, before: Option<&str>) {
        let Some(before) = before else { return };
        if let Err(error) = self.stream.trim(before) {
            tracing::warn!(cause = %error, "stream not trimmed");
        }
    }
}

fn sequence_number(record: &Value) -> String {
    record["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default().to_owned()
}

/// The first record that the function reported as failed.
fn first_failure(answer: &Value, numbers: &[String]) -> Option<usize> {
    answer["batchItemFailures"]
        .as_array()?
        .iter()
        // An entry without a known number fails the whole batch.
        .map(|failure| {
            let id = failure["itemIdentifier"].as_str().unwrap_or_default();
            numbers.iter().position(|number| number == id).unwrap_or(0)
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_failure_decides() {
        let numbers = ["1", "2", "3"].map(str::to_owned);
        let failures = |ids: &[&str]| json!({ "batchItemFailures": ids.iter().map(|id| json!({ "itemIdentifier": id })).collect::<Vec<_>>() });
        assert_eq!(first_failure(&failures(&[]), &numbers), None);
        assert_eq!(first_failure(&failures(&["3", "2"]), &numbers), Some(1));
        assert_eq!(first_failure(&failures(&["unknown"]), &numbers), Some(0));
        assert_eq!(first_failure(&Value::Null, &numbers), None);
    }
}

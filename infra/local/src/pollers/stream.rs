//! Lambda's event source mapping of the table's stream.

mod progress;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::Notify;

use self::progress::{Progress, Reader};
use super::{read_checkpoint, write_checkpoint};
use crate::{PlatformError, dynamodb::Stream, functions::Functions, pattern::Pattern, sqs::Sqs};

/// Pause between two reads of the stream if no write is reported.
const IDLE: Duration = Duration::from_millis(200);
/// Pause after the stream could not be described or read.
const AGAIN: Duration = Duration::from_secs(1);
/// Number of consumed records after which they are trimmed.
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
    /// File that stores the sequence number of the last consumed record of each shard.
    pub checkpoint: PathBuf,
    /// True if consumed records are kept, so that the stream can be replayed.
    pub keep: bool,
}

impl StreamPoller {
    /// Runs for ever.
    pub async fn run(self) {
        let mut progress = Progress::parse(&read_checkpoint(&self.checkpoint).unwrap_or_default());
        let (mut listed, mut untrimmed) = (false, 0);
        loop {
            if !listed {
                match self.stream.shards().await {
                    Ok(shards) => progress.list(shards),
                    Err(error) => {
                        tracing::warn!(function = self.function, cause = %error, "stream not described");
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                }
            }
            let readable = progress.readable();
            // New shards appear only when a shard has ended.
            listed = !readable.is_empty();
            let (mut consumed, began) = (0, Instant::now());
            for place in readable {
                consumed += self.turn(&mut progress, place).await;
                let reader = progress.reader(place);
                listed &= !reader.ended;
                if untrimmed + consumed >= TRIM_EVERY && !self.keep {
                    untrimmed = 0;
                    self.trim(reader);
                }
            }
            untrimmed += consumed;
            if consumed == 0 {
                self.functions.recorder.stream_read_out(began);
                let _ = tokio::time::timeout(IDLE, self.written.notified()).await;
            }
        }
    }

    /// Reads and delivers one batch of a shard. Returns the number of records consumed.
    async fn turn(&self, progress: &mut Progress, place: usize) -> u64 {
        let (records, next) = match self.read(progress.reader(place)).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(function = self.function, cause = %error, "stream not read");
                progress.reader(place).iterator = None;
                tokio::time::sleep(AGAIN).await;
                return 0;
            }
        };
        if let Err(failure) = self.deliver(progress, place, &records).await {
            self.put_back(progress, place, &records, &failure).await;
            return 0;
        }
        let reader = progress.reader(place);
        reader.ended = next.is_none();
        reader.iterator = next;
        if !records.is_empty() {
            reader.attempt = 0;
            reader.size = reader.size.map(|size| size * 2).filter(|size| *size < self.batch_size);
        }
        if reader.ended {
            // If this write fails, the end of the shard is read once more after a restart.
            let _ = write_checkpoint(&self.checkpoint, &progress.checkpoint());
        }
        records.len() as u64
    }

    /// Reads the next records of a shard. Returns them with the iterator of the next read.
    async fn read(&self, reader: &Reader) -> Result<(Vec<Value>, Option<String>), PlatformError> {
        let iterator = match &reader.iterator {
            Some(iterator) => iterator.clone(),
            None => self.stream.iterator(&reader.shard.id, reader.after.as_deref()).await?,
        };
        self.stream.read(&iterator, reader.size.unwrap_or(self.batch_size)).await
    }

    /// Delivers one batch to the function.
    async fn deliver(&self, progress: &mut Progress, place: usize, records: &[Value]) -> Result<(), Failure> {
        let Some(last) = records.last().map(sequence_number) else { return Ok(()) };
        let wanted = records.iter().filter(|record| self.filters.is_empty() || self.wants(record));
        let wanted: Vec<_> = wanted.collect();
        if !wanted.is_empty() {
            let answer = self
                .functions
                .invoke(&self.function, json!({ "Records": wanted }))
                .await
                .map_err(|reason| PlatformError::Function { name: self.function.clone(), reason })?;
            let numbers: Vec<_> = wanted.into_iter().map(sequence_number).collect();
            if let Some(failed) = first_failure(&answer, &numbers) {
                // The records before the failed one are done.
                if failed > 0 {
                    self.advance(progress, place, numbers[failed - 1].clone())?;
                }
                let reason = format!("reported record {}", numbers[failed]);
                let error = PlatformError::Function { name: self.function.clone(), reason };
                return Err(Failure { error, reported: true });
            }
        }
        Ok(self.advance(progress, place, last)?)
    }

    fn wants(&self, record: &Value) -> bool {
        self.filters.iter().any(|filter| filter.matches(record))
    }

    fn advance(&self, progress: &mut Progress, place: usize, to: String) -> Result<(), PlatformError> {
        let before = progress.reader(place).after.replace(to);
        let written = write_checkpoint(&self.checkpoint, &progress.checkpoint());
        if written.is_err() {
            progress.reader(place).after = before;
        }
        written
    }

    /// Retries a batch, or the rest of it. The batch is halved if the function asks for bisection and did not
    /// report the failed record itself. Records whose retries are exhausted are given up.
    async fn put_back(
        &self,
        progress: &mut Progress,
        place: usize,
        records: &[Value],
        Failure { error, reported }: &Failure,
    ) {
        let reader = progress.reader(place);
        let size = reader.size.unwrap_or(self.batch_size);
        reader.iterator = None;
        reader.attempt += 1;
        let attempt = reader.attempt;
        tracing::warn!(function = self.function, attempt, size, cause = %error, "stream batch failed");
        if self.bisect && size > 1 && !reported {
            reader.size = Some(size / 2);
        } else if attempt > self.max_retries {
            reader.attempt = 0;
            let done = |record: &Value| reader.after.as_deref() == Some(&*sequence_number(record));
            let left = records.iter().position(done).map_or(0, |last_done| last_done + 1);
            self.give_up(progress, place, &records[left..], error);
        }
        tokio::time::sleep(Duration::from_millis(20 << attempt.min(8))).await;
    }

    /// Skips records whose retries are exhausted, as Lambda does. The dead-letter queue gets the records'
    /// sequence numbers, not the records.
    fn give_up(&self, progress: &mut Progress, place: usize, records: &[Value], error: &PlatformError) {
        let Some(last) = records.last().map(sequence_number) else { return };
        tracing::error!(function = self.function, cause = %error, last, "stream records given up");
        if let Some(queue) = &self.dead_letters {
            let body = json!({
                "requestContext": { "functionArn": self.function, "condition": "RetryAttemptsExhausted" },
                "DDBStreamBatchInfo": {
                    "shardId": progress.reader(place).shard.id,
                    "startSequenceNumber": records.first().map(sequence_number),
                    "endSequenceNumber": last,
                    "batchSize": records.len(),
                },
            });
            if let Err(error) = self.sqs.send(queue, &body.to_string()) {
                tracing::error!(cause = %error, "dead letter not stored");
                return;
            }
        }
        if let Err(error) = self.advance(progress, place, last) {
            tracing::error!(cause = %error, "checkpoint not stored");
        }
    }

    fn trim(&self, reader: &Reader) {
        let Some(before) = &reader.after else { return };
        if let Err(error) = self.stream.trim(before) {
            tracing::warn!(cause = %error, "stream not trimmed");
        }
    }
}

fn sequence_number(record: &Value) -> String {
    record["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default().to_owned()
}

/// Reason why a batch is retried.
struct Failure {
    error: PlatformError,
    /// True if the function reported the failed record instead of failing itself.
    reported: bool,
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self { error, reported: false }
    }
}

/// Returns the index of the first record that the function reported as failed.
fn first_failure(answer: &Value, numbers: &[String]) -> Option<usize> {
    answer["batchItemFailures"]
        .as_array()?
        .iter()
        // An entry without a known sequence number fails the whole batch.
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

//! The projector: derives counters and events from the writes to the table, and sends jobs and mails to their queues.
//!
//! The projector reads the table's stream and sorts the records of a batch into lanes. Each family then processes
//! its changes (see [`projection::Change`]). Every effect is conditional on not having been applied before. Batches
//! may therefore be repeated, split, reordered between shards, or interrupted.

mod batch;

use api::{
    StartError,
    metrics::{self, Unit},
};
use aws_lambda_events::event::{
    dynamodb,
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use projection::{Context, stream::FollowError};
use table::Table;

use crate::batch::Batch;

/// Maximum number of lanes of a batch that are processed in parallel.
const LANES_AT_ONCE: usize = 32;

pub struct Projector {
    context: Context,
}

impl Projector {
    /// Creates a projector from the environment variables.
    ///
    /// # Errors
    /// If an environment variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        let context = Context::from_env(
            env,
            Table::from_env(env)?,
            families::projections(),
            families::jobs(),
            families::event_kinds(),
        )?;
        Ok(Self { context })
    }

    /// Processes a batch of stream records.
    ///
    /// If processing fails, Lambda retries the batch from its first record. Effects that were applied before are
    /// not applied again. If a record is unreadable, the records before it are processed and the record is reported
    /// as failed, so that the next batch starts with it. If the unreadable record is the first of several, the
    /// invocation fails, because only then does Lambda bisect the batch. In the end the record is alone in its
    /// batch, and is given up without the others.
    ///
    /// # Errors
    /// If the table or a queue is not reachable, or if the first of several records is unreadable.
    pub async fn handle(&self, event: dynamodb::Event) -> Result<DynamoDbEventResponse, FollowError> {
        let mut batch = Batch::default();
        let mut unreadable = None;
        let records = event.records.len() as f64;
        // The stream gives the time of a write in whole seconds only.
        let written = event
            .records
            .iter()
            .map(|record| record.change.approximate_creation_date_time.timestamp_millis());
        let oldest = written.min().unwrap_or_default();
        for (place, record) in event.records.into_iter().enumerate() {
            let sequence_number = record.change.sequence_number.clone();
            match batch.add(record) {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(cause = %error, "unreadable stream record");
                    if place == 0 && records > 1.0 {
                        return Err(error.into());
                    }
                    unreadable = Some(sequence_number);
                    break;
                }
            }
        }
        self.work(batch).await.inspect_err(|error| {
            tracing::error!(cause = %error, "batch failed");
        })?;
        let lag = (Timestamp::now().as_millisecond() - oldest) as f64;
        metrics::record(&[("Lag", Unit::Milliseconds, lag), ("Records", Unit::Count, records)], &[]);
        let mut response = DynamoDbEventResponse::default();
        if let Some(sequence_number) = unreadable {
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = sequence_number;
            response.batch_item_failures.push(failure);
        }
        Ok(response)
    }

    /// Processes the lanes of a batch in parallel, so that accounts do not wait for each other. An error in one
    /// lane does not stop the other lanes.
    ///
    /// # Errors
    /// One of the errors, after all lanes have ended.
    async fn work(&self, batch: Batch) -> Result<(), FollowError> {
        let mut work = Vec::new();
        for lane in &batch.lanes {
            work.push(batch.follow(lane, &self.context).boxed());
        }
        let outcomes: Vec<_> = stream::iter(work).buffer_unordered(LANES_AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }
}

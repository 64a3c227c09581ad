//! The projector: everything that follows from a write.
//!
//! It reads the table's stream, sorts the records of a batch into lanes, and has each family do what follows from its
//! changes (see [`projection::Change`]). Every effect is conditional on not having happened, so that batches may be
//! repeated, split, reordered between shards, or cut off in the middle.

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

/// Lanes of a batch that are worked on at the same time.
const LANES_AT_ONCE: usize = 32;

pub struct Projector {
    context: Context,
}

impl Projector {
    /// # Errors
    /// When a variable is missing.
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

    /// Counts a batch. When something fails, the batch is repeated from its first
    /// record: what was counted already changes nothing. A record that can't be
    /// read is reported itself, so that the next batch begins with it. One that stands
    /// at the beginning fails the invocation: only then does Lambda halve the batch,
    /// until the record is alone and given up without the others.
    ///
    /// # Errors
    /// When the table or a queue is out of reach, or the first record can't be read.
    pub async fn handle(&self, event: dynamodb::Event) -> Result<DynamoDbEventResponse, FollowError> {
        let mut batch = Batch::default();
        let mut unreadable = None;
        let records = event.records.len() as f64;
        // The stream gives the time of a write in whole seconds.
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

    /// Works on the lanes of a batch at the same time: accounts don't wait for each other. What fails keeps nothing else
    /// from being counted; then the first error is returned.
    async fn work(&self, batch: Batch) -> Result<(), FollowError> {
        let mut work = Vec::new();
        for lane in &batch.lanes {
            work.push(batch.follow(lane, &self.context).boxed());
        }
        let outcomes: Vec<_> = stream::iter(work).buffer_unordered(LANES_AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }
}

//! Jobs: work that outlasts a request.
//!
//! - Exports of subscribers.
//! - Deletion of waitlists, features, code pools, stamp programs and campaigns.
//! - Removal of the remaining data of erased subscribers and customers, and of exports that contain an erased
//!   subscriber.
//! - Merging of features.
//! - Re-evaluation of stamp cards after a change of their program.
//! - Archiving of used codes.
//!
//! A job is an SQS message that names its task and object. The message may be delivered twice, and the job may be
//! interrupted at any point. A retry continues the work or starts again, with the same result. A schedule starts
//! the daily archiving. An operator creates accounts by invoking the function directly.
//!
//! Access patterns: `account.write`, `export.*`, `subscriber.list`, `subscriber.erase-with-waitlist`,
//! `waitlist.purge`, `pool.all`, `pool.purge`, `archive.*`, `program.purge`, `customer.purge`, `stamp.watch`,
//! `campaign.purge`, `feature.purge`, `vote.move`, `vote.purge`, `comment.purge`.

pub mod account;

use account::{AccountRequest, NewAccount};
use api::StartError;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use files::Bucket;
use projection::job::{self, JobError, Task, Workshop};
use queues::Queue;
use serde::{Deserialize, Serialize};
use table::Table;

/// Event with which the function is invoked.
#[derive(Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub enum Invocation {
    Scheduled(Schedule),
    Operated(Operation),
    Queued(SqsEvent),
}

impl TryFrom<serde_json::Value> for Invocation {
    type Error = serde_json::Error;

    fn try_from(event: serde_json::Value) -> Result<Self, Self::Error> {
        let has = |field| event.get(field).is_some();
        if has("schedule") {
            serde_json::from_value(event).map(Self::Scheduled)
        } else if has("operation") {
            serde_json::from_value(event).map(Self::Operated)
        } else {
            serde_json::from_value(event).map(Self::Queued)
        }
    }
}

/// Event of a schedule.
#[derive(Deserialize)]
#[serde(tag = "schedule", rename_all = "snake_case")]
pub enum Schedule {
    ArchiveCodes,
}

/// Event of an operator who invokes the function by hand.
#[derive(Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    CreateAccount(AccountRequest),
}

/// Response of an invocation.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Response {
    Batch(SqsBatchResponse),
    Account(NewAccount),
}

pub struct Jobs(Workshop);

impl Jobs {
    /// Reads the environment variables and connects to the table, the bucket and the queue.
    ///
    /// # Errors
    /// If an environment variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self(Workshop {
            table: Table::from_env(env)?,
            bucket: Bucket::from_env(env)?,
            queue: Queue::new(&queues::client(env)?, env.require(job::QUEUE)?),
            forget: families::forget().collect(),
        }))
    }

    /// Runs the jobs of an SQS batch, or the request of a schedule or an operator.
    ///
    /// Failed jobs are reported in the response and retried.
    ///
    /// # Errors
    /// If the request of a schedule or an operator fails.
    pub async fn handle(&self, invocation: Invocation) -> Result<Response, JobError> {
        match invocation {
            Invocation::Queued(event) => {
                Ok(Response::Batch(queues::work_off(event, 1, |task| self.work(task)).await))
            }
            Invocation::Scheduled(Schedule::ArchiveCodes) => {
                codes::jobs::archive_all(&self.0).await?;
                Ok(Response::Batch(SqsBatchResponse::default()))
            }
            Invocation::Operated(Operation::CreateAccount(request)) => {
                Ok(Response::Account(account::create(&self.0.table, request).await?))
            }
        }
    }

    /// Runs one job.
    async fn work(&self, task: Task) -> Result<(), JobError> {
        match families::runner(task.kind()) {
            Some(run) => run(&self.0, task).await,
            // Acknowledging the message would lose the job. With the error, the message is retried and then moved to
            // the dead-letter queue, which has an alarm.
            None => Err(JobError::Misrouted(task.kind().to_owned())),
        }
    }
}

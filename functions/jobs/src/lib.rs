//! Work that outlasts a request: exports, the deletion of a waitlist, a feature, a code pool or a stamp program,
//! of what erased subscribers and customers had and of exports that hold somebody who was erased, the merging of
//! features, the archive of used codes.
//!
//! A job is an SQS message that names what to work on. It may come twice and may
//! be cut off at any point: doing it again goes on where it stands, or from the
//! start, with the same result. A schedule asks for the daily ones, an operator for accounts.
//!
//! Access patterns: `account.write`, `export.*`, `subscriber.list`, `subscriber.erase`, `waitlist.purge`,
//! `pool.all`, `pool.purge`, `archive.*`, `program.purge`, `customer.purge`, `feature.purge`, `vote.move`,
//! `vote.purge`, `comment.purge`.

pub mod account;
mod campaigns;
mod codes;
mod deletion;
mod export;
mod features;
mod stamps;

use account::{AccountRequest, NewAccount};
use api::StartError;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use files::{Bucket, FilesError};
use queues::{Queue, QueueError};
use serde::{Deserialize, Serialize};
use store::{CommitError, StoreError, Table, entities::JobKind};

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("a row can't be written: {0}")]
    Row(#[from] csv::Error),
    #[error("a job for another worker: {0:?}")]
    Misrouted(JobKind),
    #[error("a line can't be written: {0}")]
    Line(#[from] serde_json::Error),
}

/// What the function is invoked with.
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

/// The input of a schedule.
#[derive(Deserialize)]
#[serde(tag = "schedule", rename_all = "snake_case")]
pub enum Schedule {
    ArchiveCodes,
}

/// What an operator asks for, by hand.
#[derive(Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    CreateAccount(AccountRequest),
}

/// What an invocation answers.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    Batch(SqsBatchResponse),
    Account(NewAccount),
}

/// In how many seconds what is being emptied is looked at again: at once while there is as much as fits a round,
/// otherwise when everything has come that may still come, and the projector has counted what went.
fn pause(removed: usize, most: usize, stragglers: i32) -> i32 {
    if removed < most { stragglers } else { 0 }
}

pub struct Jobs {
    table: Table,
    bucket: Bucket,
    queue: Queue,
}

impl Jobs {
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self {
            table: Table::from_env(env)?,
            bucket: Bucket::from_env(env)?,
            queue: Queue::new(&queues::client(env)?, env.require("JOBS_QUEUE_URL")?),
        })
    }

    /// Does the jobs of a batch, of which what failed is reported and comes again; or what
    /// a schedule or an operator asks for.
    ///
    /// # Errors
    /// When what a schedule or an operator asks for fails.
    pub async fn handle(&self, invocation: Invocation) -> Result<Answer, JobError> {
        match invocation {
            Invocation::Queued(event) => {
                Ok(Answer::Batch(queues::work_off(event, 1, |job| self.work(job)).await))
            }
            Invocation::Scheduled(Schedule::ArchiveCodes) => {
                self.archive_all().await?;
                Ok(Answer::Batch(SqsBatchResponse::default()))
            }
            Invocation::Operated(Operation::CreateAccount(request)) => {
                Ok(Answer::Account(account::create(&self.table, request).await?))
            }
        }
    }

    async fn work(&self, job: JobKind) -> Result<(), JobError> {
        match job {
            JobKind::ExportSubscribers { export_id } => self.export(&export_id).await,
            JobKind::DeleteWaitlist { waitlist_id } => self.delete_waitlist(&waitlist_id).await,
            JobKind::PurgeExports { waitlist_id } => self.purge_exports(&waitlist_id).await,
            JobKind::MergeFeature { feature_id } => self.merge_feature(&feature_id).await,
            JobKind::DeleteFeature { feature_id } => self.delete_feature(&feature_id).await,
            JobKind::Silence { subscriber_id } => {
                Ok(store::features::silence(&self.table, &subscriber_id).await?)
            }
            JobKind::DeleteCodePool { pool_id } => self.delete_code_pool(&pool_id).await,
            JobKind::ArchiveCodes { pool_id } => self.archive(&pool_id).await,
            JobKind::DeleteProgram { program_id } => self.delete_program(&program_id).await,
            JobKind::WatchCards { program_id, inactivity_days, after, again } => {
                self.watch_cards(&program_id, inactivity_days, after, again).await
            }
            JobKind::DeleteCampaign { campaign_id } => self.delete_campaign(&campaign_id).await,
            // Acknowledged, nobody would do it: it ends among the dead letters, which somebody is told of.
            other @ (JobKind::StartCampaign { .. }
            | JobKind::SendMessage { .. }
            | JobKind::Deliver { .. }
            | JobKind::TellOfEndpoint { .. }) => Err(JobError::Misrouted(other)),
            JobKind::EraseCustomer { customer_id } => {
                Ok(store::customers::finish_erase(&self.table, &customer_id).await?)
            }
        }
    }

    /// Asks for a job, in so many seconds.
    async fn queue(&self, job: &JobKind, delay: i32) -> Result<(), JobError> {
        Ok(self.queue.send_in(delay, job).await?)
    }
}

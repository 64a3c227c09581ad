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

use account::{AccountRequest, NewAccount};
use api::StartError;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use files::Bucket;
use projection::job::{self, JobError, Task, Workshop};
use queues::Queue;
use serde::{Deserialize, Serialize};
use table::Table;

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
pub enum Response {
    Batch(SqsBatchResponse),
    Account(NewAccount),
}

pub struct Jobs(Workshop);

impl Jobs {
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self(Workshop {
            table: Table::from_env(env)?,
            bucket: Bucket::from_env(env)?,
            queue: Queue::new(&queues::client(env)?, env.require(job::QUEUE)?),
            forget: families::forget().collect(),
        }))
    }

    /// Does the jobs of a batch, of which what failed is reported and comes again; or what
    /// a schedule or an operator asks for.
    ///
    /// # Errors
    /// When what a schedule or an operator asks for fails.
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

    async fn work(&self, task: Task) -> Result<(), JobError> {
        match families::runner(task.kind()) {
            Some(run) => run(&self.0, task).await,
            // Acknowledged, nobody would do it: it ends among the dead letters, which somebody is told of.
            None => Err(JobError::Misrouted(task.kind().to_owned())),
        }
    }
}

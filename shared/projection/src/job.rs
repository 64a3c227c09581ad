//! Jobs: work that outlasts a request.
//!
//! The transaction that makes the work necessary writes a [`Job`] to the table. The projector reads the job from
//! the stream and sends its task to the queue of its worker. A worker may receive a task twice, and may be
//! interrupted at any point. Tasks are idempotent: a repeated task continues, or starts again with the same result.

use files::{Bucket, FilesError};
use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::{Timestamp, ToSpan};
use queues::{Grouped, Queue, QueueError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use table::{CommitError, Entity, Key, Table, TableError};

/// Environment variable with the URL of the jobs function's queue.
pub const QUEUE: &str = "JOBS_QUEUE_URL";

/// Task as stored and queued: a JSON object whose `kind` names one of a family's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Task(Map<String, Value>);

impl Task {
    /// Converts a task of a family, which is an enum that Serde tags by `kind`.
    pub fn of<T: Serialize>(task: &T) -> Self {
        match serde_json::to_value(task) {
            Ok(Value::Object(fields)) => Self(fields),
            other => unreachable!("a task is an enum tagged by its kind, and not {other:?}"),
        }
    }

    pub fn kind(&self) -> &str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// Reads the task as one of a family's tasks.
    ///
    /// # Errors
    /// When the task is none of them.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(self.0))
    }
}

/// Stored request for work, written in the transaction that makes the work necessary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Id of the object that the job works on. The id is the key of the job, so the same work is requested once.
    pub id: String,
    pub job: Task,
    pub at: Timestamp,
}

impl Job {
    pub fn new<T: Serialize>(id: impl Into<String>, task: &T, at: Timestamp) -> Self {
        Self { id: id.into(), job: Task::of(task), at }
    }
}

impl Entity for Job {
    const TYPE: &'static str = "job";
    fn key(&self) -> Key {
        Key::new(&["JOB", &self.id], &["META"])
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + (7 * 24).hours())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// No worker here does tasks of this kind. An acknowledged task would be lost, so the task fails and ends in
    /// the dead-letter queue, which raises an alarm.
    #[error("no worker handles jobs of the kind {0}")]
    Misrouted(String),
    #[error("a job can't be parsed, or a value can't be serialised: {0}")]
    Text(#[from] serde_json::Error),
    #[error("a file can't be written: {0}")]
    Written(#[from] std::io::Error),
}

/// Object that is deleted, or is being deleted.
#[derive(Clone, Copy, Debug)]
pub struct Gone<'a> {
    /// `_type` of the object's item.
    pub kind: &'a str,
    pub id: &'a str,
}

/// Deletes part of what a family stores about the object. Returns true if nothing is left.
pub type Forget = for<'a> fn(&'a Table, Gone<'a>) -> BoxFuture<'a, Result<bool, JobError>>;

/// Resources of the jobs function.
pub struct Workshop {
    pub table: Table,
    pub bucket: Bucket,
    pub queue: Queue,
    /// Cleanup functions of the families, for objects that are deleted.
    pub forget: Vec<Forget>,
}

impl Workshop {
    /// Queues a task for this function again, with a delay in seconds.
    ///
    /// # Errors
    /// When the queue does not confirm the message.
    pub async fn again<T: Serialize>(&self, task: &T, delay: i32) -> Result<(), JobError> {
        Ok(self.queue.send_in(delay, task).await?)
    }

    /// Lets every family delete part of what it stores about a deleted object. Returns true if nothing is left.
    ///
    /// # Errors
    /// When one of the families fails.
    pub async fn forget(&self, kind: &str, id: &str) -> Result<bool, JobError> {
        let mut all = true;
        for forget in &self.forget {
            all &= forget(&self.table, Gone { kind, id }).await?;
        }
        Ok(all)
    }
}

/// Returns the delay, in seconds, before the next round of a deletion. 0 if this round removed `most` items,
/// because more may be left. Otherwise `stragglers`: by then, late writes have arrived and the projector has
/// counted the removed items.
pub fn pause(removed: usize, most: usize, stragglers: i32) -> i32 {
    if removed < most { stragglers } else { 0 }
}

/// Function that does a task in the jobs function.
pub type Run = for<'a> fn(&'a Workshop, Task) -> BoxFuture<'a, Result<(), JobError>>;
/// Tasks of a family that the jobs function does, as an enum that Serde reads.
pub trait Work: DeserializeOwned + Send {
    /// Does the task, or continues it.
    fn work(self, workshop: &Workshop) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// Reads a task as one of a family's tasks and does it. Used as the [`Run`] of a [`Runner`].
pub fn run<T: Work>(workshop: &Workshop, task: Task) -> BoxFuture<'_, Result<(), JobError>> {
    async move { task.read::<T>()?.work(workshop).await }.boxed()
}

/// Converts a task to the message that its worker receives.
pub type Message = fn(Task) -> Result<Grouped<Value>, serde_json::Error>;

/// Implementation of tasks of a family. Separate from [`Jobs`], so that a function which only forwards tasks does
/// not link their implementation.
pub struct Runner {
    /// Values of `kind`.
    pub kinds: &'static [&'static str],
    pub run: Run,
}

/// Kinds of tasks with the same worker.
pub struct Jobs {
    /// Values of `kind`.
    pub kinds: &'static [&'static str],
    pub by: Worker,
}

/// Worker of a task.
#[derive(Clone, Copy)]
pub enum Worker {
    /// Jobs function.
    Jobs,
    /// Function that reads the queue whose URL is in this environment variable.
    Other { queue: &'static str, message: Message },
}

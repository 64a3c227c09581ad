//! Work that outlasts a request.
//!
//! A [`Job`] lies in the table from the transaction that makes the work necessary; the stream brings it to the queue of
//! whoever does it. It may come twice and may be cut off at any point: doing it again goes on where it stands, or from
//! the start, with the same result.

use files::{Bucket, FilesError};
use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::{Timestamp, ToSpan};
use queues::{Grouped, Queue, QueueError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use table::{CommitError, Entity, Key, Table, TableError};

/// The variable with the address of the jobs function's queue.
pub const QUEUE: &str = "JOBS_QUEUE_URL";

/// What is to be done, as it is stored and queued: a JSON object whose `kind` says which of a family's tasks it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Task(Map<String, Value>);

impl Task {
    /// One of a family's tasks: an enum that Serde tags by `kind`.
    pub fn of<T: Serialize>(task: &T) -> Self {
        match serde_json::to_value(task) {
            Ok(Value::Object(fields)) => Self(fields),
            other => unreachable!("a task is an enum tagged by its kind, and not {other:?}"),
        }
    }

    pub fn kind(&self) -> &str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// # Errors
    /// When it isn't one of these tasks.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(self.0))
    }
}

/// Asks for work, in the transaction that makes it necessary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The id of what it works on: the same work is asked for once.
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
    /// Acknowledged, nobody would do it: it ends among the dead letters, which somebody is told of.
    #[error("a job that nobody does here: {0}")]
    Misrouted(String),
    #[error("a job can't be read, or a file written: {0}")]
    Text(#[from] serde_json::Error),
    #[error("a file can't be written: {0}")]
    Written(#[from] std::io::Error),
}

/// Something that is gone, or about to be.
#[derive(Clone, Copy, Debug)]
pub struct Gone<'a> {
    /// The `_type` of its item.
    pub kind: &'a str,
    pub id: &'a str,
}

/// Removes some of what a family keeps of it; whether that was all.
pub type Forget = for<'a> fn(&'a Table, Gone<'a>) -> BoxFuture<'a, Result<bool, JobError>>;

/// What jobs are done with.
pub struct Workshop {
    pub table: Table,
    pub bucket: Bucket,
    pub queue: Queue,
    /// What each family does about things that are gone.
    pub forget: Vec<Forget>,
}

impl Workshop {
    /// Asks for a job, in so many seconds.
    ///
    /// # Errors
    /// When the queue does not say that it has it.
    pub async fn again<T: Serialize>(&self, task: &T, delay: i32) -> Result<(), JobError> {
        Ok(self.queue.send_in(delay, task).await?)
    }

    /// Has all families remove some of what they keep of something that is gone; whether that was all.
    ///
    /// # Errors
    /// When one of them could not.
    pub async fn forget(&self, kind: &str, id: &str) -> Result<bool, JobError> {
        let mut all = true;
        for forget in &self.forget {
            all &= forget(&self.table, Gone { kind, id }).await?;
        }
        Ok(all)
    }
}

/// In how many seconds what is being emptied is looked at again: at once while there is as much as fits a round,
/// otherwise when everything has come that may still come, and the projector has counted what went.
pub fn pause(removed: usize, most: usize, stragglers: i32) -> i32 {
    if removed < most { stragglers } else { 0 }
}

/// How a task is done by the jobs function.
pub type Run = for<'a> fn(&'a Workshop, Task) -> BoxFuture<'a, Result<(), JobError>>;
/// Tasks of a family that the jobs function does, as Serde reads them.
pub trait Work: DeserializeOwned + Send {
    /// Does one of them, or goes on with it.
    fn work(self, workshop: &Workshop) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// Reads a task as one of a family's, and does it: the [`Run`] of a [`Runner`].
pub fn run<T: Work>(workshop: &Workshop, task: Task) -> BoxFuture<'_, Result<(), JobError>> {
    async move { task.read::<T>()?.work(workshop).await }.boxed()
}

/// A task as its worker is told of it.
pub type Message = fn(Task) -> Result<Grouped<Value>, serde_json::Error>;

/// How tasks of a family are done; apart from who does them, so that whoever only passes them on doesn't link it.
pub struct Runner {
    /// The values of `kind`.
    pub kinds: &'static [&'static str],
    pub run: Run,
}

/// Tasks of a family.
pub struct Jobs {
    /// The values of `kind`.
    pub kinds: &'static [&'static str],
    pub by: Worker,
}

/// Who does them.
#[derive(Clone, Copy)]
pub enum Worker {
    /// The jobs function.
    Jobs,
    /// Whoever takes from the queue whose address this variable has.
    Other { queue: &'static str, message: Message },
}

//! Stream records, and the projections that process them.

use std::collections::BTreeMap;

use aws::{Env, EnvError};
use aws_lambda_events::event::dynamodb::EventRecord;
use domain::event::{EventKind, EventName};
use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use queues::{Grouped, Queue, QueueError};
use serde::{Serialize, de::DeserializeOwned};
use serde_dynamo::{AttributeValue, Item};
use table::{Entity, Table, TableError, keys::TYPE};

use crate::job::{self, Job, JobError, Jobs, Task, Worker};

/// Failure to process a batch of changes.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("unknown kind of event: {0}")]
    UnknownEvent(String),
    /// Other writers keep changing the same numbers.
    #[error("gave up after repeated conflicting writes of the {0}")]
    Contended(&'static str),
}

/// Stream record: an item before and after a write.
pub struct Record {
    /// Value of `_type`.
    pub kind: String,
    before: Option<Item>,
    after: Option<Item>,
    pub written_at: Timestamp,
}

impl Record {
    /// Reads a stream record. Returns `None` for an item without a type.
    pub fn new(record: EventRecord) -> Option<Self> {
        let written_at = record.change.approximate_creation_date_time.timestamp_millis();
        let written_at = Timestamp::from_millisecond(written_at).unwrap_or_default();
        let image = |item: Item| (!item.is_empty()).then_some(item);
        let (before, after) = match record.event_name.as_str() {
            "REMOVE" => (image(record.change.old_image), None),
            _ => (image(record.change.old_image), image(record.change.new_image)),
        };
        let Some(AttributeValue::S(kind)) = after.as_ref().or(before.as_ref())?.get(TYPE) else {
            return None;
        };
        Some(Self { kind: kind.clone(), before, after, written_at })
    }

    /// Returns the item before the write. `None` if the item did not exist.
    ///
    /// # Errors
    /// When the item has another type.
    pub fn before<E: Entity>(&self) -> Result<Option<Box<E>>, TableError> {
        read(self.before.as_ref())
    }

    /// Returns the item after the write. `None` if the item was removed.
    ///
    /// # Errors
    /// When the item has another type.
    pub fn after<E: Entity>(&self) -> Result<Option<Box<E>>, TableError> {
        read(self.after.as_ref())
    }

    /// True if the item has this type.
    pub fn is<E: Entity>(&self) -> bool {
        self.kind == E::TYPE
    }
}

fn read<E: Entity + DeserializeOwned>(item: Option<&Item>) -> Result<Option<Box<E>>, TableError> {
    let Some(item) = item else { return Ok(None) };
    let read = domain::text::stored(|| serde_dynamo::from_item(item.clone()));
    let malformed =
        |error: serde_dynamo::Error| TableError::Malformed { entity: E::TYPE, detail: error.to_string() };
    Ok(Some(Box::new(read.map_err(malformed)?)))
}

/// Resources of the functions that process changes: the table, the queues, the jobs and the kinds of events.
pub struct Context {
    pub table: Table,
    queues: BTreeMap<&'static str, Queue>,
    jobs: Vec<&'static Jobs>,
    events: Vec<EventKind>,
}

impl Context {
    /// Builds the context for these projections, jobs and kinds of events, with the queues that they send to.
    ///
    /// # Errors
    /// When an environment variable is missing.
    pub fn from_env(
        env: &Env,
        table: Table,
        projections: impl Iterator<Item = &'static Projection>,
        jobs: impl Iterator<Item = &'static Jobs>,
        events: impl Iterator<Item = EventKind>,
    ) -> Result<Self, EnvError> {
        let sqs = queues::client(env)?;
        let jobs: Vec<_> = jobs.collect();
        let of_jobs = jobs.iter().map(|jobs| match jobs.by {
            Worker::Jobs => job::QUEUE,
            Worker::Other { queue, .. } => queue,
        });
        let variables = projections.flat_map(|projection| projection.sends_to).copied().chain(of_jobs);
        let queues = variables.map(|variable| Ok((variable, Queue::new(&sqs, env.require(variable)?))));
        Ok(Self { table, queues: queues.collect::<Result<_, EnvError>>()?, jobs, events: events.collect() })
    }

    /// Returns the kind of events with this name.
    ///
    /// # Errors
    /// When no family declares the kind: a later version of the product wrote the event.
    pub fn kind(&self, name: &EventName) -> Result<EventKind, FollowError> {
        let found = self.events.iter().find(|kind| kind.name == name.as_str());
        found.copied().ok_or_else(|| FollowError::UnknownEvent(name.as_str().to_owned()))
    }

    /// Sends messages to the queue whose URL is in this environment variable.
    ///
    /// # Errors
    /// When the queue does not confirm all messages.
    pub async fn send_all<T: Serialize>(
        &self,
        queue: &'static str,
        messages: Vec<Grouped<T>>,
    ) -> Result<(), QueueError> {
        match self.queues.get(queue) {
            Some(queue) => queue.send_all(messages).await,
            None => unreachable!("{queue} is not among the queues that the family says it sends to"),
        }
    }
}

/// Change of an item, and the effects that follow from the change.
///
/// Every effect is conditional on not having been applied before: a record may arrive twice, late, split over
/// batches, or from several shards of the stream.
pub trait Change: Sized + Send + Sync + 'static {
    /// Types of the items that the change is read from.
    const READS: &'static [&'static str];
    /// Environment variables with the URLs of the queues that the change sends to.
    const SENDS_TO: &'static [&'static str] = &[];

    /// Reads the change from a stream record. Returns `None` if no effect follows.
    ///
    /// # Errors
    /// When the item does not have the shape of its type.
    fn read(record: &Record) -> Result<Option<Self>, TableError>;

    /// Returns the lane of the change. Changes that may count in the same items share a lane. The groups of a lane
    /// are processed one after another. Usually, all changes of an account share a lane.
    fn lane(&self) -> String;

    /// Returns the group of the change. Changes of one group in a lane are processed together.
    fn group(&self) -> String;

    /// Applies the effects of the changes of a group, in the order of their arrival.
    fn follow(context: &Context, changes: &[Self]) -> impl Future<Output = Result<(), FollowError>> + Send;
}

/// Kind of [`Change`], without its type.
pub struct Projection {
    pub reads: &'static [&'static str],
    pub sends_to: &'static [&'static str],
    /// Creates an empty collection of such changes.
    pub collection: fn() -> Box<dyn Changes>,
}

impl Projection {
    pub const fn of<C: Change>() -> Self {
        Self { reads: C::READS, sends_to: C::SENDS_TO, collection: || Box::new(Collection::<C>(Vec::new())) }
    }
}

/// Changes of one kind, sorted by lane and group.
pub trait Changes: Send + Sync {
    /// Adds the change in a record and returns its lane. Returns `None` if no effect follows.
    ///
    /// # Errors
    /// When the item does not have the shape of its type.
    fn add(&mut self, record: &Record) -> Result<Option<String>, TableError>;

    /// Applies the effects of the changes in this lane, group by group.
    fn follow<'a>(&'a self, lane: &'a str, context: &'a Context) -> BoxFuture<'a, Result<(), FollowError>>;
}

/// Groups with their lanes, in the order in which their first changes arrived.
struct Collection<C>(Vec<Group<C>>);

struct Group<C> {
    lane: String,
    name: String,
    changes: Vec<C>,
}

impl<C: Change> Changes for Collection<C> {
    fn add(&mut self, record: &Record) -> Result<Option<String>, TableError> {
        let Some(change) = C::read(record)? else { return Ok(None) };
        let (lane, name) = (change.lane(), change.group());
        match self.0.iter_mut().find(|group| group.lane == lane && group.name == name) {
            Some(group) => group.changes.push(change),
            None => self.0.push(Group { lane: lane.clone(), name, changes: vec![change] }),
        }
        Ok(Some(lane))
    }

    fn follow<'a>(&'a self, lane: &'a str, context: &'a Context) -> BoxFuture<'a, Result<(), FollowError>> {
        async move {
            for group in self.0.iter().filter(|group| group.lane == lane) {
                C::follow(context, &group.changes).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// Sends the tasks of jobs to the queues of their workers.
impl Change for Job {
    const READS: &'static [&'static str] = &[<Job as Entity>::TYPE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        Ok(record.after::<Self>()?.map(|job| *job))
    }

    fn lane(&self) -> String {
        "jobs".to_owned()
    }

    fn group(&self) -> String {
        String::new()
    }

    async fn follow(context: &Context, jobs: &[Self]) -> Result<(), FollowError> {
        let mut messages: BTreeMap<&'static str, Vec<Grouped<serde_json::Value>>> = BTreeMap::new();
        for Self { job, .. } in jobs {
            let (queue, message) = context.message(job.clone())?;
            messages.entry(queue).or_default().push(message);
        }
        let sent = messages.into_iter().map(|(queue, messages)| context.send_all(queue, messages));
        futures_util::future::try_join_all(sent).await?;
        Ok(())
    }
}

impl Context {
    /// Returns the queue of a task, and the message to send.
    fn message(&self, task: Task) -> Result<(&'static str, Grouped<serde_json::Value>), JobError> {
        let jobs = self.jobs.iter().find(|jobs| jobs.kinds.contains(&task.kind()));
        match jobs.map(|jobs| jobs.by) {
            // This version does not know the kind. The jobs function refuses the task and names its kind.
            None | Some(Worker::Jobs) => Ok((job::QUEUE, (None, serde_json::to_value(task)?))),
            Some(Worker::Other { queue, message }) => Ok((queue, message(task)?)),
        }
    }
}

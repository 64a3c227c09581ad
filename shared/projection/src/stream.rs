//! Stream records, and what follows from them.

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

/// Why what follows from a batch is not done.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("an event of a kind that nobody knows: {0}")]
    UnknownEvent(String),
    /// Others keep counting the same.
    #[error("its {0} keep changing")]
    Contended(&'static str),
}

/// A record of the table's stream: an item before a write and after it.
pub struct Record {
    /// The value of `_type`.
    pub kind: String,
    before: Option<Item>,
    after: Option<Item>,
    pub written_at: Timestamp,
}

impl Record {
    /// `None` for an item without a type.
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

    /// The item as it was; `None` when it was not there.
    ///
    /// # Errors
    /// When it isn't of this type.
    pub fn before<E: Entity>(&self) -> Result<Option<Box<E>>, TableError> {
        read(self.before.as_ref())
    }

    /// The item as it is; `None` when it was removed.
    ///
    /// # Errors
    /// When it isn't of this type.
    pub fn after<E: Entity>(&self) -> Result<Option<Box<E>>, TableError> {
        read(self.after.as_ref())
    }

    /// Whether the item is of this type.
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

/// What those work with who follow the stream.
pub struct Context {
    pub table: Table,
    queues: BTreeMap<&'static str, Queue>,
    jobs: Vec<&'static Jobs>,
    events: Vec<EventKind>,
}

impl Context {
    /// For these projections, jobs and kinds of events: the queues are those that they send to.
    ///
    /// # Errors
    /// When a variable is missing.
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

    /// The kind of events with this name.
    ///
    /// # Errors
    /// When no family tells of such events: a later version wrote the event.
    pub fn kind(&self, name: &EventName) -> Result<EventKind, FollowError> {
        let found = self.events.iter().find(|kind| kind.name == name.as_str());
        found.copied().ok_or_else(|| FollowError::UnknownEvent(name.as_str().to_owned()))
    }

    /// Sends messages to the queue whose address this variable has.
    ///
    /// # Errors
    /// When the queue does not say that it has all of them.
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

/// A change of items, and what follows from it.
///
/// Every effect is conditional on not having happened: records may come twice, late, split over batches, or from several
/// shards of the stream.
pub trait Change: Sized + Send + Sync + 'static {
    /// The types of the items that it reads.
    const READS: &'static [&'static str];
    /// The variables with the addresses of the queues that it sends to.
    const SENDS_TO: &'static [&'static str] = &[];

    /// What a record says; `None` when nothing follows from it.
    ///
    /// # Errors
    /// When the item does not have the shape that its type promises.
    fn read(record: &Record) -> Result<Option<Self>, TableError>;

    /// Whatever may count in the same items has the same lane, and waits for each other: as a rule that of the account.
    fn lane(&self) -> String;

    /// What is worked on together within a lane.
    fn group(&self) -> String;

    /// Does what follows from the changes of a group, in the order in which they came.
    fn follow(context: &Context, changes: &[Self]) -> impl Future<Output = Result<(), FollowError>> + Send;
}

/// A kind of [`Change`] whose type is not named.
pub struct Projection {
    pub reads: &'static [&'static str],
    pub sends_to: &'static [&'static str],
    /// An empty collection of such changes.
    pub collection: fn() -> Box<dyn Changes>,
}

impl Projection {
    pub const fn of<C: Change>() -> Self {
        Self { reads: C::READS, sends_to: C::SENDS_TO, collection: || Box::new(Collection::<C>(Vec::new())) }
    }
}

/// Changes of one kind, sorted by lane and group.
pub trait Changes: Send + Sync {
    /// Adds what the record says, and returns its lane; `None` when nothing follows from it.
    ///
    /// # Errors
    /// When the item does not have the shape that its type promises.
    fn add(&mut self, record: &Record) -> Result<Option<String>, TableError>;

    /// Does what follows from the changes in this lane, group after group.
    fn follow<'a>(&'a self, lane: &'a str, context: &'a Context) -> BoxFuture<'a, Result<(), FollowError>>;
}

/// Groups in the order in which their first changes came, each with its lane.
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

/// Jobs go to the queues of those who do them.
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
    /// The queue that a task goes to, and what is said there.
    fn message(&self, task: Task) -> Result<(&'static str, Grouped<serde_json::Value>), JobError> {
        let jobs = self.jobs.iter().find(|jobs| jobs.kinds.contains(&task.kind()));
        match jobs.map(|jobs| jobs.by) {
            // A kind that this version doesn't know: the jobs function refuses it by name.
            None | Some(Worker::Jobs) => Ok((job::QUEUE, (None, serde_json::to_value(task)?))),
            Some(Worker::Other { queue, message }) => Ok((queue, message(task)?)),
        }
    }
}

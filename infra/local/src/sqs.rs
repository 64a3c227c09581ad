//! The SQS of the local platform: standard queues, spoken to over the AWS JSON protocol by
//! product code (`aws-sdk-sqs` with `AWS_ENDPOINT_URL_SQS`) and in process by the poller that
//! plays Lambda's event source mapping. Both go through the same methods of [`Sqs`].
//!
//! Invariants:
//!
//! - A message is acknowledged only after its transaction is committed. The SQLite file uses WAL
//!   with `synchronous = NORMAL`: a killed process loses no acknowledged message, a power loss
//!   may lose the last few.
//! - A message is *visible* once `visible_at` has passed. Until then it is *in flight* if it has
//!   a receipt handle and *delayed* if it has none. Nothing about visibility lives in memory.
//! - Whoever receives from a queue lives in this process. What was in flight when it died is visible
//!   as soon as the queues are open again, and that receive doesn't count: being killed is no fault
//!   of the message, and is not to lead it to the dead letters.
//! - A message has at most one valid receipt handle: that of its latest receive.
//! - Whatever may make a message visible earlier notifies the queue's `arrivals`; waiting receives
//!   otherwise sleep until the next `visible_at` they know of.
//! - All times are milliseconds since the epoch.
//! - Queues are fair: of the messages with a group, those come first whose group has fewest in flight.
//!
//! Not imitated: pagination of `ListQueues`, the 60 seconds between two `PurgeQueue`, and message
//! system attributes on send; the fields concerned are ignored.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";
const ARN_PREFIX: &str = "arn:aws:sqs:us-east-1:000000000000:";

const MAX_VISIBILITY_SECONDS: u32 = 43_200;
const MAX_BATCH_ENTRIES: usize = 10;
/// Of one message, and of all messages of a batch together.
const MAX_BYTES: usize = 1_048_576;
/// A request is larger than its messages, by JSON escapes (six bytes for one) and base64.
const MAX_REQUEST_BYTES: usize = 8 * MAX_BYTES;

const SCHEMA: &str = "
    pragma journal_mode = wal;
    pragma synchronous = normal;
    create table if not exists message (
        id text primary key,
        queue text not null,
        body text not null,
        message_attributes text not null,
        sent_at integer not null,
        visible_at integer not null,
        receipt_handle text,
        receive_count integer not null default 0,
        first_received_at integer,
        dead_letter_source text,
        message_group text
    ) strict;";

/// Queues that were made before messages had groups.
const WITHOUT_GROUPS: &str = "
    select count(*) = 0 from pragma_table_info('message') where name = 'message_group'";
const ADD_GROUPS: &str = "alter table message add column message_group text";

const INDEXES: &str = "
    create index if not exists message_by_visibility on message (queue, visible_at);
    create index if not exists message_by_receive_count on message (queue, receive_count);
    create index if not exists message_by_age on message (queue, sent_at);
    create index if not exists message_by_group on message (queue, message_group)
        where message_group is not null;";

const INSERT: &str = "
    insert into message (id, queue, body, message_attributes, sent_at, visible_at, message_group)
    values (lower(hex(randomblob(16))), ?1, ?2, ?3, ?4, ?5, ?6) returning id";

const HAS_GROUPS: &str =
    "select exists (select 1 from message where queue = ?1 and message_group is not null)";

/// The handle carries the message's id, by which a stale handle is told from a deleted message.
const TAKE: &str = "
    update message set
        receipt_handle = id || '.' || lower(hex(randomblob(16))),
        visible_at = ?3,
        receive_count = receive_count + 1,
        first_received_at = coalesce(first_received_at, ?2)
    where rowid in (
        select rowid from message where queue = ?1 and visible_at <= ?2
        order by visible_at, rowid limit ?4)
    returning *";

/// The same where there are groups: the first of each comes before the second of any, those in flight counted.
const TAKE_FAIRLY: &str = "
    update message set
        receipt_handle = id || '.' || lower(hex(randomblob(16))),
        visible_at = ?3,
        receive_count = receive_count + 1,
        first_received_at = coalesce(first_received_at, ?2)
    where rowid in (
        with busy as (
            select message_group, count(*) as in_flight from message
            where queue = ?1 and message_group is not null and visible_at > ?2 and receipt_handle is not null
            group by message_group)
        select message.rowid from message left join busy using (message_group)
        where queue = ?1 and visible_at <= ?2
        order by coalesce(in_flight, 0) + row_number() over (
            partition by coalesce(message_group, id) order by visible_at, message.rowid),
            visible_at, message.rowid
        limit ?4)
    returning *";

/// As in SQS, the message keeps its id, its age and its receive count.
const DEAD_LETTER: &str = "
    update message set queue = ?4, dead_letter_source = ?1, visible_at = ?2, receipt_handle = null
    where queue = ?1 and visible_at <= ?2 and receive_count >= ?3";

/// As in SQS, a redriven message is a new one, with a new id and a new age.
const REDRIVE: &str = "
    update message set
        id = lower(hex(randomblob(16))), queue = ?2, sent_at = ?3, visible_at = ?3,
        receipt_handle = null, receive_count = 0, first_received_at = null,
        dead_letter_source = null
    where queue = ?1 and visible_at <= ?3 and (?4 is null or dead_letter_source = ?4)";

const NEXT_VISIBLE: &str = "select min(visible_at) from message where queue = ?1 and visible_at > ?2";

const HELD: &str = "select visible_at, queue = ?2 and receipt_handle is ?3 from message where id = ?1";

const SET_VISIBILITY: &str = "update message set visible_at = ?2 where id = ?1";

const GIVE_BACK: &str = "update message set visible_at = ?2, receipt_handle = null where id = ?1";

/// A handle at the start is one that nobody holds any more.
const REVIVE: &str = "
    update message set
        visible_at = min(visible_at, ?1), receipt_handle = null, receive_count = receive_count - 1
    where receipt_handle is not null";

const DEPTH: &str = "
    select count(*) filter (where visible_at <= ?2),
        count(*) filter (where visible_at > ?2 and receipt_handle is not null),
        count(*) filter (where visible_at > ?2 and receipt_handle is null)
    from message where queue = ?1 and sent_at > ?3";

/// One queue as the template declares it.
#[derive(Clone, Debug)]
pub struct QueueDeclaration {
    pub name: String,
    pub visibility_timeout: Duration,
    pub delay: Duration,
    pub retention: Duration,
    pub dead_letter: Option<DeadLetter>,
}

/// Where a message goes instead of being delivered once more than `max_receive_count` times.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub queue: String,
    pub max_receive_count: u32,
}

/// How many messages of a queue are in which state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

/// One delivery of a message, with all its attributes; `message_attributes` are in the API's form.
#[derive(Clone, Debug)]
pub struct Received {
    pub message_id: String,
    pub receipt_handle: String,
    pub body: String,
    pub md5_of_body: String,
    pub attributes: BTreeMap<String, String>,
    pub message_attributes: Value,
}

#[derive(Debug, thiserror::Error)]
pub enum SqsError {
    #[error("The specified queue does not exist: {0}")]
    QueueDoesNotExist(String),
    #[error("The input receipt handle is invalid: {0}")]
    ReceiptHandleIsInvalid(String),
    #[error("The message is not in flight: its visibility timeout has passed.")]
    MessageNotInflight,
    /// Whatever else SQS refuses, with SQS's code for it.
    #[error("{message}")]
    Refused { code: &'static str, message: String },
    #[error("The queue database failed: {0}")]
    Storage(#[from] rusqlite::Error),
}

impl SqsError {
    fn invalid_parameter(message: String) -> Self {
        Self::Refused { code: "InvalidParameterValue", message }
    }

    /// The code of the older query protocol, by which the SDKs tell errors apart in JSON as well.
    fn code(&self) -> &'static str {
        match self {
            Self::QueueDoesNotExist(_) => "AWS.SimpleQueueService.NonExistentQueue",
            Self::ReceiptHandleIsInvalid(_) => "ReceiptHandleIsInvalid",
            Self::MessageNotInflight => "AWS.SimpleQueueService.MessageNotInflight",
            Self::Refused { code, .. } => code,
            Self::Storage(_) => "InternalFailure",
        }
    }
}

impl IntoResponse for SqsError {
    fn into_response(self) -> Response {
        let code = self.code();
        let (status, fault) = match &self {
            Self::Refused { code: "ResourceNotFoundException", .. } => (StatusCode::NOT_FOUND, "Sender"),
            Self::Storage(error) => {
                tracing::error!(%error, "the queue database failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "Receiver")
            }
            _ => (StatusCode::BAD_REQUEST, "Sender"),
        };
        // The shape's name is the code without its prefix, but for this one.
        let shape = match &self {
            Self::QueueDoesNotExist(_) => "QueueDoesNotExist",
            _ => code.trim_start_matches("AWS.SimpleQueueService."),
        };
        let body = json!({ "__type": format!("com.amazonaws.sqs#{shape}"), "message": self.to_string() });
        (status, [("x-amzn-query-error", format!("{code};{fault}"))], AmzJson(body)).into_response()
    }
}

struct AmzJson(Value);

impl IntoResponse for AmzJson {
    fn into_response(self) -> Response {
        ([("content-type", "application/x-amz-json-1.0")], self.0.to_string()).into_response()
    }
}

/// The queues of one platform; clones share them.
#[derive(Clone)]
pub struct Sqs {
    inner: Arc<Inner>,
}

struct Inner {
    base_url: String,
    queues: BTreeMap<String, Queue>,
    database: Mutex<Connection>,
}

struct Queue {
    declaration: QueueDeclaration,
    arrivals: Notify,
}

impl Sqs {
    /// Opens the queues on the messages that `path` already holds. The messages of a queue that is
    /// no longer declared stay in the file, for when it is declared again. A dead-letter queue has
    /// to be declared too.
    pub fn open(path: &Path, base_url: &str, queues: Vec<QueueDeclaration>) -> Result<Self, SqsError> {
        let queue = |declaration| Queue { declaration, arrivals: Notify::new() };
        let queues = queues.into_iter().map(|declared| (declared.name.clone(), queue(declared))).collect();
        let database = Connection::open(path)?;
        database.execute_batch(SCHEMA)?;
        if database.query_row(WITHOUT_GROUPS, [], |row| row.get(0))? {
            database.execute(ADD_GROUPS, [])?;
        }
        database.execute_batch(INDEXES)?;
        database.execute(REVIVE, [now()])?;
        let base_url = base_url.trim_end_matches('/').to_owned();
        let sqs = Self { inner: Arc::new(Inner { base_url, queues, database: Mutex::new(database) }) };
        for queue in sqs.inner.queues.values() {
            if let Some(dead_letter) = &queue.declaration.dead_letter {
                sqs.queue(&dead_letter.queue)?;
            }
            // Only a receive removes old messages otherwise, and few receive from a dead-letter queue.
            sqs.transact(|connection| expire(connection, queue, now()))?;
        }
        Ok(sqs)
    }

    /// The AWS JSON protocol, at `/`.
    pub fn router(&self) -> Router {
        let limit = DefaultBodyLimit::max(MAX_REQUEST_BYTES);
        Router::new().route("/", post(serve)).layer(limit).with_state(self.clone())
    }

    pub fn url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT}/{queue}", self.inner.base_url)
    }

    /// Adds a message; it is there for all receivers at once.
    pub fn send(&self, queue: &str, body: &str) -> Result<(), SqsError> {
        let message = OutgoingMessage { message_body: body.to_owned(), ..OutgoingMessage::default() };
        self.send_message((self.queue(queue)?, message)).map(drop)
    }

    /// Up to `max` visible messages, waiting up to `wait` for the first of them. Unlike over HTTP,
    /// `max` may exceed ten, because Lambda assembles larger batches.
    pub async fn receive(&self, queue: &str, max: u32, wait: Duration) -> Result<Vec<Received>, SqsError> {
        let queue = self.queue(queue)?;
        self.take_within(queue, max, wait, queue.declaration.visibility_timeout).await
    }

    /// Succeeds for a message that is gone already, so that a delete can be repeated.
    pub fn delete(&self, queue: &str, receipt_handle: &str) -> Result<(), SqsError> {
        let queue = self.queue(queue)?;
        self.transact(|connection| delete(connection, queue, receipt_handle))
    }

    /// Makes an in-flight message visible again after `timeout`, counted from now.
    pub fn change_visibility(
        &self,
        queue: &str,
        receipt_handle: &str,
        timeout: Duration,
    ) -> Result<(), SqsError> {
        self.show_after(queue, receipt_handle, timeout, SET_VISIBILITY)
    }

    /// Ends a receive that came to nothing: the message is visible again after `delay`. Unlike one
    /// that is still in flight when the process dies, it has been received.
    pub fn give_back(&self, queue: &str, receipt_handle: &str, delay: Duration) -> Result<(), SqsError> {
        self.show_after(queue, receipt_handle, delay, GIVE_BACK)
    }

    fn show_after(&self, queue: &str, handle: &str, delay: Duration, update: &str) -> Result<(), SqsError> {
        let queue = self.queue(queue)?;
        let now = now();
        self.transact(|connection| match held(connection, queue, handle)? {
            None => Err(SqsError::invalid_parameter("The message does not exist.".to_owned())),
            Some((_, visible_at)) if visible_at <= now => Err(SqsError::MessageNotInflight),
            Some((id, _)) => {
                let mut update = connection.prepare_cached(update)?;
                update.execute(params![id, now.saturating_add(millis(delay))])?;
                Ok(())
            }
        })?;
        queue.arrivals.notify_waiters();
        Ok(())
    }

    pub fn depth(&self, queue: &str) -> Result<Depth, SqsError> {
        let queue = self.queue(queue)?;
        let now = now();
        self.transact(|connection| {
            let values = params![queue.declaration.name, now, queue.oldest_retained(now)];
            Ok(connection.prepare_cached(DEPTH)?.query_row(values, |row| {
                Ok(Depth { visible: row.get(0)?, in_flight: row.get(1)?, delayed: row.get(2)? })
            })?)
        })
    }

    fn queue(&self, name: &str) -> Result<&Queue, SqsError> {
        self.inner.queues.get(name).ok_or_else(|| SqsError::QueueDoesNotExist(name.to_owned()))
    }

    fn queue_of_arn(&self, arn: &str) -> Result<&Queue, SqsError> {
        let queue = arn.strip_prefix(ARN_PREFIX).and_then(|name| self.inner.queues.get(name));
        queue.ok_or_else(|| SqsError::Refused {
            code: "ResourceNotFoundException",
            message: format!("There is no queue {arn}."),
        })
    }

    /// All use of the database. What `work` did is undone if it fails.
    fn transact<T>(&self, work: impl FnOnce(&Connection) -> Result<T, SqsError>) -> Result<T, SqsError> {
        // A panic rolls its transaction back too, so the connection in a poisoned lock is sound.
        let mut connection = self.inner.database.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        let outcome = work(&transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }

    async fn take_within(
        &self,
        queue: &Queue,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, SqsError> {
        let deadline = Instant::now() + wait;
        loop {
            // Created before looking, so that it also reports what arrives while looking.
            let arrival = queue.arrivals.notified();
            let (messages, next_visible) = self.take(queue, max, visibility)?;
            if !messages.is_empty() || Instant::now() >= deadline {
                return Ok(messages);
            }
            let wake = next_visible.map_or(deadline, |after| deadline.min(Instant::now() + after));
            tokio::select! {
                () = arrival => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// The messages that have been visible for longest, in no particular order, which are in flight
    /// from here on; and the time until the next one that is not visible yet will be.
    fn take(
        &self,
        queue: &Queue,
        max: u32,
        visibility: Duration,
    ) -> Result<(Vec<Received>, Option<Duration>), SqsError> {
        let QueueDeclaration { name, dead_letter, .. } = &queue.declaration;
        let now = now();
        let mut dead_lettered = 0;
        let taken = self.transact(|connection| {
            expire(connection, queue, now)?;
            if let Some(DeadLetter { queue, max_receive_count }) = dead_letter {
                let values = params![name, now, max_receive_count, queue];
                dead_lettered = connection.prepare_cached(DEAD_LETTER)?.execute(values)?;
            }
            let values = params![name, now, now.saturating_add(millis(visibility)), max];
            let fairly: bool = connection.prepare_cached(HAS_GROUPS)?.query_row([name], |row| row.get(0))?;
            let mut take = connection.prepare_cached(if fairly { TAKE_FAIRLY } else { TAKE })?;
            let messages = take.query_map(values, received)?.collect::<Result<_, _>>()?;
            let mut next = connection.prepare_cached(NEXT_VISIBLE)?;
            let next: Option<i64> = next.query_row(params![name, now], |row| row.get(0))?;
            Ok((messages, next.map(|at| Duration::from_millis((at - now).unsigned_abs()))))
        })?;
        if let Some(dead_letter) = dead_letter
            && dead_lettered > 0
        {
            tracing::warn!(queue = name, count = dead_lettered, "moved to the dead-letter queue");
            self.queue(&dead_letter.queue)?.arrivals.notify_waiters();
        }
        Ok(taken)
    }
}

/// The operations as the API has them, each from its request to the body of its response.
impl Sqs {
    async fn dispatch(&self, operation: &str, request: &[u8]) -> Result<Value, SqsError> {
        match operation {
            "SendMessage" => self.send_message(self.addressed(request)?),
            "SendMessageBatch" => self.send_message_batch(self.addressed(request)?),
            "ReceiveMessage" => self.receive_message(self.addressed(request)?).await,
            "DeleteMessage" => self.delete_message(self.addressed(request)?),
            "DeleteMessageBatch" => self.delete_message_batch(self.addressed(request)?),
            "ChangeMessageVisibility" => self.change_message_visibility(self.addressed(request)?),
            "GetQueueUrl" => self.get_queue_url(parse(request)?),
            "GetQueueAttributes" => self.get_queue_attributes(self.addressed(request)?),
            "ListQueues" => self.list_queues(parse(request)?),
            "StartMessageMoveTask" => self.start_message_move_task(parse(request)?),
            "PurgeQueue" => self.purge_queue(self.addressed(request)?),
            unknown => Err(SqsError::Refused {
                code: "AWS.SimpleQueueService.UnsupportedOperation",
                message: format!("The local SQS does not support {unknown:?} of the AWS JSON protocol."),
            }),
        }
    }

    /// The queue that a request is addressed to, and the rest of the request. Only the last segment
    /// of the URL counts, because the platform may be reached under several host names.
    fn addressed<T: DeserializeOwned>(&self, request: &[u8]) -> Result<(&Queue, T), SqsError> {
        let Address { queue_url } = parse(request)?;
        let queue = self.queue(queue_url.rsplit('/').next().unwrap_or_default())?;
        Ok((queue, parse(request)?))
    }

    fn send_message(&self, (queue, message): (&Queue, OutgoingMessage)) -> Result<Value, SqsError> {
        let sent = self.transact(|connection| insert(connection, queue, &message))?;
        queue.arrivals.notify_waiters();
        Ok(sent)
    }

    fn send_message_batch(
        &self,
        (queue, batch): (&Queue, Batch<OutgoingMessage>),
    ) -> Result<Value, SqsError> {
        let bytes: usize = batch.entries.iter().map(|entry| entry.content.bytes()).sum();
        if bytes > MAX_BYTES {
            let message = format!("The messages have {bytes} bytes together, of at most {MAX_BYTES}.");
            return Err(SqsError::Refused { code: "AWS.SimpleQueueService.BatchRequestTooLong", message });
        }
        let result = self.each(batch, |connection, message| insert(connection, queue, message))?;
        queue.arrivals.notify_waiters();
        Ok(result)
    }

    async fn receive_message(&self, (queue, request): (&Queue, ReceiveMessage)) -> Result<Value, SqsError> {
        let max = ranged("MaxNumberOfMessages", request.max_number_of_messages.unwrap_or(1), 1..=10)?;
        let wait = seconds("WaitTimeSeconds", request.wait_time_seconds.unwrap_or(0), 20)?;
        let visibility = match request.visibility_timeout {
            Some(timeout) => seconds("VisibilityTimeout", timeout, MAX_VISIBILITY_SECONDS)?,
            None => queue.declaration.visibility_timeout,
        };
        let messages = self.take_within(queue, max, wait, visibility).await?;
        let messages = messages.into_iter().map(|message| request.select(message));
        Ok(json!({ "Messages": messages.collect::<Result<Vec<_>, _>>()? }))
    }

    fn delete_message(&self, (queue, request): (&Queue, DeleteMessage)) -> Result<Value, SqsError> {
        self.delete(&queue.declaration.name, &request.receipt_handle)?;
        Ok(json!({}))
    }

    fn delete_message_batch(
        &self,
        (queue, batch): (&Queue, Batch<DeleteMessage>),
    ) -> Result<Value, SqsError> {
        self.each(batch, |connection, request| {
            delete(connection, queue, &request.receipt_handle).map(|()| json!({}))
        })
    }

    fn change_message_visibility(
        &self,
        (queue, request): (&Queue, ChangeMessageVisibility),
    ) -> Result<Value, SqsError> {
        let timeout = seconds("VisibilityTimeout", request.visibility_timeout, MAX_VISIBILITY_SECONDS)?;
        self.change_visibility(&queue.declaration.name, &request.receipt_handle, timeout)?;
        Ok(json!({}))
    }

    fn get_queue_url(&self, request: GetQueueUrl) -> Result<Value, SqsError> {
        let queue = self.queue(&request.queue_name)?;
        Ok(json!({ "QueueUrl": self.url(&queue.declaration.name) }))
    }

    fn get_queue_attributes(
        &self,
        (queue, request): (&Queue, GetQueueAttributes),
    ) -> Result<Value, SqsError> {
        let queue = &queue.declaration;
        let depth = self.depth(&queue.name)?;
        let redrive_policy = queue.dead_letter.as_ref().map(|dead_letter| {
            let (target, max) = (arn(&dead_letter.queue), dead_letter.max_receive_count);
            json!({ "deadLetterTargetArn": target, "maxReceiveCount": max }).to_string()
        });
        let mut attributes = BTreeMap::from([
            ("ApproximateNumberOfMessages", Some(depth.visible.to_string())),
            ("ApproximateNumberOfMessagesDelayed", Some(depth.delayed.to_string())),
            ("ApproximateNumberOfMessagesNotVisible", Some(depth.in_flight.to_string())),
            ("QueueArn", Some(arn(&queue.name))),
            ("RedrivePolicy", redrive_policy),
            ("VisibilityTimeout", Some(queue.visibility_timeout.as_secs().to_string())),
        ]);
        let wanted = &request.attribute_names;
        if let Some(name) =
            wanted.iter().find(|name| *name != "All" && !attributes.contains_key(name.as_str()))
        {
            let message = format!("Unknown Attribute {name}.");
            return Err(SqsError::Refused { code: "InvalidAttributeName", message });
        }
        attributes.retain(|name, value| value.is_some() && wanted.iter().any(|w| w == "All" || w == name));
        Ok(json!({ "Attributes": attributes }))
    }

    fn list_queues(&self, request: ListQueues) -> Result<Value, SqsError> {
        let names = self.inner.queues.keys().filter(|name| name.starts_with(&request.queue_name_prefix));
        Ok(json!({ "QueueUrls": names.map(|name| self.url(name)).collect::<Vec<_>>() }))
    }

    /// Moves what is visible in a dead-letter queue, at once. Without a destination each message
    /// goes back to where it came from; one that came from nowhere, because it was sent to the
    /// dead-letter queue directly, stays.
    fn start_message_move_task(&self, request: StartMessageMoveTask) -> Result<Value, SqsError> {
        let source = self.queue_of_arn(&request.source_arn)?;
        let name = &source.declaration.name;
        let mut moves: Vec<(&Queue, Option<&str>)> = Vec::new();
        for queue in self.inner.queues.values() {
            if queue.declaration.dead_letter.as_ref().is_some_and(|target| target.queue == *name) {
                moves.push((queue, Some(&queue.declaration.name)));
            }
        }
        if moves.is_empty() {
            return Err(SqsError::invalid_parameter(format!("{name} is not a dead-letter queue.")));
        }
        if let Some(arn) = &request.destination_arn {
            moves = vec![(self.queue_of_arn(arn)?, None)];
        }
        let now = now();
        self.transact(|connection| {
            expire(connection, source, now)?;
            let mut redrive = connection.prepare_cached(REDRIVE)?;
            for (destination, origin) in &moves {
                redrive.execute(params![name, destination.declaration.name, now, origin])?;
            }
            Ok(())
        })?;
        moves.iter().for_each(|(destination, _)| destination.arrivals.notify_waiters());
        // No operation takes the handle: the task is over before anyone could ask about it.
        Ok(json!({ "TaskHandle": format!("{name}-{now}") }))
    }

    fn purge_queue(&self, (queue, _): (&Queue, IgnoredAny)) -> Result<Value, SqsError> {
        self.transact(|connection| {
            let mut purge = connection.prepare_cached("delete from message where queue = ?1")?;
            purge.execute([&queue.declaration.name])?;
            Ok(json!({}))
        })
    }

    /// Does the `work` of a batch entry by entry. What SQS would refuse fails its entry only; a
    /// failure of the database fails, and undoes, the whole batch.
    fn each<T>(
        &self,
        batch: Batch<T>,
        work: impl Fn(&Connection, &T) -> Result<Value, SqsError>,
    ) -> Result<Value, SqsError> {
        batch.check_ids()?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        self.transact(|connection| {
            for Entry { id, content } in &batch.entries {
                match work(connection, content) {
                    Ok(mut result) => {
                        result["Id"] = json!(id);
                        successful.push(result);
                    }
                    Err(SqsError::Storage(error)) => return Err(error.into()),
                    Err(error) => {
                        let (code, message) = (error.code(), error.to_string());
                        failed
                            .push(json!({ "Id": id, "SenderFault": true, "Code": code, "Message": message }));
                    }
                }
            }
            Ok(())
        })?;
        Ok(json!({ "Successful": successful, "Failed": failed }))
    }
}

async fn serve(State(sqs): State<Sqs>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let outcome = sqs.dispatch(target.strip_prefix("AmazonSQS.").unwrap_or(target), &body).await;
    outcome.map(AmzJson).into_response()
}

fn parse<T: DeserializeOwned>(request: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(request)
        .map_err(|error| SqsError::Refused { code: "SerializationException", message: error.to_string() })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Address {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<T> {
    id: String,
    #[serde(flatten)]
    content: T,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OutgoingMessage {
    #[serde(default)]
    message_body: String,
    delay_seconds: Option<i64>,
    message_group_id: Option<String>,
    #[serde(default)]
    message_attributes: MessageAttributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveMessage {
    max_number_of_messages: Option<i64>,
    wait_time_seconds: Option<i64>,
    visibility_timeout: Option<i64>,
    /// The older name of `message_system_attribute_names`.
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteMessage {
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeMessageVisibility {
    receipt_handle: String,
    visibility_timeout: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueUrl {
    queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueAttributes {
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListQueues {
    #[serde(default)]
    queue_name_prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartMessageMoveTask {
    source_arn: String,
    destination_arn: Option<String>,
}

/// Sorted by name, as the digest over them demands.
type MessageAttributes = BTreeMap<String, MessageAttribute>;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MessageAttribute {
    data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
}

impl MessageAttribute {
    /// The value and the byte that stands for its kind in the digest; `None` if it is not valid.
    fn value(&self) -> Option<(u8, Cow<'_, [u8]>)> {
        let data_type = self.data_type.split('.').next()?;
        let (kind, value) = match (data_type, &self.string_value, &self.binary_value) {
            ("String" | "Number", Some(text), None) => (1, Cow::Borrowed(text.as_bytes())),
            ("Binary", None, Some(encoded)) => (2, Cow::Owned(BASE64.decode(encoded).ok()?)),
            _ => return None,
        };
        (!value.is_empty()).then_some((kind, value))
    }
}

impl OutgoingMessage {
    /// The size that counts against the limits. An attribute without a valid value is refused
    /// for that, so its size does not matter.
    fn bytes(&self) -> usize {
        let attributes = self.message_attributes.iter().map(|(name, attribute)| {
            let value = attribute.value().map_or(0, |(_, value)| value.len());
            name.len() + attribute.data_type.len() + value
        });
        self.message_body.len() + attributes.sum::<usize>()
    }

    fn check(&self) -> Result<(), SqsError> {
        let refuse = |code, message: &str| Err(SqsError::Refused { code, message: message.to_owned() });
        let forbidden = |c: char| c < ' ' && !"\t\n\r".contains(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
        if self.message_body.is_empty() {
            refuse("MissingParameter", "The request must contain the parameter MessageBody.")
        } else if self.message_body.contains(forbidden) {
            refuse("InvalidMessageContents", "The message contains a control character.")
        } else if self.bytes() > MAX_BYTES {
            refuse("InvalidParameterValue", "The message is longer than 1048576 bytes.")
        } else if !self.message_group_id.as_ref().is_none_or(|group| (1..=128).contains(&group.len())) {
            refuse("InvalidParameterValue", "The message group's id is not 1 to 128 characters.")
        } else if self.message_attributes.len() > 10 {
            refuse("InvalidParameterValue", "The message has more than 10 message attributes.")
        } else {
            Ok(())
        }
    }
}

impl<T> Batch<T> {
    fn check_ids(&self) -> Result<(), SqsError> {
        let refuse = |code, message| Err(SqsError::Refused { code, message });
        match self.entries.len() {
            0 => return refuse("AWS.SimpleQueueService.EmptyBatchRequest", "The batch is empty.".to_owned()),
            1..=MAX_BATCH_ENTRIES => {}
            count => {
                let message = format!("The batch has {count} entries, of at most {MAX_BATCH_ENTRIES}.");
                return refuse("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", message);
            }
        }
        let mut seen = BTreeSet::new();
        for Entry { id, .. } in &self.entries {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if !(1..=80).contains(&id.len()) || !id.chars().all(allowed) {
                let message = format!("{id:?} is not 1 to 80 letters, digits, hyphens and underscores.");
                return refuse("AWS.SimpleQueueService.InvalidBatchEntryId", message);
            }
            if !seen.insert(id) {
                return refuse(
                    "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
                    format!("Id {id} repeated."),
                );
            }
        }
        Ok(())
    }
}

impl ReceiveMessage {
    /// The message in the API's form, with those attributes that were asked for. The digest is
    /// over the attributes that are returned, not over those that were sent.
    fn select(&self, message: Received) -> Result<Value, SqsError> {
        let mut attributes = message.attributes;
        let names = [&self.attribute_names[..], &self.message_system_attribute_names].concat();
        attributes.retain(|name, _| names.iter().any(|wanted| wanted == "All" || wanted == name));
        let mut message_attributes: MessageAttributes =
            serde_json::from_value(message.message_attributes).map_err(unreadable)?;
        message_attributes.retain(|name, _| {
            self.message_attribute_names.iter().any(|wanted| match wanted.strip_suffix(".*") {
                Some(prefix) => name.starts_with(prefix),
                None => wanted == "All" || wanted == name,
            })
        });
        let mut selected = json!({
            "MessageId": message.message_id,
            "ReceiptHandle": message.receipt_handle,
            "MD5OfBody": message.md5_of_body,
            "Body": message.body,
            "Attributes": attributes,
        });
        if let Some(md5) = md5_of_attributes(&message_attributes)? {
            selected["MD5OfMessageAttributes"] = json!(md5);
            selected["MessageAttributes"] = json!(message_attributes);
        }
        Ok(selected)
    }
}

impl Received {
    /// How often the message has been received, this time included.
    pub fn receive_count(&self) -> u32 {
        let count = self.attributes.get("ApproximateReceiveCount");
        count.and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// The record of this message in the event that Lambda hands to a function.
    pub fn into_lambda_record(self, queue_arn: &str) -> Value {
        let mut message_attributes = json!({});
        for (name, attribute) in self.message_attributes.as_object().into_iter().flatten() {
            let mut record = json!({ "stringListValues": [], "binaryListValues": [] });
            record["dataType"] = attribute["DataType"].clone();
            for (field, api_field) in [("stringValue", "StringValue"), ("binaryValue", "BinaryValue")] {
                if let Some(value) = attribute.get(api_field) {
                    record[field] = value.clone();
                }
            }
            message_attributes[name] = record;
        }
        json!({
            "messageId": self.message_id,
            "receiptHandle": self.receipt_handle,
            "body": self.body,
            "attributes": self.attributes,
            "messageAttributes": message_attributes,
            "md5OfBody": self.md5_of_body,
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn,
            "awsRegion": REGION,
        })
    }
}

impl Queue {
    /// Messages sent up to this time have been retained for long enough.
    fn oldest_retained(&self, now: i64) -> i64 {
        now.saturating_sub(millis(self.declaration.retention))
    }
}

/// Stores a message and answers with the response's part about it.
fn insert(connection: &Connection, queue: &Queue, message: &OutgoingMessage) -> Result<Value, SqsError> {
    message.check()?;
    let QueueDeclaration { name, delay, .. } = &queue.declaration;
    let delay = message.delay_seconds.map_or(Ok(*delay), |delay| seconds("DelaySeconds", delay, 900))?;
    let (body, attributes) = (&message.message_body, &message.message_attributes);
    let md5_of_attributes = md5_of_attributes(attributes)?;
    let now = now();
    let visible_at = now.saturating_add(millis(delay));
    let attributes = json!(attributes).to_string();
    let values = params![name, body, attributes, now, visible_at, message.message_group_id];
    let id: String = connection.prepare_cached(INSERT)?.query_row(values, |row| row.get(0))?;
    let mut sent = json!({ "MessageId": id, "MD5OfMessageBody": hex(Md5::digest(body)) });
    if let Some(md5) = md5_of_attributes {
        sent["MD5OfMessageAttributes"] = json!(md5);
    }
    Ok(sent)
}

fn delete(connection: &Connection, queue: &Queue, receipt_handle: &str) -> Result<(), SqsError> {
    if let Some((id, _)) = held(connection, queue, receipt_handle)? {
        connection.prepare_cached("delete from message where id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// The id of the message that a receipt handle is for and when it is visible again; `None` if the
/// message is gone. Refuses the handle of an earlier receive, or of a message in another queue.
fn held<'handle>(
    connection: &Connection,
    queue: &Queue,
    handle: &'handle str,
) -> Result<Option<(&'handle str, i64)>, SqsError> {
    let invalid = || SqsError::ReceiptHandleIsInvalid(handle.to_owned());
    let (id, _) = handle.split_once('.').ok_or_else(invalid)?;
    let mut find = connection.prepare_cached(HELD)?;
    let values = params![id, queue.declaration.name, handle];
    match find.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
        None => Ok(None),
        Some((visible_at, true)) => Ok(Some((id, visible_at))),
        Some((_, false)) => Err(invalid()),
    }
}

/// Removes what the queue has retained for long enough.
fn expire(connection: &Connection, queue: &Queue, now: i64) -> Result<(), SqsError> {
    let values = params![queue.declaration.name, queue.oldest_retained(now)];
    connection.prepare_cached("delete from message where queue = ?1 and sent_at <= ?2")?.execute(values)?;
    Ok(())
}

fn received(row: &Row<'_>) -> rusqlite::Result<Received> {
    let body: String = row.get("body")?;
    let message_attributes: String = row.get("message_attributes")?;
    let number = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.to_string());
    let mut attributes = BTreeMap::from([
        ("SenderId".to_owned(), ACCOUNT.to_owned()),
        ("SentTimestamp".to_owned(), number("sent_at")?),
        ("ApproximateReceiveCount".to_owned(), number("receive_count")?),
        ("ApproximateFirstReceiveTimestamp".to_owned(), number("first_received_at")?),
    ]);
    if let Some(group) = row.get("message_group")? {
        attributes.insert("MessageGroupId".to_owned(), group);
    }
    if let Some(source) = row.get::<_, Option<String>>("dead_letter_source")? {
        attributes.insert("DeadLetterQueueSourceArn".to_owned(), arn(&source));
    }
    Ok(Received {
        message_id: row.get("id")?,
        receipt_handle: row.get("receipt_handle")?,
        md5_of_body: hex(Md5::digest(&body)),
        body,
        attributes,
        message_attributes: serde_json::from_str(&message_attributes).map_err(unreadable)?,
    })
}

/// For stored message attributes that are not what [`insert`] wrote.
fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    let column = 3;
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

/// SQS's digest over message attributes: of each, in the order of the names, the name, the data
/// type, a byte for the kind of value, and the value; with lengths as four bytes, big end first.
/// `None` if there are none.
fn md5_of_attributes(attributes: &MessageAttributes) -> Result<Option<String>, SqsError> {
    let mut md5 = Md5::new();
    let update = |md5: &mut Md5, bytes: &[u8]| {
        // MAX_BYTES keeps every length far below u32::MAX.
        md5.update((bytes.len() as u32).to_be_bytes());
        md5.update(bytes);
    };
    for (name, attribute) in attributes {
        let (kind, value) = attribute.value().ok_or_else(|| {
            SqsError::invalid_parameter(format!(
                "Message attribute '{name}' has no value that fits its type."
            ))
        })?;
        update(&mut md5, name.as_bytes());
        update(&mut md5, attribute.data_type.as_bytes());
        md5.update([kind]);
        update(&mut md5, &value);
    }
    Ok((!attributes.is_empty()).then(|| hex(md5.finalize())))
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn arn(queue: &str) -> String {
    format!("{ARN_PREFIX}{queue}")
}

fn ranged(parameter: &str, value: i64, range: RangeInclusive<u32>) -> Result<u32, SqsError> {
    u32::try_from(value).ok().filter(|value| range.contains(value)).ok_or_else(|| {
        SqsError::invalid_parameter(format!("Value {value} for parameter {parameter} is not in {range:?}."))
    })
}

fn seconds(parameter: &str, value: i64, max: u32) -> Result<Duration, SqsError> {
    Ok(Duration::from_secs(ranged(parameter, value, 0..=max)?.into()))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tempfile::TempDir;
    use tower::ServiceExt as _;

    use super::*;

    const VISIBILITY: Duration = Duration::from_millis(200);
    /// Longer than any test takes, so that a receive that is not woken fails by its elapsed time.
    const LONG: Duration = Duration::from_secs(20);
    const URL: &str = "http://localhost:4100/000000000000/mail";

    fn open(directory: &TempDir) -> Sqs {
        let hour = Duration::from_secs(3600);
        let queue = |name: &str, visibility_timeout, retention| QueueDeclaration {
            name: name.to_owned(),
            visibility_timeout,
            delay: Duration::ZERO,
            retention,
            dead_letter: None,
        };
        let dead_letter = Some(DeadLetter { queue: "mail-dead".to_owned(), max_receive_count: 2 });
        let queues = vec![
            QueueDeclaration { dead_letter, ..queue("mail", VISIBILITY, hour) },
            queue("mail-dead", hour, hour),
            queue("brief", VISIBILITY, VISIBILITY),
        ];
        Sqs::open(&directory.path().join("sqs.db"), "http://127.0.0.1:4100/", queues).unwrap()
    }

    async fn call(sqs: &Sqs, operation: &str, request: Value) -> Value {
        sqs.dispatch(operation, request.to_string().as_bytes()).await.unwrap()
    }

    async fn send(sqs: &Sqs, body: &str) {
        call(sqs, "SendMessage", json!({ "QueueUrl": URL, "MessageBody": body })).await;
    }

    async fn receive_one(sqs: &Sqs, queue: &str) -> Received {
        let started = Instant::now();
        let mut messages = sqs.receive(queue, 10, LONG).await.unwrap();
        assert!(started.elapsed() < LONG / 2, "the receive was woken");
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    /// Status, query error header and body, over HTTP.
    async fn post(sqs: &Sqs, operation: &str, request: Value) -> (StatusCode, String, Value) {
        let request = Request::post("/")
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(Body::from(request.to_string()))
            .unwrap();
        let response = sqs.router().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.0");
        let status = response.status();
        let error = response.headers().get("x-amzn-query-error");
        let error = error.map_or("", |value| value.to_str().unwrap()).to_owned();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, error, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn an_unacknowledged_message_is_redelivered_and_its_old_handle_is_stale() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        send(&sqs, "hello").await;
        let first = receive_one(&sqs, "mail").await;
        assert!(sqs.receive("mail", 10, Duration::ZERO).await.unwrap().is_empty());

        let second = receive_one(&sqs, "mail").await;
        assert_eq!(second.message_id, first.message_id);
        assert_eq!(second.attributes["ApproximateReceiveCount"], "2");
        let first_receive = "ApproximateFirstReceiveTimestamp";
        assert_eq!(second.attributes[first_receive], first.attributes[first_receive]);

        for handle in [&first.receipt_handle, "nonsense"] {
            let stale = sqs.delete("mail", handle);
            assert!(matches!(stale, Err(SqsError::ReceiptHandleIsInvalid(_))), "{handle}");
        }
        sqs.delete("mail", &second.receipt_handle).unwrap();
        sqs.delete("mail", &second.receipt_handle).unwrap();
        assert_eq!(sqs.depth("mail").unwrap(), Depth { visible: 0, in_flight: 0, delayed: 0 });
    }

    #[tokio::test]
    async fn a_group_that_keeps_its_receivers_busy_does_not_hold_up_another() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        let send = async |body: &str, group: &str| {
            let request = json!({ "QueueUrl": URL, "MessageBody": body, "MessageGroupId": group });
            call(&sqs, "SendMessage", request).await;
        };
        for number in 0..20 {
            send(&format!("noisy {number}"), "noisy").await;
        }
        let busy = sqs.receive("mail", 5, Duration::ZERO).await.unwrap();
        assert_eq!(busy[0].attributes["MessageGroupId"], "noisy");
        for number in 0..3 {
            send(&format!("quiet {number}"), "quiet").await;
        }
        let next = sqs.receive("mail", 4, Duration::ZERO).await.unwrap();
        let mut bodies: Vec<_> = next.iter().map(|message| message.body.as_str()).collect();
        bodies.sort_unstable();
        assert_eq!(bodies, ["noisy 5", "quiet 0", "quiet 1", "quiet 2"]);
        let (status, error, _) =
            post(&sqs, "SendMessage", json!({ "QueueUrl": URL, "MessageBody": "x", "MessageGroupId": "" }))
                .await;
        assert_eq!((status, error.as_str()), (StatusCode::BAD_REQUEST, "InvalidParameterValue;Sender"));
    }

    #[test]
    fn queues_of_before_messages_had_groups_go_on() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("sqs.db");
        let before = SCHEMA
            .replace("dead_letter_source text,", "dead_letter_source text")
            .replace("message_group text", "");
        Connection::open(&path).unwrap().execute_batch(&before).unwrap();
        open(&directory).send("mail", "hello").unwrap();
    }

    #[tokio::test]
    async fn changed_visibility_wakes_a_waiting_receive() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        send(&sqs, "hello").await;
        let hour = json!({ "QueueUrl": URL, "VisibilityTimeout": 3600 });
        let message = call(&sqs, "ReceiveMessage", hour).await;
        let handle = message["Messages"][0]["ReceiptHandle"].as_str().unwrap();
        assert_eq!(sqs.depth("mail").unwrap(), Depth { visible: 0, in_flight: 1, delayed: 0 });
        let give_back = async { sqs.change_visibility("mail", handle, VISIBILITY).unwrap() };
        let (again, ()) = tokio::join!(receive_one(&sqs, "mail"), give_back);
        assert_eq!(again.body, "hello");
    }

    #[tokio::test]
    async fn a_message_received_too_often_is_dead_lettered_and_can_be_redriven() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        send(&sqs, "poison").await;
        for _ in 0..2 {
            receive_one(&sqs, "mail").await;
        }
        let wait = 2 * VISIBILITY;
        let (dead, delivered) = tokio::join!(receive_one(&sqs, "mail-dead"), sqs.receive("mail", 10, wait));
        assert!(delivered.unwrap().is_empty());
        assert_eq!(dead.attributes["DeadLetterQueueSourceArn"], arn("mail"));
        sqs.change_visibility("mail-dead", &dead.receipt_handle, Duration::ZERO).unwrap();

        call(&sqs, "StartMessageMoveTask", json!({ "SourceArn": arn("mail-dead") })).await;
        let redriven = receive_one(&sqs, "mail").await;
        assert_eq!(redriven.body, "poison");
        assert_eq!(redriven.attributes["ApproximateReceiveCount"], "1");
        assert_ne!(redriven.message_id, dead.message_id);
    }

    #[tokio::test]
    async fn a_long_poll_is_woken_by_a_message_and_by_the_end_of_a_delay() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        let (message, ()) = tokio::join!(receive_one(&sqs, "mail"), send(&sqs, "hello"));
        sqs.delete("mail", &message.receipt_handle).unwrap();
        let delayed = json!({ "QueueUrl": URL, "MessageBody": "later", "DelaySeconds": 1 });
        call(&sqs, "SendMessage", delayed).await;
        assert_eq!(sqs.depth("mail").unwrap(), Depth { visible: 0, in_flight: 0, delayed: 1 });
        assert_eq!(receive_one(&sqs, "mail").await.body, "later");
    }

    #[tokio::test]
    async fn a_message_is_not_kept_longer_than_its_queue_retains_it() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        let url = sqs.url("brief");
        assert_eq!(url, "http://127.0.0.1:4100/000000000000/brief");
        call(&sqs, "SendMessage", json!({ "QueueUrl": url, "MessageBody": "hello" })).await;
        receive_one(&sqs, "brief").await;
        assert!(sqs.receive("brief", 10, 2 * VISIBILITY).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_was_in_flight_when_the_process_died_is_there_at_once() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        send(&sqs, "in flight").await;
        drop(sqs);
        let day = json!({ "QueueUrl": URL, "VisibilityTimeout": 43_200 });
        // More often than `maxReceiveCount` would allow.
        for _ in 0..3 {
            let sqs = open(&directory);
            let received = &call(&sqs, "ReceiveMessage", day.clone()).await["Messages"][0];
            assert_eq!(received["Body"], "in flight");
        }
        let sqs = open(&directory);
        let message = receive_one(&sqs, "mail").await;
        assert_eq!((&*message.body, message.receive_count()), ("in flight", 1));

        sqs.give_back("mail", &message.receipt_handle, LONG).unwrap();
        drop(sqs);
        let sqs = open(&directory);
        assert_eq!(sqs.depth("mail").unwrap(), Depth { visible: 0, in_flight: 0, delayed: 1 });
        let stale = sqs.delete("mail", &message.receipt_handle);
        assert!(matches!(stale, Err(SqsError::ReceiptHandleIsInvalid(_))));
    }

    #[tokio::test]
    async fn a_receive_that_came_to_nothing_counts() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        send(&sqs, "hello").await;
        let first = receive_one(&sqs, "mail").await;
        sqs.give_back("mail", &first.receipt_handle, Duration::ZERO).unwrap();
        drop(sqs);
        let sqs = open(&directory);
        assert_eq!(receive_one(&sqs, "mail").await.receive_count(), 2);
    }

    #[tokio::test]
    async fn a_batch_reports_the_entries_that_failed() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        let entries = json!([
            { "Id": "good", "MessageBody": "hello" },
            { "Id": "empty", "MessageBody": "" },
            { "Id": "late", "MessageBody": "hello", "DelaySeconds": 901 },
        ]);
        let request = json!({ "QueueUrl": URL, "Entries": entries });
        let (status, _, body) = post(&sqs, "SendMessageBatch", request).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["Successful"].as_array().unwrap().len(), 1);
        assert_eq!(body["Successful"][0]["Id"], "good");
        assert_eq!(body["Successful"][0]["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(body["Failed"][0]["Code"], "MissingParameter");
        assert_eq!(body["Failed"][1]["Code"], "InvalidParameterValue");
        assert_eq!(sqs.depth("mail").unwrap().visible, 1);

        let twice = json!([{ "Id": "a", "ReceiptHandle": "x.y" }, { "Id": "a", "ReceiptHandle": "x.y" }]);
        let request = json!({ "QueueUrl": URL, "Entries": twice });
        let (_, error, _) = post(&sqs, "DeleteMessageBatch", request).await;
        assert_eq!(error, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct;Sender");
    }

    #[tokio::test]
    async fn errors_have_the_shape_that_the_sdks_expect() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        let (status, error, body) = post(&sqs, "GetQueueUrl", json!({ "QueueName": "nope" })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(error, "AWS.SimpleQueueService.NonExistentQueue;Sender");
        assert_eq!(body["__type"], "com.amazonaws.sqs#QueueDoesNotExist");

        let (status, _, body) = post(&sqs, "CreateQueue", json!({})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["__type"], "com.amazonaws.sqs#UnsupportedOperation");
        assert!(body["message"].as_str().unwrap().contains("CreateQueue"));
    }

    #[tokio::test]
    async fn message_attributes_are_digested_filtered_and_handed_to_lambda() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        let attributes = json!({
            "timestamp": { "DataType": "Number", "StringValue": "1493147359900" },
            "trace.id": { "DataType": "Binary", "BinaryValue": "AAEC" },
        });
        let message = json!({ "QueueUrl": URL, "MessageBody": "hello", "MessageAttributes": attributes });
        call(&sqs, "SendMessage", message).await;
        let request = json!({
            "QueueUrl": URL,
            "MessageAttributeNames": ["timestamp"],
            "AttributeNames": ["ApproximateReceiveCount"],
            "VisibilityTimeout": 0,
        });
        let message = call(&sqs, "ReceiveMessage", request).await["Messages"][0].take();
        // The digest that SQS gives for this attribute alone.
        assert_eq!(message["MD5OfMessageAttributes"], "235c5c510d26fb653d073faed50ae77c");
        assert_eq!(message["MessageAttributes"].as_object().unwrap().len(), 1);
        assert_eq!(message["Attributes"], json!({ "ApproximateReceiveCount": "1" }));

        let record = receive_one(&sqs, "mail").await.into_lambda_record(&arn("mail"));
        assert_eq!(record["messageAttributes"]["trace.id"]["binaryValue"], "AAEC");
        assert_eq!(record["messageAttributes"]["timestamp"]["stringValue"], "1493147359900");
        assert_eq!(record["attributes"]["ApproximateReceiveCount"], "2");
        assert_eq!(record["eventSourceARN"], "arn:aws:sqs:us-east-1:000000000000:mail");
    }
}

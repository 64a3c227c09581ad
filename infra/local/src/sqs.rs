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
//!   a receipt handle and *delayed* if it has none. Nothing about visibility lives in memory, so
//!   what was in flight when the process died comes back by its timeout.
//! - A message has at most one valid receipt handle: that of its latest receive.
//! - Whatever may make a message visible earlier notifies the queue's `arrivals`; waiting receives
//!   otherwise sleep until the next `visible_at` they know of.
//! - All times are milliseconds since the epoch.
//!
//! Not imitated: pagination of `ListQueues`, the 60 seconds between two `PurgeQueue`, message
//! system attributes on send, and message groups; the fields concerned are ignored.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";
const ARN_PREFIX: &str = "arn:aws:sqs:us-east-1:000000000000:";

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
        dead_letter_source text
    ) strict;
    create index if not exists message_by_visibility on message (queue, visible_at);
    create index if not exists message_by_receive_count on message (queue, receive_count);
    create index if not exists message_by_age on message (queue, sent_at);";

const INSERT: &str = "
    insert into message (id, queue, body, message_attributes, sent_at, visible_at)
    values (lower(hex(randomblob(16))), ?1, ?2, ?3, ?4, ?5) returning id";

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
    #[error("The resource that you specified for the {0} parameter doesn't exist.")]
    ResourceNotFound(&'static str),
    #[error("The input receipt handle is invalid: {0}")]
    ReceiptHandleIsInvalid(String),
    #[error("The message is not in flight: its visibility timeout has passed.")]
    MessageNotInflight,
    #[error("{0}")]
    InvalidParameterValue(String),
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    #[error("The message contains a character outside the allowed set.")]
    InvalidMessageContents,
    #[error("There should be at least one entry in the request.")]
    EmptyBatchRequest,
    #[error("Maximum number of entries per request are {MAX_BATCH_ENTRIES}. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    #[error("A batch entry id may have 1 to 80 letters, digits, hyphens and underscores, not {0:?}.")]
    InvalidBatchEntryId(String),
    #[error("Batch requests cannot be longer than {MAX_BYTES} bytes. You have sent {0} bytes.")]
    BatchRequestTooLong(usize),
    #[error("The local SQS does not support the operation {0:?} of the AWS JSON protocol.")]
    UnsupportedOperation(String),
    #[error("The request is not valid: {0}")]
    Malformed(#[source] serde_json::Error),
    #[error("The queue database failed: {0}")]
    Storage(#[from] rusqlite::Error),
}

impl SqsError {
    /// The status, the `__type`, and the code of the older query protocol by which the SDKs
    /// tell errors apart.
    fn wire(&self) -> (StatusCode, &'static str, &'static str) {
        let (kind, code) = match self {
            Self::QueueDoesNotExist(_) => {
                ("com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
            }
            Self::ResourceNotFound(_) => {
                ("com.amazonaws.sqs#ResourceNotFoundException", "ResourceNotFoundException")
            }
            Self::ReceiptHandleIsInvalid(_) => {
                ("com.amazonaws.sqs#ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid")
            }
            Self::MessageNotInflight => {
                ("com.amazonaws.sqs#MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight")
            }
            Self::InvalidParameterValue(_) => {
                ("com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue")
            }
            Self::InvalidAttributeName(_) => {
                ("com.amazonaws.sqs#InvalidAttributeName", "InvalidAttributeName")
            }
            Self::MissingParameter(_) => {
                ("com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter")
            }
            Self::InvalidMessageContents => {
                ("com.amazonaws.sqs#InvalidMessageContents", "InvalidMessageContents")
            }
            Self::EmptyBatchRequest => {
                ("com.amazonaws.sqs#EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest")
            }
            Self::TooManyEntriesInBatchRequest(_) => (
                "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            ),
            Self::BatchEntryIdsNotDistinct(_) => (
                "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            ),
            Self::InvalidBatchEntryId(_) => {
                ("com.amazonaws.sqs#InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId")
            }
            Self::BatchRequestTooLong(_) => {
                ("com.amazonaws.sqs#BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong")
            }
            Self::UnsupportedOperation(_) => {
                ("com.amazonaws.sqs#UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation")
            }
            Self::Malformed(_) => {
                ("com.amazon.coral.service#SerializationException", "SerializationException")
            }
            Self::Storage(_) => ("com.amazonaws.sqs#InternalFailure", "InternalFailure"),
        };
        let status = match self {
            Self::ResourceNotFound(_) => StatusCode::NOT_FOUND,
            Self::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, kind, code)
    }
}

impl IntoResponse for SqsError {
    fn into_response(self) -> Response {
        let (status, kind, code) = self.wire();
        let fault = if status.is_server_error() {
            tracing::error!(error = %self, "SQS request failed");
            "Receiver"
        } else {
            "Sender"
        };
        let query_error = [("x-amzn-query-error", format!("{code};{fault}"))];
        let body = json!({ "__type": kind, "message": self.to_string() });
        (status, query_error, amz_json(&body)).into_response()
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
    /// no longer declared stay in the file, for when it is declared again.
    pub fn open(path: &Path, base_url: &str, declarations: Vec<QueueDeclaration>) -> Result<Self, SqsError> {
        let mut queues = BTreeMap::new();
        for declaration in declarations {
            let arrivals = Notify::new();
            queues.insert(declaration.name.clone(), Queue { declaration, arrivals });
        }
        let database = Mutex::new(Connection::open(path)?);
        let base_url = base_url.trim_end_matches('/').to_owned();
        let sqs = Self { inner: Arc::new(Inner { base_url, queues, database }) };
        for queue in sqs.inner.queues.values() {
            if let Some(dead_letter) = &queue.declaration.dead_letter {
                sqs.queue(&dead_letter.queue)?;
            }
        }
        sqs.connection(|connection| Ok(connection.execute_batch(SCHEMA)?))?;
        // A queue that nobody receives from, as a dead-letter queue, is rid of old messages here.
        sqs.transact(|connection| {
            let now = now();
            sqs.inner.queues.values().try_for_each(|queue| expire(connection, queue, now))
        })?;
        Ok(sqs)
    }

    pub fn router(&self) -> Router {
        Router::new()
            .route("/", post(serve))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(self.clone())
    }

    pub fn url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT}/{queue}", self.inner.base_url)
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
        let queue = self.queue(queue)?;
        let now = now();
        self.transact(|connection| match visible_at(connection, queue, receipt_handle)? {
            None => Err(SqsError::InvalidParameterValue(
                "Message does not exist or is not available for visibility timeout change.".into(),
            )),
            Some(visible_at) if visible_at <= now => Err(SqsError::MessageNotInflight),
            Some(_) => {
                connection
                    .prepare_cached(
                        "update message set visible_at = ?2 where receipt_handle = ?1 and id = ?3",
                    )?
                    .execute(params![receipt_handle, after(now, timeout), message_id(receipt_handle)?])?;
                Ok(())
            }
        })?;
        queue.arrivals.notify_waiters();
        Ok(())
    }

    pub fn depth(&self, queue: &str) -> Result<Depth, SqsError> {
        let QueueDeclaration { name, retention, .. } = &self.queue(queue)?.declaration;
        let now = now();
        self.connection(|connection| {
            Ok(connection.prepare_cached(DEPTH)?.query_row(
                params![name, now, before(now, *retention)],
                |row| {
                    let (visible, in_flight, delayed) = (row.get(0)?, row.get(1)?, row.get(2)?);
                    Ok(Depth { visible, in_flight, delayed })
                },
            )?)
        })
    }

    fn queue(&self, name: &str) -> Result<&Queue, SqsError> {
        let queue = self.inner.queues.get(name);
        queue.ok_or_else(|| SqsError::QueueDoesNotExist(name.to_owned()))
    }

    /// By the URL's last segment only: the platform may be reached under several host names.
    fn queue_at(&self, url: &str) -> Result<&Queue, SqsError> {
        self.queue(url.rsplit('/').next().unwrap_or(url))
    }

    fn queue_of_arn(&self, parameter: &'static str, arn: &str) -> Result<&Queue, SqsError> {
        arn.strip_prefix(ARN_PREFIX)
            .and_then(|name| self.inner.queues.get(name))
            .ok_or(SqsError::ResourceNotFound(parameter))
    }

    fn connection<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, SqsError>,
    ) -> Result<T, SqsError> {
        // A panic rolls its transaction back, so the connection behind a poisoned lock is sound.
        work(&mut self.inner.database.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn transact<T>(&self, work: impl FnOnce(&Connection) -> Result<T, SqsError>) -> Result<T, SqsError> {
        self.connection(|connection| {
            let transaction = connection.transaction()?;
            let outcome = work(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        })
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

    /// Visible messages, which are in flight from here on, and the time until the next one that is
    /// not visible yet will be.
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
                dead_lettered = connection.prepare_cached(DEAD_LETTER)?.execute(params![
                    name,
                    now,
                    max_receive_count,
                    queue
                ])?;
            }
            let messages = connection
                .prepare_cached(TAKE)?
                .query_map(params![name, now, after(now, visibility), max], received)?
                .collect::<Result<_, _>>()?;
            let next_visible: Option<i64> = connection
                .prepare_cached("select min(visible_at) from message where queue = ?1 and visible_at > ?2")?
                .query_row(params![name, now], |row| row.get(0))?;
            let until = |at: i64| Duration::from_millis((at - now).unsigned_abs());
            Ok((messages, next_visible.map(until)))
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
            "SendMessage" => self.send_message(&parse(request)?),
            "SendMessageBatch" => self.send_message_batch(&parse(request)?),
            "ReceiveMessage" => self.receive_message(parse(request)?).await,
            "DeleteMessage" => self.delete_message(&parse(request)?),
            "DeleteMessageBatch" => self.delete_message_batch(&parse(request)?),
            "ChangeMessageVisibility" => self.change_message_visibility(&parse(request)?),
            "GetQueueUrl" => self.get_queue_url(&parse(request)?),
            "GetQueueAttributes" => self.get_queue_attributes(&parse(request)?),
            "ListQueues" => self.list_queues(&parse(request)?),
            "StartMessageMoveTask" => self.start_message_move_task(&parse(request)?),
            "PurgeQueue" => self.purge_queue(&parse(request)?),
            unknown => Err(SqsError::UnsupportedOperation(unknown.to_owned())),
        }
    }

    fn send_message(&self, request: &SendMessage) -> Result<Value, SqsError> {
        let queue = self.queue_at(&request.queue_url)?;
        let sent = self.transact(|connection| insert(connection, queue, &request.message))?;
        queue.arrivals.notify_waiters();
        Ok(sent)
    }

    fn send_message_batch(&self, request: &Batch<SendEntry>) -> Result<Value, SqsError> {
        let queue = self.queue_at(&request.queue_url)?;
        check_batch_ids(request.entries.iter().map(|entry| &entry.id))?;
        let bytes = request.entries.iter().map(|entry| entry.message.bytes()).sum();
        if bytes > MAX_BYTES {
            return Err(SqsError::BatchRequestTooLong(bytes));
        }
        let mut result = BatchResult::default();
        self.transact(|connection| {
            request
                .entries
                .iter()
                .try_for_each(|entry| result.record(&entry.id, insert(connection, queue, &entry.message)))
        })?;
        queue.arrivals.notify_waiters();
        Ok(json!(result))
    }

    async fn receive_message(&self, request: ReceiveMessage) -> Result<Value, SqsError> {
        let queue = self.queue_at(&request.queue_url)?;
        let max = ranged("MaxNumberOfMessages", request.max_number_of_messages.unwrap_or(1), 1..=10)?;
        let wait = seconds("WaitTimeSeconds", request.wait_time_seconds.unwrap_or(0), 20)?;
        let visibility = match request.visibility_timeout {
            Some(timeout) => seconds("VisibilityTimeout", timeout, 43_200)?,
            None => queue.declaration.visibility_timeout,
        };
        let messages = self.take_within(queue, max, wait, visibility).await?;
        if messages.is_empty() {
            return Ok(json!({}));
        }
        let messages = messages.into_iter().map(|message| request.select(message));
        Ok(json!({ "Messages": messages.collect::<Result<Vec<_>, _>>()? }))
    }

    fn delete_message(&self, request: &DeleteMessage) -> Result<Value, SqsError> {
        let queue = self.queue_at(&request.queue_url)?;
        self.delete(&queue.declaration.name, &request.receipt_handle)?;
        Ok(json!({}))
    }

    fn delete_message_batch(&self, request: &Batch<DeleteEntry>) -> Result<Value, SqsError> {
        let queue = self.queue_at(&request.queue_url)?;
        check_batch_ids(request.entries.iter().map(|entry| &entry.id))?;
        let mut result = BatchResult::default();
        self.transact(|connection| {
            request.entries.iter().try_for_each(|entry| {
                let outcome = delete(connection, queue, &entry.receipt_handle);
                result.record(&entry.id, outcome.map(|()| json!({})))
            })
        })?;
        Ok(json!(result))
    }

    fn change_message_visibility(&self, request: &ChangeMessageVisibility) -> Result<Value, SqsError> {
        let queue = self.queue_at(&request.queue_url)?;
        let timeout = seconds("VisibilityTimeout", request.visibility_timeout, 43_200)?;
        self.change_visibility(&queue.declaration.name, &request.receipt_handle, timeout)?;
        Ok(json!({}))
    }

    fn get_queue_url(&self, request: &GetQueueUrl) -> Result<Value, SqsError> {
        self.queue(&request.queue_name)?;
        Ok(json!({ "QueueUrl": self.url(&request.queue_name) }))
    }

    fn get_queue_attributes(&self, request: &GetQueueAttributes) -> Result<Value, SqsError> {
        let queue = &self.queue_at(&request.queue_url)?.declaration;
        let depth = self.depth(&queue.name)?;
        let redrive_policy = queue.dead_letter.as_ref().map(|dead_letter| {
            let (target, max) = (arn(&dead_letter.queue), dead_letter.max_receive_count);
            json!({ "deadLetterTargetArn": target, "maxReceiveCount": max }).to_string()
        });
        let known = BTreeMap::from([
            ("ApproximateNumberOfMessages", Some(depth.visible.to_string())),
            ("ApproximateNumberOfMessagesDelayed", Some(depth.delayed.to_string())),
            ("ApproximateNumberOfMessagesNotVisible", Some(depth.in_flight.to_string())),
            ("DelaySeconds", Some(queue.delay.as_secs().to_string())),
            ("MessageRetentionPeriod", Some(queue.retention.as_secs().to_string())),
            ("QueueArn", Some(arn(&queue.name))),
            ("RedrivePolicy", redrive_policy),
            ("VisibilityTimeout", Some(queue.visibility_timeout.as_secs().to_string())),
        ]);
        let wanted = &request.attribute_names;
        let all = wanted.iter().any(|name| name == "All");
        if let Some(name) = wanted.iter().find(|name| *name != "All" && !known.contains_key(name.as_str())) {
            return Err(SqsError::InvalidAttributeName(name.clone()));
        }
        let chosen = known.into_iter().filter(|(name, _)| all || wanted.iter().any(|w| w == name));
        let attributes: BTreeMap<_, _> = chosen.filter_map(|(name, value)| Some((name, value?))).collect();
        Ok(json!({ "Attributes": attributes }))
    }

    fn list_queues(&self, request: &ListQueues) -> Result<Value, SqsError> {
        let names = self.inner.queues.keys();
        let names = names.filter(|name| name.starts_with(&request.queue_name_prefix));
        Ok(json!({ "QueueUrls": names.map(|name| self.url(name)).collect::<Vec<_>>() }))
    }

    /// Moves what is visible in a dead-letter queue, at once. Without a destination each message
    /// goes back to where it came from; one that came from nowhere, because it was sent to the
    /// dead-letter queue directly, stays.
    fn start_message_move_task(&self, request: &StartMessageMoveTask) -> Result<Value, SqsError> {
        let source = self.queue_of_arn("SourceArn", &request.source_arn)?;
        let name = &source.declaration.name;
        let feeds_source =
            |queue: &&Queue| queue.declaration.dead_letter.as_ref().is_some_and(|to| to.queue == *name);
        let feeders: Vec<&Queue> = self.inner.queues.values().filter(feeds_source).collect();
        if feeders.is_empty() {
            let reason = "Source queue must be configured as a Dead Letter Queue.";
            return Err(SqsError::InvalidParameterValue(reason.to_owned()));
        }
        let moves: Vec<(&Queue, Option<&str>)> = match &request.destination_arn {
            Some(arn) => vec![(self.queue_of_arn("DestinationArn", arn)?, None)],
            None => feeders.into_iter().map(|to| (to, Some(to.declaration.name.as_str()))).collect(),
        };
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

    fn purge_queue(&self, request: &PurgeQueue) -> Result<Value, SqsError> {
        let name = &self.queue_at(&request.queue_url)?.declaration.name;
        self.transact(|connection| {
            connection.prepare_cached("delete from message where queue = ?1")?.execute([name])?;
            Ok(json!({}))
        })
    }
}

async fn serve(State(sqs): State<Sqs>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default();
    match sqs.dispatch(target.strip_prefix("AmazonSQS.").unwrap_or(target), &body).await {
        Ok(response) => amz_json(&response).into_response(),
        Err(error) => error.into_response(),
    }
}

fn amz_json(body: &Value) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/x-amz-json-1.0")], body.to_string())
}

fn parse<T: DeserializeOwned>(request: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(request).map_err(SqsError::Malformed)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage {
    queue_url: String,
    #[serde(flatten)]
    message: OutgoingMessage,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OutgoingMessage {
    #[serde(default)]
    message_body: String,
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: MessageAttributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<Entry> {
    queue_url: String,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendEntry {
    id: String,
    #[serde(flatten)]
    message: OutgoingMessage,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteEntry {
    id: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveMessage {
    queue_url: String,
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
    queue_url: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeMessageVisibility {
    queue_url: String,
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
    queue_url: String,
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PurgeQueue {
    queue_url: String,
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
        let (kind, value) = match (self.data_type.split('.').next()?, &self.string_value, &self.binary_value)
        {
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
        let invalid = |reason: String| Err(SqsError::InvalidParameterValue(reason));
        if self.message_body.is_empty() {
            return Err(SqsError::MissingParameter("MessageBody"));
        }
        let forbidden =
            |c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{fffe}' | '\u{ffff}');
        if self.message_body.contains(forbidden) {
            return Err(SqsError::InvalidMessageContents);
        }
        if self.bytes() > MAX_BYTES {
            return invalid(format!("Message must be shorter than {MAX_BYTES} bytes."));
        }
        match self.message_attributes.len() {
            0..=10 => Ok(()),
            count => {
                invalid(format!("Number of message attributes [{count}] exceeds the allowed maximum [10]."))
            }
        }
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
        });
        if !attributes.is_empty() {
            selected["Attributes"] = json!(attributes);
        }
        if let Some(md5) = md5_of_attributes(&message_attributes)? {
            selected["MD5OfMessageAttributes"] = json!(md5);
            selected["MessageAttributes"] = json!(message_attributes);
        }
        Ok(selected)
    }
}

impl Received {
    /// The record of this message in the event that Lambda hands to a function.
    pub fn into_lambda_record(self, queue_arn: &str) -> Value {
        let message_attributes = self.message_attributes.as_object().into_iter().flatten();
        let message_attributes: serde_json::Map<_, _> = message_attributes
            .map(|(name, attribute)| {
                let mut record = json!({
                    "dataType": attribute["DataType"],
                    "stringListValues": [],
                    "binaryListValues": [],
                });
                for (field, api_field) in [("stringValue", "StringValue"), ("binaryValue", "BinaryValue")] {
                    if let Some(value) = attribute.get(api_field) {
                        record[field] = value.clone();
                    }
                }
                (name.clone(), record)
            })
            .collect();
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

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchResult {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl BatchResult {
    /// A failure of the database fails, and rolls back, the whole batch.
    fn record(&mut self, id: &str, outcome: Result<Value, SqsError>) -> Result<(), SqsError> {
        match outcome {
            Ok(mut entry) => {
                entry["Id"] = json!(id);
                self.successful.push(entry);
            }
            Err(error @ SqsError::Storage(_)) => return Err(error),
            Err(error) => {
                let (_, _, code) = error.wire();
                let message = error.to_string();
                let entry = json!({ "Id": id, "SenderFault": true, "Code": code, "Message": message });
                self.failed.push(entry);
            }
        }
        Ok(())
    }
}

fn check_batch_ids<'a>(ids: impl ExactSizeIterator<Item = &'a String>) -> Result<(), SqsError> {
    match ids.len() {
        0 => return Err(SqsError::EmptyBatchRequest),
        1..=MAX_BATCH_ENTRIES => {}
        count => return Err(SqsError::TooManyEntriesInBatchRequest(count)),
    }
    let mut seen = BTreeSet::new();
    for id in ids {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=80).contains(&id.len()) || !id.chars().all(allowed) {
            return Err(SqsError::InvalidBatchEntryId(id.clone()));
        }
        if !seen.insert(id) {
            return Err(SqsError::BatchEntryIdsNotDistinct(id.clone()));
        }
    }
    Ok(())
}

/// Stores a message; the response's entry for it.
fn insert(connection: &Connection, queue: &Queue, message: &OutgoingMessage) -> Result<Value, SqsError> {
    message.check()?;
    let delay = match message.delay_seconds {
        Some(delay) => seconds("DelaySeconds", delay, 900)?,
        None => queue.declaration.delay,
    };
    let (body, attributes) = (&message.message_body, &message.message_attributes);
    let md5_of_attributes = md5_of_attributes(attributes)?;
    let now = now();
    let id: String = connection.prepare_cached(INSERT)?.query_row(
        params![queue.declaration.name, body, json!(attributes).to_string(), now, after(now, delay)],
        |row| row.get(0),
    )?;
    let mut sent = json!({ "MessageId": id, "MD5OfMessageBody": hex(Md5::digest(body)) });
    if let Some(md5) = md5_of_attributes {
        sent["MD5OfMessageAttributes"] = json!(md5);
    }
    Ok(sent)
}

fn delete(connection: &Connection, queue: &Queue, receipt_handle: &str) -> Result<(), SqsError> {
    if visible_at(connection, queue, receipt_handle)?.is_some() {
        connection
            .prepare_cached("delete from message where id = ?1")?
            .execute([message_id(receipt_handle)?])?;
    }
    Ok(())
}

/// When the message of a receipt handle is visible again, or `None` if there is no such message any
/// more. Refuses the handle of an earlier receive, and of a message that has since left the queue.
fn visible_at(connection: &Connection, queue: &Queue, receipt_handle: &str) -> Result<Option<i64>, SqsError> {
    let message = connection
        .prepare_cached("select visible_at, queue = ?2 and receipt_handle is ?3 from message where id = ?1")?
        .query_row(params![message_id(receipt_handle)?, queue.declaration.name, receipt_handle], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match message {
        None => Ok(None),
        Some((visible_at, true)) => Ok(Some(visible_at)),
        Some((_, false)) => Err(SqsError::ReceiptHandleIsInvalid(receipt_handle.to_owned())),
    }
}

fn message_id(receipt_handle: &str) -> Result<&str, SqsError> {
    let parts = receipt_handle.split_once('.');
    parts.map(|(id, _)| id).ok_or_else(|| SqsError::ReceiptHandleIsInvalid(receipt_handle.to_owned()))
}

/// Removes what the queue has retained for long enough.
fn expire(connection: &Connection, queue: &Queue, now: i64) -> Result<(), SqsError> {
    let QueueDeclaration { name, retention, .. } = &queue.declaration;
    connection
        .prepare_cached("delete from message where queue = ?1 and sent_at <= ?2")?
        .execute(params![name, before(now, *retention)])?;
    Ok(())
}

fn received(row: &Row<'_>) -> rusqlite::Result<Received> {
    let body: String = row.get("body")?;
    let message_attributes: String = row.get("message_attributes")?;
    let mut attributes = BTreeMap::from([
        ("SenderId".to_owned(), ACCOUNT.to_owned()),
        ("SentTimestamp".to_owned(), row.get::<_, i64>("sent_at")?.to_string()),
        ("ApproximateReceiveCount".to_owned(), row.get::<_, i64>("receive_count")?.to_string()),
        ("ApproximateFirstReceiveTimestamp".to_owned(), row.get::<_, i64>("first_received_at")?.to_string()),
    ]);
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

/// Stored attributes that are not what [`insert`] wrote.
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
        let Some((kind, value)) = attribute.value() else {
            return Err(SqsError::InvalidParameterValue(format!(
                "The message attribute '{name}' must have a non-empty value that fits its type."
            )));
        };
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
        let (min, max) = range.into_inner();
        SqsError::InvalidParameterValue(format!(
            "Value {value} for parameter {parameter} is invalid. Reason: Must be between {min} and {max}."
        ))
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

fn after(now: i64, duration: Duration) -> i64 {
    now.saturating_add(millis(duration))
}

fn before(now: i64, duration: Duration) -> i64 {
    now.saturating_sub(millis(duration))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends at its first surprise")]

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tempfile::TempDir;
    use tower::ServiceExt as _;

    use super::*;

    const VISIBILITY: Duration = Duration::from_millis(60);
    /// Longer than any test takes, so that a receive that is not woken fails by its elapsed time.
    const LONG: Duration = Duration::from_secs(20);
    const URL: &str = "http://localhost:4100/000000000000/mail";

    fn open(directory: &TempDir) -> Sqs {
        let queue = |name: &str, dead_letter| QueueDeclaration {
            name: name.to_owned(),
            visibility_timeout: VISIBILITY,
            delay: Duration::ZERO,
            retention: Duration::from_secs(3600),
            dead_letter,
        };
        let dead_letter = DeadLetter { queue: "mail-dead".to_owned(), max_receive_count: 2 };
        let queues = vec![queue("mail", Some(dead_letter)), queue("mail-dead", None)];
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
    async fn messages_outlive_the_process() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        send(&sqs, "in flight").await;
        let before = receive_one(&sqs, "mail").await;
        drop(sqs);
        let sqs = open(&directory);
        let after = receive_one(&sqs, "mail").await;
        assert_eq!((after.message_id, after.body), (before.message_id, before.body));
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

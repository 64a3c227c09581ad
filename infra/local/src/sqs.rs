//! SQS of the local platform: standard queues. Product code calls them over the AWS JSON protocol (`aws-sdk-sqs`
//! with `AWS_ENDPOINT_URL_SQS`); the poller that emulates Lambda's event source mapping calls them in the
//! process. Both use the same methods of [`Sqs`].
//!
//! Invariants:
//!
//! - A message is acknowledged only after its transaction is committed. The SQLite file uses WAL with
//!   `synchronous = NORMAL`: a killed process loses no acknowledged message, and a power failure may lose the
//!   last few.
//! - A message is *visible* once `visible_at` has passed. Until then it is *in flight* if it has a receipt handle
//!   and *delayed* if it has none. The whole state of visibility is in the database.
//! - All receivers run in this process. A message that was in flight when the process died is visible as soon as
//!   the queues are opened again, and that receive does not count. A killed process is not the message's fault
//!   and must not move the message towards the dead-letter queue.
//! - A message has at most one valid receipt handle: that of its latest receive.
//! - Every change that may make a message visible earlier notifies the queue's `arrivals`. Waiting receives
//!   otherwise sleep until the next `visible_at` that they know of.
//! - All times are milliseconds since the epoch.
//! - Queues are fair: among the messages with a group, those whose group has the fewest messages in flight come
//!   first.
//!
//! Not implemented: pagination of `ListQueues`, the 60 seconds between two `PurgeQueue` calls, and message system
//! attributes on send. The fields for them are ignored.

mod api;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";
const ARN_PREFIX: &str = "arn:aws:sqs:us-east-1:000000000000:";

const MAX_VISIBILITY_SECONDS: u32 = 43_200;
const MAX_BATCH_ENTRIES: usize = 10;
/// Maximum size in bytes of a message, and of all messages of a batch together.
const MAX_BYTES: usize = 1_048_576;
/// Maximum size of a request. JSON escapes (up to 6 bytes for 1) and base64 make a request larger than its
/// messages.
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

/// Finds a database from before messages had groups.
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

/// Receives messages. A receipt handle begins with the message's id, which distinguishes a stale handle from the
/// handle of a deleted message.
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

/// Receives messages fairly if there are groups: the first message of each group comes before the second of any
/// group, and messages in flight count.
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

/// Moves messages to the dead-letter queue. As in SQS, a message keeps its id, its age and its receive count.
const DEAD_LETTER: &str = "
    update message set queue = ?4, dead_letter_source = ?1, visible_at = ?2, receipt_handle = null
    where queue = ?1 and visible_at <= ?2 and receive_count >= ?3";

/// Moves messages back to a queue. As in SQS, a redriven message is a new one, with a new id and a new age.
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

/// Makes the messages visible that were in flight when the last process ended: no receiver holds their handles.
const REVIVE: &str = "
    update message set
        visible_at = min(visible_at, ?1), receipt_handle = null, receive_count = receive_count - 1
    where receipt_handle is not null";

const DEPTH: &str = "
    select count(*) filter (where visible_at <= ?2),
        count(*) filter (where visible_at > ?2 and receipt_handle is not null),
        count(*) filter (where visible_at > ?2 and receipt_handle is null)
    from message where queue = ?1 and sent_at > ?3";

/// Declaration of a queue in the template.
#[derive(Clone, Debug)]
pub struct QueueDeclaration {
    pub name: String,
    pub visibility_timeout: Duration,
    pub delay: Duration,
    pub retention: Duration,
    pub dead_letter: Option<DeadLetter>,
}

/// Dead-letter queue of a queue. A message that has been received `max_receive_count` times moves there instead
/// of being delivered again.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub queue: String,
    pub max_receive_count: u32,
}

/// Number of messages of a queue in each state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

/// Delivery of a message with all its attributes. `message_attributes` are in the API's form.
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
    /// Any other refusal of SQS, with SQS's code.
    #[error("{message}")]
    Refused { code: &'static str, message: String },
    #[error("The queue database failed: {0}")]
    Storage(#[from] rusqlite::Error),
}

impl SqsError {
    fn invalid_parameter(message: String) -> Self {
        Self::Refused { code: "InvalidParameterValue", message }
    }

    /// Returns the code of the older query protocol, by which SDKs distinguish errors in the JSON protocol as
    /// well.
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
        // The shape's name is the code without its prefix, with this one exception.
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

/// Queues of one platform. Clones share them.
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
    /// Opens the queues with the messages that `path` already holds. The messages of a queue that is no longer
    /// declared stay in the file and are available when the queue is declared again. Every dead-letter queue must
    /// be declared too.
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
            // Otherwise only a receive removes old messages, and receives from a dead-letter queue are rare.
            sqs.transact(|connection| expire(connection, queue, now()))?;
        }
        Ok(sqs)
    }

    pub fn url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT}/{queue}", self.inner.base_url)
    }

    /// Receives up to `max` visible messages, and waits up to `wait` for the first of them. `max` may exceed 10,
    /// the limit of the HTTP API, because Lambda assembles larger batches.
    pub async fn receive(&self, queue: &str, max: u32, wait: Duration) -> Result<Vec<Received>, SqsError> {
        let queue = self.queue(queue)?;
        self.take_within(queue, max, wait, queue.declaration.visibility_timeout).await
    }

    /// Deletes a message. Succeeds for a message that no longer exists, so that a delete can be repeated.
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

    /// Ends a failed receive: the message is visible again after `delay`, and the receive counts. The receive of
    /// a message that is still in flight when the process dies does not count.
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

    /// Runs `work` in a transaction of the database, which is rolled back if `work` fails.
    fn transact<T>(&self, work: impl FnOnce(&Connection) -> Result<T, SqsError>) -> Result<T, SqsError> {
        // A panic also rolls its transaction back, so the connection in a poisoned lock is sound.
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
            // Created before the read, so that the notification includes arrivals during the read.
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

    /// Receives the messages that have been visible for longest, in no particular order, and puts them in flight.
    /// Also returns the time until the next message becomes visible.
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

impl Received {
    /// Returns the number of times that the message has been received, including this time.
    pub fn receive_count(&self) -> u32 {
        let count = self.attributes.get("ApproximateReceiveCount");
        count.and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// Returns the record of this message in the event that Lambda passes to a function.
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
    /// Returns the send time of the oldest messages that are still retained; messages sent up to then have
    /// expired.
    fn oldest_retained(&self, now: i64) -> i64 {
        now.saturating_sub(millis(self.declaration.retention))
    }
}

fn delete(connection: &Connection, queue: &Queue, receipt_handle: &str) -> Result<(), SqsError> {
    if let Some((id, _)) = held(connection, queue, receipt_handle)? {
        connection.prepare_cached("delete from message where id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// Returns the id of the message that a receipt handle is for, and the time at which the message is visible
/// again. Returns `None` if the message no longer exists. Refuses the handle of an earlier receive, or of a
/// message in another queue.
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

/// Deletes the messages whose retention period has passed.
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

/// Error for stored message attributes that [`insert`] did not write.
fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    let column = 3;
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn arn(queue: &str) -> String {
    format!("{ARN_PREFIX}{queue}")
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

#[cfg(test)]
mod tests;

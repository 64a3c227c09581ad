//! Operations of the SQS API and their requests.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use md5::{Digest, Md5};
use rusqlite::{Connection, params};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, json};

use super::{
    AmzJson, INSERT, MAX_BATCH_ENTRIES, MAX_BYTES, MAX_REQUEST_BYTES, MAX_VISIBILITY_SECONDS, Queue,
    QueueDeclaration, REDRIVE, Received, Sqs, SqsError, arn, delete, expire, hex, millis, now, unreadable,
};

impl Sqs {
    /// Returns the AWS JSON protocol, served at `/`.
    pub fn router(&self) -> Router {
        let limit = DefaultBodyLimit::max(MAX_REQUEST_BYTES);
        Router::new().route("/", post(serve)).layer(limit).with_state(self.clone())
    }

    /// Adds a message, which all receivers can see at once.
    pub fn send(&self, queue: &str, body: &str) -> Result<(), SqsError> {
        let message = OutgoingMessage { message_body: body.to_owned(), ..OutgoingMessage::default() };
        self.send_message((self.queue(queue)?, message)).map(drop)
    }
}

/// Operations, each from its request to the body of its response.
impl Sqs {
    pub(super) async fn dispatch(&self, operation: &str, request: &[u8]) -> Result<Value, SqsError> {
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

    /// Returns the queue that a request addresses, and the rest of the request. Only the last segment of the URL
    /// counts, because the platform may be reached under several host names.
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

    /// Moves the visible messages of a dead-letter queue at once. Without a destination, each message moves back
    /// to the queue that it came from. A message that was sent to the dead-letter queue directly came from no
    /// queue and stays.
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
        // No operation takes the handle: the task ends before its response.
        Ok(json!({ "TaskHandle": format!("{name}-{now}") }))
    }

    fn purge_queue(&self, (queue, _): (&Queue, IgnoredAny)) -> Result<Value, SqsError> {
        self.transact(|connection| {
            let mut purge = connection.prepare_cached("delete from message where queue = ?1")?;
            purge.execute([&queue.declaration.name])?;
            Ok(json!({}))
        })
    }

    /// Does the `work` of a batch entry by entry. A refusal of SQS fails only its entry. A failure of the
    /// database fails the whole batch and rolls it back.
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

/// Stores a message and returns the part of the response about it.
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
    /// Older name of `message_system_attribute_names`.
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

/// Message attributes, sorted by name, as their digest demands.
type MessageAttributes = BTreeMap<String, MessageAttribute>;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MessageAttribute {
    data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    /// Value in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
}

impl MessageAttribute {
    /// Returns the value, and the byte that stands for its kind in the digest. Returns `None` if the value is
    /// invalid.
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
    /// Returns the size that counts towards the limits. An attribute without a valid value counts as if its value
    /// were empty, because the message is refused anyway.
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
    /// Returns the message in the API's form, with the requested attributes. The digest covers the returned
    /// attributes, not all attributes that were sent.
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

/// Returns SQS's digest of message attributes; `None` if there are none. For each attribute, in the order of the
/// names, the digest covers the name, the data type, a byte for the kind of value, and the value. Each length is
/// four bytes, big-endian.
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

fn ranged(parameter: &str, value: i64, range: RangeInclusive<u32>) -> Result<u32, SqsError> {
    u32::try_from(value).ok().filter(|value| range.contains(value)).ok_or_else(|| {
        SqsError::invalid_parameter(format!("Value {value} for parameter {parameter} is not in {range:?}."))
    })
}

fn seconds(parameter: &str, value: i64, max: u32) -> Result<Duration, SqsError> {
    Ok(Duration::from_secs(ranged(parameter, value, 0..=max)?.into()))
}

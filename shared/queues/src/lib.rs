//! Access to SQS: messages as JSON, sent one by one or in batches of ten, and batches of received messages.

use aws::{Env, EnvError};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::{
    Client,
    error::DisplayErrorContext,
    operation::send_message::builders::SendMessageFluentBuilder,
    types::{SendMessageBatchRequestEntry, builders::SendMessageBatchRequestEntryBuilder},
};
use futures_util::{StreamExt as _, future::try_join_all, stream};
use serde::{Serialize, de::DeserializeOwned};

/// Maximum number of messages that SQS takes in one call.
const AT_ONCE: usize = 10;

/// Failure to send a message. The message may be in the queue all the same.
#[derive(Debug, thiserror::Error)]
#[error("SQS: {0}")]
pub struct QueueError(String);

fn failed(error: impl std::fmt::Display) -> QueueError {
    QueueError(error.to_string())
}

/// Message with the group that it belongs to, if any. A group with many messages does not delay other groups.
pub type Grouped<T> = (Option<String>, T);

/// Queue that messages are sent to. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// Builds the SQS client for all queues of a function.
///
/// # Errors
/// When the credentials are missing.
pub fn client(env: &Env) -> Result<Client, EnvError> {
    aws::client!(aws_sdk_sqs, env, "SQS")
}

impl Queue {
    pub fn new(client: &Client, url: &str) -> Self {
        Self { client: client.clone(), url: url.to_owned() }
    }

    fn message<T: Serialize>(&self, message: &T) -> Result<SendMessageFluentBuilder, QueueError> {
        let body = serde_json::to_string(message).map_err(failed)?;
        Ok(self.client.send_message().queue_url(&self.url).message_body(body))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When SQS does not confirm the message.
    pub async fn send<T: Serialize>(&self, message: &T) -> Result<(), QueueError> {
        self.send_in(0, message).await
    }

    /// Sends one message that can be received after a delay of `seconds`, at most 900.
    ///
    /// # Errors
    /// When SQS does not confirm the message.
    pub async fn send_in<T: Serialize>(&self, seconds: i32, message: &T) -> Result<(), QueueError> {
        let delay = (seconds > 0).then_some(seconds);
        let sent = self.message(message)?.set_delay_seconds(delay).send().await;
        sent.map(drop).map_err(|error| failed(DisplayErrorContext(error)))
    }

    /// Sends any number of messages, each with its group if it has one. With SQS fair queues, a group that keeps
    /// its receivers busy does not delay other groups.
    ///
    /// # Errors
    /// When SQS does not confirm all messages.
    pub async fn send_all<T: Serialize>(&self, messages: Vec<Grouped<T>>) -> Result<(), QueueError> {
        let entry = |(group, message)| {
            let body = serde_json::to_string::<T>(&message).map_err(failed)?;
            Ok(SendMessageBatchRequestEntry::builder().message_body(body).set_message_group_id(group))
        };
        let entries = messages.into_iter().map(entry).collect::<Result<Vec<_>, QueueError>>()?;
        try_join_all(entries.chunks(AT_ONCE).map(|entries| self.send_some(entries))).await.map(drop)
    }

    async fn send_some(&self, entries: &[SendMessageBatchRequestEntryBuilder]) -> Result<(), QueueError> {
        let numbered = entries.iter().enumerate().map(|(n, entry)| entry.clone().id(n.to_string()).build());
        let entries = numbered.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let batch = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let sent = batch.send().await.map_err(|error| failed(DisplayErrorContext(error)))?;
        match sent.failed.first() {
            None => Ok(()),
            Some(entry) => Err(failed(entry.message.as_deref().unwrap_or(&entry.code))),
        }
    }
}

/// Removes from a batch the messages that were received before without success, and returns them.
pub fn take_repeated(event: &mut SqsEvent) -> SqsEvent {
    let is_repeated = |message: &SqsMessage| {
        let count = message.attributes.get("ApproximateReceiveCount");
        count.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count > 1)
    };
    let mut repeated = SqsEvent::default();
    repeated.records = event.records.extract_if(.., |message| is_repeated(message)).collect();
    repeated
}

/// Processes the messages of a batch in their order, at most `at_a_time` concurrently. Reports each message that
/// can't be read or fails as a batch item failure, so that SQS delivers it again.
pub async fn work_off<T, E, F>(event: SqsEvent, at_a_time: usize, work: impl Fn(T) -> F) -> SqsBatchResponse
where
    T: DeserializeOwned,
    E: std::error::Error,
    F: Future<Output = Result<(), E>>,
{
    let tasks = event.records.into_iter().map(|message| {
        let task = serde_json::from_str(message.body.as_deref().unwrap_or_default());
        let done = task.map(&work);
        async {
            let error = match done {
                Ok(done) => done.await.err()?.to_string(),
                Err(error) => format!("the message can't be read: {error}"),
            };
            let id = message.message_id.unwrap_or_default();
            tracing::error!(cause = error, queue_message_id = id, "message not processed");
            Some(id)
        }
    });
    let mut failed = stream::iter(tasks).buffered(at_a_time);
    let mut response = SqsBatchResponse::default();
    while let Some(id) = failed.next().await {
        id.into_iter().for_each(|id| response.add_failure(id));
    }
    response
}

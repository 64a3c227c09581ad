//! Lambda's event source mapping of a queue.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::Notify, task::AbortHandle};

use super::{MAX_CONCURRENCY, next_messages};
use crate::{
    functions::Functions,
    sqs::{Received, Sqs},
};

/// Maximum delay before a failed message is retried.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Feeds the messages of a queue to one function.
#[derive(Clone)]
pub struct QueuePoller {
    pub sqs: Sqs,
    pub functions: Functions,
    pub function: String,
    pub queue: String,
    pub batch_size: u32,
    pub report_failures: bool,
    pub written: Arc<Notify>,
}

impl QueuePoller {
    /// Runs for ever, in as many tasks as the function may have concurrent invocations, at most 8.
    pub fn spawn(self, max_concurrency: u32) -> Vec<AbortHandle> {
        let task = |_| {
            let poller = self.clone();
            tokio::spawn(async move {
                loop {
                    let messages = next_messages(&poller.sqs, &poller.queue, poller.batch_size).await;
                    poller.deliver(messages).await;
                }
            })
            .abort_handle()
        };
        (0..max_concurrency.min(MAX_CONCURRENCY)).map(task).collect()
    }

    async fn deliver(&self, messages: Vec<Received>) {
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{}", self.queue);
        let records: Vec<_> =
            messages.iter().map(|message| message.clone().into_lambda_record(&arn)).collect();
        let answer = self.functions.invoke(&self.function, json!({ "Records": records })).await;
        self.written.notify_one();
        let ids: Vec<&str> = messages.iter().map(|message| &*message.message_id).collect();
        let failed = match answer {
            Ok(answer) if self.report_failures => failures(&answer, &ids),
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::error!(function = self.function, cause = error, "queue batch failed");
                ids
            }
        };
        for message in &messages {
            let settled = if failed.contains(&&*message.message_id) {
                // Lambda waits for the visibility timeout, which is minutes long; that is long during
                // development.
                let delay = Duration::from_millis(250 << message.receive_count().min(8)).min(MAX_RETRY_DELAY);
                self.sqs.give_back(&self.queue, &message.receipt_handle, delay)
            } else {
                self.sqs.delete(&self.queue, &message.receipt_handle)
            };
            if let Err(error) = settled {
                tracing::warn!(queue = self.queue, cause = %error, "message not settled; it is delivered again");
            }
        }
    }
}

/// Returns the ids of the messages that the function reported as failed.
fn failures<'m>(answer: &Value, ids: &[&'m str]) -> Vec<&'m str> {
    let entries = answer["batchItemFailures"].as_array().into_iter().flatten();
    let failed = entries.map(|entry| {
        let failed = entry["itemIdentifier"].as_str()?;
        ids.iter().copied().find(|id| *id == failed)
    });
    // An entry without a known id fails the whole batch.
    failed.collect::<Option<_>>().unwrap_or_else(|| ids.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_names_no_message_fails_them_all() {
        let failed = |entries: Value| failures(&json!({ "batchItemFailures": entries }), &["1", "2"]);
        assert_eq!(failed(json!([{ "itemIdentifier": "2" }])), ["2"]);
        for entry in
            [json!({ "itemIdentifier": "" }), json!({ "itemIdentifier": null }), json!({ "id": "2" })]
        {
            assert_eq!(failed(json!([{ "itemIdentifier": "2" }, entry])), ["1", "2"]);
        }
        for none in [json!([]), Value::Null] {
            assert!(failed(none).is_empty());
        }
        assert!(failures(&Value::Null, &["1"]).is_empty());
    }
}

//! Lambda's event source mapping of a queue.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{sync::Notify, task::AbortHandle};

use super::{MAX_CONCURRENCY, next_messages};
use crate::{
    functions::Functions,
    sqs::{Received, Sqs},
};

/// The longest pause before a message that failed comes again.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Feeds a queue to one function.
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
    /// Runs for ever, in as many tasks as the function may have invocations at once.
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
        let failed: Vec<String> = match answer {
            Ok(answer) if self.report_failures => answer["batchItemFailures"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|failure| failure["itemIdentifier"].as_str().map(str::to_owned))
                .collect(),
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::error!(function = self.function, cause = error, "queue batch failed");
                messages.iter().map(|message| message.message_id.clone()).collect()
            }
        };
        for message in &messages {
            let settled = if failed.contains(&message.message_id) {
                // Lambda waits for the visibility timeout; minutes are long at one's desk.
                let delay = Duration::from_millis(250 << message.receive_count().min(8)).min(MAX_RETRY_DELAY);
                self.sqs.give_back(&self.queue, &message.receipt_handle, delay)
            } else {
                self.sqs.delete(&self.queue, &message.receipt_handle)
            };
            if let Err(error) = settled {
                tracing::warn!(queue = self.queue, cause = %error, "message not settled; it comes again");
            }
        }
    }
}

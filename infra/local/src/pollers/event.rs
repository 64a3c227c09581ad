//! Lambda's asynchronous invocation. Events wait in a queue of the function. An event whose retries are exhausted
//! is recorded in the queue that the function declares for failures.
//!
//! An event is deleted from its queue after it was delivered or recorded. A process that is killed in between
//! delivers or records the event once more.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::AbortHandle};

use super::{MAX_CONCURRENCY, next_messages};
use crate::{
    functions::Functions,
    sqs::{Received, Sqs, SqsError},
    template::EventInvokeConfig,
};

/// Invokes one function with its events.
#[derive(Clone)]
pub struct EventPoller {
    pub sqs: Sqs,
    pub functions: Functions,
    pub function: String,
    pub queue: String,
    pub config: EventInvokeConfig,
    pub written: Arc<Notify>,
}

impl EventPoller {
    /// Runs for ever, in several tasks.
    pub fn spawn(self) -> Vec<AbortHandle> {
        let task = |_| {
            let poller = self.clone();
            tokio::spawn(async move {
                loop {
                    for message in next_messages(&poller.sqs, &poller.queue, 1).await {
                        poller.deliver(&message).await;
                    }
                }
            })
            .abort_handle()
        };
        (0..MAX_CONCURRENCY).map(task).collect()
    }

    async fn deliver(&self, message: &Received) {
        let event: Value =
            serde_json::from_str(&message.body).unwrap_or_else(|_| Value::from(&*message.body));
        let answer = self.functions.invoke(&self.function, event.clone()).await;
        self.written.notify_one();
        let settled = match answer {
            Ok(_) => self.sqs.delete(&self.queue, &message.receipt_handle),
            Err(reason) => self.failed(message, &event, &reason),
        };
        if let Err(error) = settled {
            tracing::warn!(queue = self.queue, cause = %error, "event not settled; it is delivered again");
        }
    }

    fn failed(&self, message: &Received, event: &Value, reason: &str) -> Result<(), SqsError> {
        let attempt = message.receive_count();
        if attempt <= self.config.max_retries {
            tracing::warn!(function = self.function, attempt, cause = reason, "event failed");
            // Lambda waits for one minute before the first retry and for two before the second, which is long
            // during development.
            let delay = Duration::from_secs(attempt.into());
            return self.sqs.give_back(&self.queue, &message.receipt_handle, delay);
        }
        tracing::error!(function = self.function, attempt, cause = reason, "event given up");
        if let Some(queue) = &self.config.on_failure {
            let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{}", self.function);
            let record = json!({
                "version": "1.0",
                "timestamp": format!("{:.3}", Timestamp::now()),
                "requestContext": {
                    "requestId": message.message_id,
                    "functionArn": arn,
                    "condition": "RetriesExhausted",
                    "approximateInvokeCount": attempt,
                },
                "requestPayload": event,
                "responseContext": {
                    "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled",
                },
                "responsePayload": { "errorMessage": reason },
            });
            self.sqs.send(queue, &record.to_string())?;
        }
        self.sqs.delete(&self.queue, &message.receipt_handle)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tempfile::TempDir;
    use tokio::sync::mpsc;

    use super::*;
    use crate::sqs::{Depth, QueueDeclaration};

    /// Longer than any test takes, so that no message in flight returns by its visibility timeout.
    const HOUR: Duration = Duration::from_secs(3600);
    /// Time-out of the tests' waits.
    const LONG: Duration = Duration::from_secs(20);
    const EMPTY: Depth = Depth { visible: 0, in_flight: 0, delayed: 0 };

    fn open(directory: &TempDir) -> Sqs {
        let queues = ["Import.events", "failures"].map(|name| QueueDeclaration {
            name: name.to_owned(),
            visibility_timeout: HOUR,
            delay: Duration::ZERO,
            retention: HOUR,
            dead_letter: None,
        });
        Sqs::open(&directory.path().join("queues.db"), "http://127.0.0.1:1", queues.into()).unwrap()
    }

    /// Starts the poller, which stops when the returned value is dropped.
    fn poll(sqs: &Sqs, functions: &Functions, max_retries: u32) -> Dying {
        let poller = EventPoller {
            sqs: sqs.clone(),
            functions: functions.clone(),
            function: "Import".to_owned(),
            queue: "Import.events".to_owned(),
            config: EventInvokeConfig { max_retries, on_failure: Some("failures".to_owned()) },
            written: Arc::default(),
        };
        Dying(poller.spawn())
    }

    struct Dying(Vec<AbortHandle>);

    impl Drop for Dying {
        fn drop(&mut self) {
            self.0.iter().for_each(AbortHandle::abort);
        }
    }

    #[tokio::test]
    async fn an_event_survives_a_crash_and_is_recorded_when_its_attempts_are_used_up() {
        let directory = TempDir::new().unwrap();
        let event = json!({ "detail": { "object": { "key": "a b+c" } } });
        let (began, mut begun) = mpsc::unbounded_channel();
        let hanging = Functions::of(
            "Import",
            None,
            Box::new(move |event| {
                began.send(event).unwrap();
                Box::pin(std::future::pending())
            }),
        );
        let sqs = open(&directory);
        sqs.send("Import.events", &event.to_string()).unwrap();
        // More crashes than the event has attempts.
        for _ in 0..3 {
            let sqs = open(&directory);
            let _running = poll(&sqs, &hanging, 1);
            let delivered = tokio::time::timeout(LONG, begun.recv()).await;
            assert_eq!(delivered.expect("it is delivered").unwrap(), event);
        }

        let sqs = open(&directory);
        let attempts = Arc::new(AtomicU32::new(0));
        let count = attempts.clone();
        let failing = Functions::of(
            "Import",
            None,
            Box::new(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                Box::pin(async { Err("no such waitlist".to_owned()) })
            }),
        );
        let _running = poll(&sqs, &failing, 1);
        let mut recorded = sqs.receive("failures", 10, LONG).await.unwrap();
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
        let record: Value = serde_json::from_str(&recorded.remove(0).body).unwrap();
        assert_eq!(record["requestPayload"], event);
        assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
        assert_eq!(record["requestContext"]["approximateInvokeCount"], 2);
        assert_eq!(record["responsePayload"]["errorMessage"], "no such waitlist");
        assert_eq!(recorded.len(), 0);
        while sqs.depth("Import.events").unwrap() != EMPTY {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn no_more_events_are_worked_on_at_once_than_the_function_reserves() {
        let directory = TempDir::new().unwrap();
        let sqs = open(&directory);
        let running = Arc::new(AtomicU32::new(0));
        let (most, mut done) = mpsc::unbounded_channel();
        let function = Functions::of(
            "Import",
            Some(2),
            Box::new(move |_| {
                let (running, most) = (running.clone(), most.clone());
                Box::pin(async move {
                    let at_once = running.fetch_add(1, Ordering::Relaxed) + 1;
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    running.fetch_sub(1, Ordering::Relaxed);
                    most.send(at_once).unwrap();
                    Ok(Value::Null)
                })
            }),
        );
        for number in 0..8 {
            sqs.send("Import.events", &json!({ "number": number }).to_string()).unwrap();
        }
        let _running = poll(&sqs, &function, 0);
        let mut seen = Vec::new();
        done.recv_many(&mut seen, 8).await;
        while seen.len() < 8 {
            done.recv_many(&mut seen, 8).await;
        }
        assert_eq!(seen.into_iter().max(), Some(2));
    }
}

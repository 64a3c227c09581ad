//! Webhook sender: delivers events to webhook endpoints.
//!
//! **Retries.** The queue holds the messages for endpoints. After each attempt, the worker writes the delivery with
//! its attempts to the table. A failed delivery is due again at the time of its next attempt; once a minute, the
//! schedule queues the deliveries that are due. A queue message that arrives twice causes no second attempt if the
//! first one is recorded. If the worker was lost before it recorded the attempt, the message is delivered again, with
//! the same id.
//!
//! **Slow endpoints.** A slow endpoint delays only itself and other slow endpoints. A worker of the main queue waits
//! for an answer for 1 second. Then the worker closes the connection and moves the delivery to a second queue, whose
//! workers wait for 15 seconds. Further deliveries to that endpoint go to the second queue directly.
//!
//! **Lost workers.** A queue message that arrives again and has no recorded attempt was lost with its worker. Its
//! endpoint then counts as slow. In the second queue, such deliveries are made one by one, after the others of their
//! batch.
//!
//! Access patterns: `delivery.target`, `delivery.note`, `delivery.due`, `delivery.queued`, `webhook.slow`.

mod caller;

use std::time::{Duration, Instant};

use api::{
    StartError,
    metrics::{self, Unit},
};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use domain::secret;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use queues::{Grouped, Queue, QueueError};
use serde::Deserialize;
use table::{LIST_SHARDS, Table, TableError};
use webhooks::tasks::WebhookTask;
use webhooks::webhook::{Attempt, Delivery, DeliveryStatus, DisabledReason, is_given_up};
use webhooks::{Target, id::DeliveryId};

use crate::caller::{Called, Caller};

/// Maximum number of deliveries of a batch that are made concurrently, and of due deliveries that are read from a
/// shard at once.
const AT_ONCE: usize = 100;
/// Time after which a delivery that was queued again and not made is queued once more.
const QUEUED_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// Maximum time for an answer of an endpoint.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time after which an answer counts as slow. Only workers of the second queue wait longer.
const SLOW: Duration = Duration::from_secs(1);
/// Time for which an endpoint counts as slow after a slow answer.
const SLOW_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Minimum time for which an endpoint counts as slow. After this time, a quick answer ends the slow state.
const SLOW_AT_LEAST: SignedDuration = SignedDuration::from_mins(10);
/// Time after the arrival of a batch within which deliveries that were lost with a worker are started. Lambda ends a
/// worker after 60 seconds, and a delivery may take 15 seconds.
const BEGUN_WITHIN: Duration = Duration::from_secs(40);
/// Time after which a run over due deliveries reads no further ones. The next run handles the rest.
const LOOK_WITHIN: Duration = Duration::from_secs(40);

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error(transparent)]
    Store(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("a task for slow endpoints holds another one")]
    Nested,
    #[error("no time left for it in this batch")]
    Late,
}

/// Event that invokes the function.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Invocation {
    Scheduled(Schedule),
    Queued(SqsEvent),
}

/// Input of the schedule.
#[derive(Deserialize)]
#[serde(tag = "schedule", rename_all = "snake_case")]
pub enum Schedule {
    Deliveries,
}

/// Result of making a delivery.
enum Made {
    /// The attempt is recorded.
    Noted,
    /// The endpoint is too slow for the main queue.
    TooSlow,
    /// The endpoint has changed meanwhile: nothing was recorded.
    Changed,
}

pub struct WebhookSender {
    table: Table,
    queue: Queue,
    slow: Queue,
    caller: Caller,
}

impl WebhookSender {
    /// Creates the worker from its environment.
    ///
    /// # Errors
    /// When an environment variable is missing or invalid.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        let sqs = queues::client(env)?;
        Ok(Self {
            table: Table::from_env(env)?,
            queue: Queue::new(&sqs, env.require("WEBHOOKS_QUEUE_URL")?),
            slow: Queue::new(&sqs, env.require("SLOW_WEBHOOKS_QUEUE_URL")?),
            caller: Caller::new(env.parse("WEBHOOK_NETWORKS")?),
        })
    }

    /// Makes the deliveries of a batch, or queues the deliveries that are due. Failed queue messages are reported, so
    /// that SQS delivers them again.
    ///
    /// # Errors
    /// When due deliveries can't be queued.
    pub async fn handle(&self, invocation: Invocation) -> Result<SqsBatchResponse, WebhookError> {
        self.handle_at(invocation, Timestamp::now()).await
    }

    /// Does the same as [`Self::handle`] at a given time.
    ///
    /// # Errors
    /// When due deliveries can't be queued.
    pub async fn handle_at(
        &self,
        invocation: Invocation,
        now: Timestamp,
    ) -> Result<SqsBatchResponse, WebhookError> {
        match invocation {
            Invocation::Scheduled(Schedule::Deliveries) => {
                self.look(now).await?;
                Ok(SqsBatchResponse::default())
            }
            Invocation::Queued(mut event) => {
                let until = Instant::now() + BEGUN_WITHIN;
                let mut repeated = queues::take_repeated(&mut event);
                // One of these deliveries may end this worker, too. Starting at a random one gives each of them a
                // chance.
                if !repeated.records.is_empty() {
                    let [dice] = secret::random();
                    let first = usize::from(dice) % repeated.records.len();
                    repeated.records.rotate_left(first);
                }
                let mut response = queues::work_off(event, AT_ONCE, |task| self.make(task, false, now)).await;
                let again = async |task| match Instant::now() < until {
                    true => self.make(task, true, now).await,
                    false => Err(WebhookError::Late),
                };
                let again = queues::work_off(repeated, 1, again).await;
                response.batch_item_failures.extend(again.batch_item_failures);
                Ok(response)
            }
        }
    }

    /// Makes a delivery, unless its attempt is recorded already or its endpoint is deleted. Moves a delivery to a
    /// slow endpoint to the second queue. A `repeated` task was started before, by a worker that was lost.
    async fn make(&self, task: WebhookTask, repeated: bool, now: Timestamp) -> Result<(), WebhookError> {
        let (task, among_slow) = match task {
            WebhookTask::Slow { task } => (*task, true),
            task => (task, false),
        };
        let (account, id) = match &task {
            WebhookTask::Tell { account_id, endpoint_id, message } => {
                (account_id, DeliveryId::of(endpoint_id, &message.id))
            }
            WebhookTask::Deliver { account_id, delivery_id, .. } => (account_id, delivery_id.clone()),
            WebhookTask::Slow { .. } => return Err(WebhookError::Nested),
        };
        let Some(target) = webhooks::target(&self.table, account, &id).await? else {
            return Ok(webhooks::forget(&self.table, &id).await?);
        };
        let delivery = match (&task, &target.delivery) {
            (WebhookTask::Tell { account_id, endpoint_id, message }, None) => {
                Delivery::new(endpoint_id, account_id.clone(), message.clone(), now)
            }
            (WebhookTask::Deliver { tried, .. }, Some(delivery))
                if delivery.tried == *tried && delivery.status == DeliveryStatus::Pending =>
            {
                delivery.clone()
            }
            // The attempt was recorded before. Further attempts have tasks of their own.
            _ => return Ok(()),
        };
        let mut is_slow = target.slow_until.is_some_and(|until| now < until);
        if repeated && !is_slow {
            tracing::warn!(endpoint_id = %target.endpoint.id, "worker lost while it called a webhook endpoint");
            self.note_slow(&target, Some(now + SLOW_FOR)).await;
            is_slow = true;
        }
        let made = match is_slow && !among_slow {
            true => Made::TooSlow,
            false => self.attempt(&target, &delivery, among_slow, now).await?,
        };
        let (queue, task) = match made {
            Made::Noted => return Ok(()),
            Made::TooSlow => (&self.slow, WebhookTask::Slow { task: Box::new(task) }),
            Made::Changed => (&self.queue, task),
        };
        Ok(queue.send_all(vec![(Some(target.endpoint.id.to_string()), task)]).await?)
    }

    async fn attempt(
        &self,
        target: &Target,
        delivery: &Delivery,
        among_slow: bool,
        now: Timestamp,
    ) -> Result<Made, WebhookError> {
        let Target { endpoint, failing_since, .. } = target;
        let enabled = endpoint.is_enabled();
        let (attempt, retry_after) = if enabled {
            let patience = if among_slow { PATIENCE } else { SLOW };
            let called = self.caller.call(endpoint, &delivery.message, patience, now).await;
            self.note_pace(target, &called, among_slow, now).await;
            if !called.in_time && !among_slow {
                return Ok(Made::TooSlow);
            }
            (called.attempt, called.retry_after)
        } else {
            (Attempt::refused("the endpoint is disabled", now), None)
        };
        let disabled = match failing_since {
            _ if !enabled || attempt.was_taken() => None,
            _ if attempt.is_gone() => Some(DisabledReason::Gone),
            Some(since) if is_given_up(*since, now) => Some(DisabledReason::Failing),
            _ => None,
        };
        let measured = [
            ("Attempts", Unit::Count, f64::from(u8::from(enabled))),
            ("Taken", Unit::Count, f64::from(u8::from(attempt.was_taken()))),
            ("Disabled", Unit::Count, f64::from(u8::from(disabled.is_some()))),
        ];
        metrics::record(&measured, &[]);
        let given_up = !enabled || disabled.is_some();
        let [dice] = secret::random();
        let after = delivery.attempted(attempt, given_up, retry_after, dice, now);
        let noted = webhooks::note(&self.table, target, &after, disabled, now).await?;
        Ok(if noted { Made::Noted } else { Made::Changed })
    }

    /// Records that an endpoint is slow, or quick again.
    async fn note_pace(&self, target: &Target, called: &Called, among_slow: bool, now: Timestamp) {
        let is_new = |until: Timestamp| until > now + SLOW_FOR - SLOW_AT_LEAST;
        let took = Duration::from_millis(called.attempt.duration_ms);
        let until = match target.slow_until {
            Some(until) if is_new(until) => return,
            _ if !called.in_time || took >= SLOW => Some(now + SLOW_FOR),
            Some(_) if among_slow => None,
            _ => return,
        };
        self.note_slow(target, until).await;
    }

    async fn note_slow(&self, target: &Target, until: Option<Timestamp>) {
        if let Err(error) = webhooks::note_slow(&self.table, &target.endpoint.id, until).await {
            // Another worker is writing the same, or the next delivery will write it.
            tracing::debug!(cause = %error, "pace of a webhook endpoint not recorded");
        }
    }

    /// Queues the deliveries that are due.
    async fn look(&self, now: Timestamp) -> Result<(), WebhookError> {
        let began = Instant::now();
        let looks = (0..LIST_SHARDS).map(|shard| self.look_at_shard(shard, now, began));
        join_all(looks).await.into_iter().collect()
    }

    async fn look_at_shard(&self, shard: u8, now: Timestamp, began: Instant) -> Result<(), WebhookError> {
        loop {
            let due = webhooks::due(&self.table, shard, now, AT_ONCE).await?;
            let found = due.len();
            let moved = join_all(due.into_iter().map(|delivery| self.move_on(delivery, now))).await;
            let (moved, failed): (Vec<_>, Vec<_>) = moved.into_iter().partition(Result::is_ok);
            // Deliveries that are marked as queued are queued before errors are returned: otherwise they would wait
            // for [`QUEUED_WITHIN`].
            self.queue.send_all(moved.into_iter().flatten().flatten().collect()).await?;
            failed.into_iter().collect::<Result<Vec<_>, _>>()?;
            if found < AT_ONCE || began.elapsed() > LOOK_WITHIN {
                return Ok(());
            }
        }
    }

    /// Marks a delivery as queued and returns its task, grouped by endpoint; `None` if the delivery has changed
    /// meanwhile.
    async fn move_on(
        &self,
        delivery: Delivery,
        now: Timestamp,
    ) -> Result<Option<Grouped<WebhookTask>>, TableError> {
        let after = delivery.queued(now + QUEUED_WITHIN, now);
        if !webhooks::queued(&self.table, &after).await? {
            return Ok(None);
        }
        let Delivery { account_id, id: delivery_id, tried, .. } = after;
        Ok(Some(WebhookTask::deliver(account_id, delivery_id, tried)))
    }
}

//! Tells webhook endpoints what happened.
//!
//! The queue brings what an endpoint is to be told; what is not taken is noted with the time of its next attempt, and
//! queued again by a look once a minute. A delivery that was noted is not made again by a message that comes twice;
//! one that was made and not noted, because its worker was lost, is, with the same id.
//!
//! A slow endpoint holds up nobody but itself and others that are slow: a worker waits for an answer for a second, and
//! then hangs up and hands the delivery on to workers that wait for fifteen; what else is for that endpoint goes there
//! at once. A delivery that comes again without its attempt noted was lost with its worker: its endpoint counts as slow,
//! and among the slow such deliveries are made one by one, after the others of their batch.
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

/// Deliveries of a batch that are made at the same time, and those of each shard that are looked at in one go.
const AT_ONCE: usize = 100;
/// A delivery that was queued again so long ago, and not made, is queued once more.
const QUEUED_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// How long an endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// An answer that takes longer is slow: only workers for slow endpoints wait on.
const SLOW: Duration = Duration::from_secs(1);
/// An endpoint counts as slow for so long after an answer that was, or until a quick one, from ten minutes on.
const SLOW_FOR: SignedDuration = SignedDuration::from_hours(24);
const SLOW_AT_LEAST: SignedDuration = SignedDuration::from_mins(10);
/// Among deliveries that were lost with their worker, none is begun so long after its batch came: Lambda ends a worker
/// after sixty seconds, and each may take fifteen.
const BEGUN_WITHIN: Duration = Duration::from_secs(40);
/// How long a look may go on; what is left is looked at by the next one.
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

/// What the function is invoked with.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Invocation {
    Scheduled(Schedule),
    Queued(SqsEvent),
}

/// The input of a schedule.
#[derive(Deserialize)]
#[serde(tag = "schedule", rename_all = "snake_case")]
pub enum Schedule {
    Deliveries,
}

/// What came of a delivery.
enum Made {
    Noted,
    /// The endpoint keeps a worker waiting for whom others wait.
    TooSlow,
    /// The endpoint is another by now: nothing was noted.
    Changed,
}

pub struct WebhookSender {
    table: Table,
    queue: Queue,
    slow: Queue,
    caller: Caller,
}

impl WebhookSender {
    /// # Errors
    /// When a variable is missing, or unfit.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        let sqs = queues::client(env)?;
        Ok(Self {
            table: Table::from_env(env)?,
            queue: Queue::new(&sqs, env.require("WEBHOOKS_QUEUE_URL")?),
            slow: Queue::new(&sqs, env.require("SLOW_WEBHOOKS_QUEUE_URL")?),
            caller: Caller::new(env.parse("WEBHOOK_NETWORKS")?),
        })
    }

    /// Makes the deliveries of a batch, of which what failed is reported and comes again; or queues what is due.
    ///
    /// # Errors
    /// When what is due can't be looked after.
    pub async fn handle(&self, invocation: Invocation) -> Result<SqsBatchResponse, WebhookError> {
        self.handle_at(invocation, Timestamp::now()).await
    }

    /// The same as of some time.
    ///
    /// # Errors
    /// When what is due can't be looked after.
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
                // One of them may end this worker as well: the others have their turn before it now and then.
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

    /// Makes a delivery, unless that was done, or the endpoint is gone; one to a slow endpoint where it holds up nobody.
    /// A `repeated` task was begun before, by a worker that was lost.
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
            // It was noted before: what is left to do, others do.
            _ => return Ok(()),
        };
        let mut is_slow = target.slow_until.is_some_and(|until| now < until);
        if repeated && !is_slow {
            tracing::warn!(endpoint_id = %target.endpoint.id, "a worker was lost while it told an endpoint");
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

    /// Notes that an endpoint is slow to answer, or quick again.
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
            // Another is noting the same; otherwise the next one does.
            tracing::debug!(cause = %error, "the pace of an endpoint not noted");
        }
    }

    /// Queues what is due.
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
            // First those that were noted as queued: whoever is not queued now waits for a quarter of an hour.
            self.queue.send_all(moved.into_iter().flatten().flatten().collect()).await?;
            failed.into_iter().collect::<Result<Vec<_>, _>>()?;
            if found < AT_ONCE || began.elapsed() > LOOK_WITHIN {
                return Ok(());
            }
        }
    }

    /// Notes that a delivery is queued, and gives the task by whom it is for; `None` when something has become of it
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

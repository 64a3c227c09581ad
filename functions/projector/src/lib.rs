//! The projector: everything that follows from a write.
//!
//! It reads the table's stream and keeps positions, counters, rewards, the
//! event log and the roll-ups of analytics, counts votes, clicks, claims of codes and stamps, gives referral credits,
//! and hands mails, jobs and what webhook endpoints are to be told to their queues. Every effect is conditional on not having happened (see
//! [`store::projection`], [`store::code_projection`], [`store::stamp_projection`],
//! [`store::campaign_projection`], [`store::feature_projection`] and [`store::referrals::credit`]), so
//! that batches may be repeated, split, reordered between shards, or cut off in the middle.
//!
//! Access patterns: `projection.*`, `referral.credit`, `referral.by-referrer`, `pool.stats`, `pool.read`,
//! `program.read`, `campaign.read`, `feature.read`, `feature.tally`, `code.origin`, `waitlist.read`, `webhook.endpoints`.

mod batch;
mod records;

use api::{
    StartError,
    metrics::{self, Unit},
};
use aws_lambda_events::event::{
    dynamodb,
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use domain::id::AccountId;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use queues::{CampaignTask, Grouped, MessageTask, Queue, QueueError, WebhookTask};
use store::{
    CommitError, StoreError, Table, campaign_projection, code_projection,
    entities::{Event, JobKind},
    feature_projection,
    projection::{self, Change, MailRequest},
    referrals, stamp_projection, webhooks,
};

use crate::{
    batch::{Batch, Lane},
    records::Record,
};

/// Lanes of a batch that are worked on at the same time.
const LANES_AT_ONCE: usize = 32;
/// Subscribers whose changes are counted in one transaction, as a rule: each takes
/// about four of its hundred writes.
const CHANGES_AT_ONCE: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum ProjectorError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("a record can't be read: {0}")]
    Record(String),
}

pub struct Projector {
    table: Table,
    messages: Queue,
    jobs: Queue,
    campaign_tasks: Queue,
    campaign_messages: Queue,
    webhooks: Queue,
}

impl Projector {
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        let sqs = queues::client(env)?;
        let queue = |variable| Ok::<_, StartError>(Queue::new(&sqs, env.require(variable)?));
        Ok(Self {
            table: Table::from_env(env)?,
            messages: queue("MESSAGES_QUEUE_URL")?,
            jobs: queue("JOBS_QUEUE_URL")?,
            campaign_tasks: queue("CAMPAIGN_TASKS_QUEUE_URL")?,
            campaign_messages: queue("CAMPAIGN_MESSAGES_QUEUE_URL")?,
            webhooks: queue("WEBHOOKS_QUEUE_URL")?,
        })
    }

    /// Counts a batch. When something fails, the batch is repeated from its first
    /// record: what was counted already changes nothing. A record that can't be
    /// read is reported itself, so that the next batch begins with it. One that stands
    /// at the beginning fails the invocation: only then does Lambda halve the batch,
    /// until the record is alone and given up without the others.
    ///
    /// # Errors
    /// When the table or a queue is out of reach, or the first record can't be read.
    pub async fn handle(&self, event: dynamodb::Event) -> Result<DynamoDbEventResponse, ProjectorError> {
        let mut batch = Batch::default();
        let mut unreadable = None;
        let records = event.records.len() as f64;
        // The stream gives the time of a write in whole seconds.
        let written = event
            .records
            .iter()
            .map(|record| record.change.approximate_creation_date_time.timestamp_millis());
        let oldest = written.min().unwrap_or_default();
        for (place, record) in event.records.into_iter().enumerate() {
            let sequence_number = record.change.sequence_number.clone();
            match Record::read(record) {
                Ok(record) => batch.add(record),
                Err(error) => {
                    tracing::error!(cause = %error, "unreadable stream record");
                    if place == 0 && records > 1.0 {
                        return Err(error);
                    }
                    unreadable = Some(sequence_number);
                    break;
                }
            }
        }
        self.work(batch).await.inspect_err(|error| {
            tracing::error!(cause = %error, "batch failed");
        })?;
        let lag = (Timestamp::now().as_millisecond() - oldest) as f64;
        metrics::record(&[("Lag", Unit::Milliseconds, lag), ("Records", Unit::Count, records)], &[]);
        let mut response = DynamoDbEventResponse::default();
        if let Some(sequence_number) = unreadable {
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = sequence_number;
            response.batch_item_failures.push(failure);
        }
        Ok(response)
    }

    /// Counts the lanes of a batch at the same time: accounts don't wait for each other. What fails keeps nothing else
    /// from being counted; then the first error is returned.
    async fn work(&self, batch: Batch) -> Result<(), ProjectorError> {
        let now = Timestamp::now();
        let Batch { lanes, events, jobs } = batch;
        let mut work = vec![self.pass_on(jobs).boxed()];
        for (_, lane) in &lanes {
            work.push(self.count_lane(lane, now).boxed());
        }
        for (account, events) in &events {
            work.push(self.tell(account, events).boxed());
        }
        let outcomes: Vec<_> = stream::iter(work).buffer_unordered(LANES_AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }

    /// Counts what follows from changes that may count in the same items, one after the other.
    async fn count_lane(&self, lane: &Lane, now: Timestamp) -> Result<(), ProjectorError> {
        for (referrer, referrals) in &lane.credits {
            referrals::credit(&self.table, referrer, referrals, now).await?;
        }
        for (_, changes) in &lane.changes {
            for chunk in changes.chunks(CHANGES_AT_ONCE) {
                self.count(chunk, now).await?;
            }
        }
        for (waitlist, clicks) in &lane.clicks {
            referrals::count_clicks(&self.table, waitlist, clicks).await?;
        }
        for (pool, changes) in &lane.codes {
            code_projection::count(&self.table, pool, changes).await?;
            let redemptions = code_projection::redemptions(&self.table, changes).await?;
            campaign_projection::count_redeemed(&self.table, &redemptions).await?;
        }
        for (program, changes) in &lane.stamps {
            let Some(plan) = stamp_projection::plan(&self.table, program, changes).await? else { continue };
            let milestone = |stamp_projection::Milestone { customer_id, visits }| {
                (None, CampaignTask::Milestone { program_id: program.clone(), customer_id, visits })
            };
            self.campaign_tasks.send_all(plan.milestones().map(milestone).collect()).await?;
            plan.note(&self.table).await?;
        }
        for (campaign, changes) in &lane.sends {
            campaign_projection::count(&self.table, campaign, changes).await?;
        }
        for (feature, changes) in &lane.features {
            feature_projection::count(&self.table, feature, changes).await?;
        }
        Ok(())
    }

    /// Asks whoever they are for to do these jobs.
    async fn pass_on(&self, jobs: Vec<JobKind>) -> Result<(), ProjectorError> {
        let (mut messages, mut campaign_tasks, mut campaign_messages) = (Vec::new(), Vec::new(), Vec::new());
        let (mut webhooks, mut others) = (Vec::new(), Vec::new());
        for job in jobs {
            match job {
                JobKind::StartCampaign { campaign_id, run } => {
                    campaign_tasks.push((None, CampaignTask::StartCampaign { campaign_id, run }));
                }
                JobKind::SendMessage { send_id } => {
                    campaign_messages.push(MessageTask::of_campaign(send_id));
                }
                JobKind::Deliver { account_id, delivery_id, tried } => {
                    webhooks.push(WebhookTask::deliver(account_id, delivery_id, tried));
                }
                JobKind::TellOfEndpoint { account_id, endpoint_id, rev } => {
                    messages.push((None, MessageTask::TellOfEndpoint { account_id, endpoint_id, rev }));
                }
                job => others.push((None, job)),
            }
        }
        tokio::try_join!(
            self.messages.send_all(messages),
            self.campaign_tasks.send_all(campaign_tasks),
            self.campaign_messages.send_all(campaign_messages),
            self.webhooks.send_all(webhooks),
            self.jobs.send_all(others),
        )?;
        Ok(())
    }

    /// Has each of the account's endpoints told of what it wants to know.
    async fn tell(&self, account: &AccountId, events: &[Event]) -> Result<(), ProjectorError> {
        let endpoints = webhooks::endpoints(&self.table, account).await?;
        let told = events.iter().flat_map(|event| {
            endpoints
                .iter()
                .filter(|endpoint| endpoint.wants(event.kind))
                .map(move |endpoint| (endpoint, event))
        });
        let tasks = told.map(|(endpoint, event)| {
            WebhookTask::tell(account.clone(), endpoint.id.clone(), webhooks::message_of(event))
        });
        Ok(self.webhooks.send_all(tasks.collect()).await?)
    }

    /// Counts changes of one waitlist, in halves when they don't fit a transaction.
    async fn count(&self, changes: &[Change], now: Timestamp) -> Result<(), ProjectorError> {
        // Another projector may count the same records at the same time; each
        // failure means that one of us made progress.
        for attempt in 0..50 {
            let plan = projection::plan(&self.table, changes, now).await?;
            if plan.is_empty() {
                return Ok(());
            }
            if !plan.fits() && changes.len() > 1 {
                let (first, second) = changes.split_at(changes.len() / 2);
                Box::pin(self.count(first, now)).await?;
                return Box::pin(self.count(second, now)).await;
            }
            self.messages.send_all(plan.mails.iter().map(mail).collect()).await?;
            match plan.apply(&self.table).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Condition(_)) => tracing::debug!(attempt, "counted elsewhere meanwhile"),
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(ProjectorError::Record("its subscribers keep changing".to_owned()))
    }
}

fn mail(mail: &MailRequest) -> Grouped<MessageTask> {
    let subscriber_id = mail.subscriber_id.clone();
    let message_id = format!("{subscriber_id}:{}", mail.number);
    (None, MessageTask::SubscriberMail { subscriber_id, message_id })
}

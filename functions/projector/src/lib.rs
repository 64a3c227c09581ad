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

mod records;

use api::{
    StartError,
    metrics::{self, Unit},
};
use aws_lambda_events::event::{
    dynamodb,
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use domain::{
    id::{AccountId, CampaignId, CodePoolId, FeatureId, ProgramId, ReferralId, SubscriberId, WaitlistId},
    subscriber::ReferralStatus,
};
use jiff::Timestamp;
use queues::{CampaignTask, MessageTask, Queue, QueueError, WebhookTask};
use store::{
    CommitError, StoreError, Table, campaign_projection, code_projection,
    entities::{Click, Event, Job, JobKind},
    feature_projection,
    projection::{self, Change, MailRequest},
    referrals, stamp_projection, webhooks,
};

use crate::records::Record;

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

/// What a batch holds, in the order in which it came.
#[derive(Default)]
struct Batch {
    changes: Vec<(WaitlistId, Vec<Change>)>,
    credits: Vec<(SubscriberId, Vec<ReferralId>)>,
    jobs: Vec<Job>,
    clicks: Vec<(WaitlistId, Vec<Click>)>,
    codes: Vec<(CodePoolId, Vec<code_projection::Change>)>,
    stamps: Vec<(ProgramId, Vec<stamp_projection::Change>)>,
    sends: Vec<(CampaignId, Vec<campaign_projection::Change>)>,
    features: Vec<(FeatureId, Vec<feature_projection::Change>)>,
    events: Vec<(AccountId, Vec<Event>)>,
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

    async fn work(&self, batch: Batch) -> Result<(), ProjectorError> {
        let now = Timestamp::now();
        for (referrer, referrals) in &batch.credits {
            referrals::credit(&self.table, referrer, referrals, now).await?;
        }
        for (_, changes) in &batch.changes {
            for chunk in changes.chunks(CHANGES_AT_ONCE) {
                self.count(chunk, now).await?;
            }
        }
        for (waitlist, clicks) in &batch.clicks {
            referrals::count_clicks(&self.table, waitlist, clicks).await?;
        }
        for (pool, changes) in &batch.codes {
            code_projection::count(&self.table, pool, changes).await?;
            let redemptions = code_projection::redemptions(&self.table, changes).await?;
            campaign_projection::count_redeemed(&self.table, &redemptions).await?;
        }
        for (program, changes) in &batch.stamps {
            let Some(plan) = stamp_projection::plan(&self.table, program, changes).await? else { continue };
            for stamp_projection::Milestone { customer_id, visits } in plan.milestones() {
                let task = CampaignTask::Milestone { program_id: program.clone(), customer_id, visits };
                self.campaign_tasks.send(&task).await?;
            }
            plan.note(&self.table).await?;
        }
        for (campaign, changes) in &batch.sends {
            campaign_projection::count(&self.table, campaign, changes).await?;
        }
        for (feature, changes) in &batch.features {
            feature_projection::count(&self.table, feature, changes).await?;
        }
        for (account, events) in &batch.events {
            self.tell(account, events).await?;
        }
        for job in batch.jobs {
            self.pass_on(job.job).await?;
        }
        Ok(())
    }

    /// Asks whoever it is for to do a job.
    async fn pass_on(&self, job: JobKind) -> Result<(), ProjectorError> {
        let asked = match job {
            JobKind::StartCampaign { campaign_id, run } => {
                self.campaign_tasks.send(&CampaignTask::StartCampaign { campaign_id, run }).await
            }
            JobKind::SendMessage { send_id } => {
                self.campaign_messages.send_all(vec![MessageTask::of_campaign(send_id)]).await
            }
            JobKind::Deliver { account_id, delivery_id, tried } => {
                self.webhooks.send_all(vec![WebhookTask::deliver(account_id, delivery_id, tried)]).await
            }
            JobKind::TellOfEndpoint { account_id, endpoint_id, rev } => {
                self.messages.send(&MessageTask::TellOfEndpoint { account_id, endpoint_id, rev }).await
            }
            others => self.jobs.send(&others).await,
        };
        Ok(asked?)
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
            for mail in &plan.mails {
                self.mail(mail).await?;
            }
            match plan.apply(&self.table).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Condition(_)) => tracing::debug!(attempt, "counted elsewhere meanwhile"),
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(ProjectorError::Record("its subscribers keep changing".to_owned()))
    }

    async fn mail(&self, mail: &MailRequest) -> Result<(), ProjectorError> {
        let subscriber_id = mail.subscriber_id.clone();
        let message_id = format!("{subscriber_id}:{}", mail.number);
        Ok(self.messages.send(&MessageTask::SubscriberMail { subscriber_id, message_id }).await?)
    }
}

impl Batch {
    fn add(&mut self, record: Record) {
        match record {
            Record::Subscriber(change) => {
                push(&mut self.changes, change.waitlist_id().clone(), *change);
            }
            Record::Referral(referral) if referral.status == ReferralStatus::Confirmed => {
                push(&mut self.credits, referral.referrer_id.clone(), referral.id);
            }
            Record::Event(event) => push(&mut self.events, event.account_id.clone(), *event),
            Record::Job(job) => self.jobs.push(*job),
            Record::Click(click) => push(&mut self.clicks, click.waitlist_id.clone(), *click),
            Record::Code(change) => push(&mut self.codes, change.pool_id().clone(), change),
            Record::Feature(feature, change) => push(&mut self.features, feature, change),
            Record::Send(change) => push(&mut self.sends, change.campaign_id().clone(), change),
            Record::Stamp(change) => push(&mut self.stamps, change.program_id().clone(), change),
            Record::Referral(_) | Record::Other => {}
        }
    }
}

/// Adds to the group with this key, keeping the order within it.
fn push<K: PartialEq, V>(groups: &mut Vec<(K, Vec<V>)>, key: K, value: V) {
    match groups.iter_mut().find(|(other, _)| *other == key) {
        Some((_, values)) => values.push(value),
        None => groups.push((key, vec![value])),
    }
}

//! Campaign scheduler: creates the messages of campaigns, and queues waiting messages and mails when they are due.
//!
//! **Tasks.** Tasks come from a queue of their own. A task handles one page: it creates the messages of up to 100
//! customers, adds these messages to the senders' queue, and queues the task of the next page. So a campaign of any
//! size needs the same memory. Tasks are idempotent: a task that is delivered twice or interrupted creates no message
//! twice.
//!
//! **Schedule.** Once a minute, the scheduler handles everything that is due: deferred messages, messages whose
//! outcome is unknown, and triggers by inactivity and birthday. Starting a campaign checks its trigger immediately.
//! Mails to subscribers and to owners of accounts have records in the table; the scheduler queues the mails that are
//! due again.
//!
//! Access patterns: `message.due`, `message.note`, `rate.stopped`, `campaign.read`, `campaign.triggered`,
//! `campaign.looked`, `customer.list`, `customer.batch`, `program.read`, `send.create`, `send.list`, `send.read`,
//! `send.due`, `send.note`, `send.park`, `send.cap`, `send.give-back`.

mod audience;
mod due;
mod mails;

use std::num::NonZero;

use api::{
    StartError,
    metrics::{self, Unit},
};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use campaigns::tasks::{self, CampaignTask};
use domain::id::SendId;
use jiff::Timestamp;
use queues::{Queue, QueueError};
use serde::Deserialize;
use stamps::tasks::MilestoneReached;
use table::{Table, TableError};

#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    #[error(transparent)]
    Store(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] QueueError),
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
    Campaigns,
}

pub struct CampaignScheduler {
    table: Table,
    tasks: Queue,
    messages: Queue,
    mails: Queue,
    mails_per_second: NonZero<u32>,
}

impl CampaignScheduler {
    /// Creates the scheduler from its environment.
    ///
    /// # Errors
    /// When an environment variable is missing or invalid.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        let sqs = queues::client(env)?;
        Ok(Self {
            table: Table::from_env(env)?,
            tasks: Queue::new(&sqs, env.require("CAMPAIGN_TASKS_QUEUE_URL")?),
            messages: Queue::new(&sqs, env.require("CAMPAIGN_MESSAGES_QUEUE_URL")?),
            mails: Queue::new(&sqs, env.require("MESSAGES_QUEUE_URL")?),
            mails_per_second: env.parse("CAMPAIGN_MAILS_PER_SECOND")?,
        })
    }

    /// Processes a batch of tasks, or everything that is due. Failed tasks are reported, so that SQS delivers them
    /// again.
    ///
    /// # Errors
    /// When work that is due fails.
    pub async fn handle(&self, invocation: Invocation) -> Result<SqsBatchResponse, SchedulerError> {
        match invocation {
            Invocation::Scheduled(Schedule::Campaigns) => {
                self.look(Timestamp::now()).await?;
                Ok(SqsBatchResponse::default())
            }
            Invocation::Queued(event) => Ok(queues::work_off(event, 1, |task| self.work(task)).await),
        }
    }

    async fn work(&self, task: CampaignTask) -> Result<(), SchedulerError> {
        match task {
            CampaignTask::StartCampaign { campaign_id, run } => self.start(&campaign_id, run).await,
            CampaignTask::FanOut { campaign_id, run, shard, after, since, until } => {
                let page = audience::Page { run, shard, after, since, until };
                self.fan_out(&campaign_id, page).await
            }
            CampaignTask::Requeue { campaign_id, run, shard, after } => {
                self.requeue(&campaign_id, run, shard, after).await
            }
            CampaignTask::Milestone(MilestoneReached { program_id, customer_id, visits }) => {
                self.milestone(&program_id, &customer_id, visits).await
            }
        }
    }

    /// Queues a task for the scheduler itself.
    async fn ask(&self, task: &CampaignTask) -> Result<(), SchedulerError> {
        Ok(self.tasks.send(task).await?)
    }

    /// Adds messages to the senders' queue.
    async fn queue(&self, sends: &[SendId]) -> Result<(), SchedulerError> {
        metrics::record(&[("Queued", Unit::Count, sends.len() as f64)], &[]);
        let tasks = sends.iter().cloned().map(tasks::of_message);
        Ok(self.messages.send_all(tasks.collect()).await?)
    }
}

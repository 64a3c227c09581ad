//! Makes the messages of campaigns, and looks after those that wait.
//!
//! Work comes as tasks on a queue of its own, each a page: it makes the messages of a hundred customers, puts
//! them into the senders' queue, and asks for the next page. So a campaign of any size takes the same memory,
//! and a task that comes twice, or is cut off, makes no message twice. Once a minute, and when a campaign is
//! set going, it looks at what time has brought: quiet hours that are over, outcomes that nobody has told,
//! absences and birthdays. Mails that somebody waits for are kept in the table as well: those that are due are queued
//! again.
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
    /// # Errors
    /// When a variable is missing.
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

    /// Does the tasks of a batch, of which what failed is reported and comes again; or what is due.
    ///
    /// # Errors
    /// When what is due can't be looked after.
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

    /// Asks for a task.
    async fn ask(&self, task: &CampaignTask) -> Result<(), SchedulerError> {
        Ok(self.tasks.send(task).await?)
    }

    /// Puts messages into the senders' queue.
    async fn queue(&self, sends: &[SendId]) -> Result<(), SchedulerError> {
        metrics::record(&[("Queued", Unit::Count, sends.len() as f64)], &[]);
        let tasks = sends.iter().cloned().map(tasks::of_message);
        Ok(self.messages.send_all(tasks.collect()).await?)
    }
}

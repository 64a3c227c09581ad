//! Jobs of the campaigns family: deletion of campaigns, and work for the campaign scheduler and the message sender.

use domain::id::CampaignId;
use jiff::{Timestamp, ToSpan};
use projection::job::{self, JobError, Jobs, Runner, Work, Worker, Workshop, pause};
use queues::Grouped;
use serde_json::Value;

use crate::{
    entities::Task,
    store,
    tasks::{self, CampaignTask},
};

pub const JOBS: &[Jobs] = &[
    Jobs { kinds: &["delete_campaign"], by: Worker::Jobs },
    Jobs { kinds: &["start_campaign"], by: Worker::Other { queue: tasks::QUEUE, message } },
    Jobs { kinds: &["send_message"], by: Worker::Other { queue: tasks::MESSAGES, message } },
];

pub const RUNNERS: &[Runner] = &[Runner { kinds: &["delete_campaign"], run: job::run::<Task> }];

fn message(task: projection::job::Task) -> Result<Grouped<Value>, serde_json::Error> {
    match task.read()? {
        Task::StartCampaign { campaign_id, run } => {
            Ok((None, serde_json::to_value(CampaignTask::StartCampaign { campaign_id, run })?))
        }
        Task::SendMessage { send_id } => {
            let (group, message) = tasks::of_message(send_id);
            Ok((group, serde_json::to_value(message)?))
        }
        Task::DeleteCampaign { .. } => unreachable!("the jobs function does it"),
    }
}

impl Work for Task {
    async fn work(self, workshop: &Workshop) -> Result<(), JobError> {
        match self {
            Task::DeleteCampaign { campaign_id } => delete_campaign(workshop, &campaign_id).await,
            other => Err(JobError::Misrouted(format!("{other:?}"))),
        }
    }
}

/// Number of messages of each shard that one run removes, before other jobs can run.
const PURGED_AT_ONCE: usize = 500;
/// Seconds to wait after a campaign was marked as being deleted. No task that began before the mark takes longer.
const STRAGGLERS: i32 = 90;

async fn delete_campaign(workshop: &Workshop, id: &CampaignId) -> Result<(), JobError> {
    let Some(campaign) = store::find(&workshop.table, id).await? else { return Ok(()) };
    if !campaign.deleting {
        return Ok(());
    }
    let again = Task::DeleteCampaign { campaign_id: id.clone() };
    let removed = store::purge_some(&workshop.table, id, PURGED_AT_ONCE).await?;
    if removed > 0 {
        return workshop.again(&again, pause(removed, PURGED_AT_ONCE, STRAGGLERS)).await;
    }
    if Timestamp::now() < campaign.updated_at + i64::from(STRAGGLERS).seconds() {
        return workshop.again(&again, STRAGGLERS).await;
    }
    Ok(store::finish_delete(&workshop.table, &campaign).await?)
}

//! Tasks of the workers of campaigns: the campaign scheduler and the message sender.

use domain::id::{CampaignId, CustomerId, SendId};
use jiff::Timestamp;
use messages::tasks::MessageTask;
use queues::Grouped;
use serde::{Deserialize, Serialize};
use stamps::tasks::MilestoneReached;
pub use stamps::tasks::QUEUE;

/// Environment variable with the URL of the queue of campaign messages, from which the message sender reads.
pub const MESSAGES: &str = "CAMPAIGN_MESSAGES_QUEUE_URL";

/// Returns the task to send a message. The messages of one campaign form a group in the queue.
pub fn of_message(send_id: SendId) -> Grouped<MessageTask> {
    (Some(send_id.campaign().to_string()), MessageTask::CampaignMessage { send_id })
}

/// Task of the campaign scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CampaignTask {
    /// Starts a campaign that was activated or resumed.
    StartCampaign { campaign_id: CampaignId, run: u32 },
    /// Creates the messages for a page of the audience.
    FanOut {
        campaign_id: CampaignId,
        run: u32,
        shard: u8,
        after: Option<CustomerId>,
        /// Time of the previous look at the trigger. Only customers whose trigger occurred since then receive a
        /// message. `None` at the first look of a run.
        since: Option<Timestamp>,
        until: Timestamp,
    },
    /// Queues again the messages of a page that are still to be sent.
    Requeue { campaign_id: CampaignId, run: u32, shard: u8, after: Option<SendId> },
    /// Creates the messages for a customer who reached a visit milestone.
    Milestone(MilestoneReached),
}

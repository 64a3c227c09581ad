//! What the workers of campaigns are asked for.

use domain::id::{CampaignId, CustomerId, SendId};
use jiff::Timestamp;
use messages::tasks::MessageTask;
use queues::Grouped;
use serde::{Deserialize, Serialize};
use stamps::tasks::MilestoneReached;
pub use stamps::tasks::QUEUE;

/// The variable with the address of the queue of campaigns' messages, which the message sender takes from.
pub const MESSAGES: &str = "CAMPAIGN_MESSAGES_QUEUE_URL";

/// Asks for a message to be sent; those of one campaign are a group.
pub fn of_message(send_id: SendId) -> Grouped<MessageTask> {
    (Some(send_id.campaign().to_string()), MessageTask::CampaignMessage { send_id })
}

/// Of the campaign scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CampaignTask {
    /// A campaign was set going.
    StartCampaign { campaign_id: CampaignId, run: u32 },
    /// A page of its audience.
    FanOut {
        campaign_id: CampaignId,
        run: u32,
        shard: u8,
        after: Option<CustomerId>,
        /// What time has brought since then; all that it ever did, if there is none.
        since: Option<Timestamp>,
        until: Timestamp,
    },
    /// A page of its messages, those that still have to be sent.
    Requeue { campaign_id: CampaignId, run: u32, shard: u8, after: Option<SendId> },
    /// A customer has come so often.
    Milestone(MilestoneReached),
}

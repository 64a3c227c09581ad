//! What workers are asked for, over the queues between functions.

use domain::{
    id::{AccountId, CampaignId, CustomerId, DeliveryId, ProgramId, SendId, SubscriberId, WebhookEndpointId},
    webhook::Message,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A task, and whose it is: one that has many tasks doesn't hold up the others.
pub type Grouped<T> = (Option<String>, T);

/// Of the message sender: what it writes, and whether that is still wanted, is decided when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MessageTask {
    SubscriberMail {
        subscriber_id: SubscriberId,
        /// The same whenever the mail is asked for again.
        message_id: String,
    },
    /// A mail that is due again; its record says what it is about.
    Mail {
        message_id: String,
    },
    CampaignMessage {
        send_id: SendId,
    },
    /// A webhook endpoint was disabled: the account's owners are told.
    TellOfEndpoint {
        account_id: AccountId,
        endpoint_id: WebhookEndpointId,
        rev: u64,
    },
}

impl MessageTask {
    pub fn of_campaign(send_id: SendId) -> Grouped<Self> {
        (Some(send_id.campaign().to_string()), Self::CampaignMessage { send_id })
    }
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
    Milestone { program_id: ProgramId, customer_id: CustomerId, visits: u64 },
}

/// Of the webhook sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WebhookTask {
    /// An endpoint is to be told of something.
    Tell { account_id: AccountId, endpoint_id: WebhookEndpointId, message: Message },
    /// A delivery is to be made, if it has been tried so often.
    Deliver { account_id: AccountId, delivery_id: DeliveryId, tried: u32 },
    /// One of these, among those for slow endpoints.
    Slow { task: Box<Self> },
}

impl WebhookTask {
    pub fn tell(account_id: AccountId, endpoint_id: WebhookEndpointId, message: Message) -> Grouped<Self> {
        (Some(endpoint_id.to_string()), Self::Tell { account_id, endpoint_id, message })
    }

    pub fn deliver(account_id: AccountId, delivery_id: DeliveryId, tried: u32) -> Grouped<Self> {
        (Some(delivery_id.endpoint().to_string()), Self::Deliver { account_id, delivery_id, tried })
    }
}

//! What the webhook sender is asked for.

use domain::id::{AccountId, WebhookEndpointId};
use queues::Grouped;
use serde::{Deserialize, Serialize};

use crate::{id::DeliveryId, webhook::Message};

/// The variable with the address of the webhook sender's queue.
pub const QUEUE: &str = "WEBHOOKS_QUEUE_URL";

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

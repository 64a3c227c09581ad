//! Tasks of the webhook sender.

use domain::id::{AccountId, WebhookEndpointId};
use queues::Grouped;
use serde::{Deserialize, Serialize};

use crate::{id::DeliveryId, webhook::Message};

/// Environment variable with the URL of the webhook sender's queue.
pub const QUEUE: &str = "WEBHOOKS_QUEUE_URL";

/// Task of the webhook sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WebhookTask {
    /// Sends a message to an endpoint.
    Tell { account_id: AccountId, endpoint_id: WebhookEndpointId, message: Message },
    /// Makes a stored delivery, if the number of attempts so far is `tried`.
    Deliver { account_id: AccountId, delivery_id: DeliveryId, tried: u32 },
    /// One of the other tasks, in the queue for slow endpoints.
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

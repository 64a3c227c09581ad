//! The ids of deliveries. An endpoint's is `domain::id::WebhookEndpointId`.

use domain::id::{EventId, WebhookEndpointId};

domain::ids_within! {
    /// What one endpoint is told of one event.
    DeliveryId = "dlv", WebhookEndpointId endpoint;
}

impl DeliveryId {
    /// An endpoint is told of an event by one delivery. Those of one endpoint sort as their events do.
    pub fn of(endpoint: &WebhookEndpointId, event: &EventId) -> Self {
        Self::within(endpoint, event.suffix())
    }
}

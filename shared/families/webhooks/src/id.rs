//! Ids of deliveries. The id of an endpoint is `domain::id::WebhookEndpointId`.

use domain::id::{EventId, WebhookEndpointId};

domain::ids_within! {
    /// Id of a delivery: one event that is sent to one endpoint.
    DeliveryId = "dlv", WebhookEndpointId endpoint;
}

impl DeliveryId {
    /// Derives the id of the delivery of an event to an endpoint. Each event has one delivery to an endpoint. The
    /// ids of the deliveries to one endpoint sort in the order of their events.
    pub fn of(endpoint: &WebhookEndpointId, event: &EventId) -> Self {
        Self::within(endpoint, event.suffix())
    }
}

//! Events as they are shown.

use std::collections::BTreeMap;

use domain::{
    event::EventKind,
    id::{CustomerId, EventId, SubscriberId},
};
use jiff::Timestamp;
use projection::events::Event;
use serde::Serialize;
use utoipa::ToSchema;

/// Something that happened; names only ids.
#[derive(Serialize, ToSchema)]
pub struct EventView {
    pub id: EventId,
    #[serde(rename = "type")]
    pub kind: EventKind,
    #[schema(required)]
    pub subscriber_id: Option<SubscriberId>,
    #[schema(required)]
    pub customer_id: Option<CustomerId>,
    /// The referral, reward, comment, import or stamp that it is about.
    #[schema(required)]
    pub object_id: Option<String>,
    /// The numbers of the matter, by name: `threshold` and `remaining` of a low stock, `stamps` of a visit,
    /// `visits` of a milestone.
    pub data: BTreeMap<String, u64>,
    pub at: Timestamp,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let Event { id, kind, subscriber_id, customer_id, object_id, data, at, .. } = event;
        Self { id, kind, subscriber_id, customer_id, object_id, data, at }
    }
}

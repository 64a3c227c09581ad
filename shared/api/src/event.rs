//! Events as they are shown.

use std::collections::BTreeMap;

use domain::id::{EventId, SubscriberId};
use jiff::Timestamp;
use serde::Serialize;
use store::entities::{Event, EventKind};
use utoipa::ToSchema;

/// Something that happened; names only ids.
#[derive(Serialize, ToSchema)]
pub struct EventView {
    pub id: EventId,
    #[serde(rename = "type")]
    pub kind: EventKind,
    #[schema(required)]
    pub subscriber_id: Option<SubscriberId>,
    /// The referral, reward or import that it is about.
    #[schema(required)]
    pub object_id: Option<String>,
    /// The numbers of the matter, by name: `threshold` and `remaining` of a low stock.
    pub data: BTreeMap<String, u64>,
    pub at: Timestamp,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let Event { id, kind, subscriber_id, object_id, data, at, .. } = event;
        Self { id, kind, subscriber_id, object_id, data, at }
    }
}

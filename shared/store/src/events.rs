//! What happened on a waitlist, in a code pool or in a stamp program: the outbox that webhooks and feeds are served from.

use std::collections::BTreeMap;

use domain::{
    event::EventKind,
    id::{AccountId, EventId},
};
use jiff::Timestamp;

use crate::{
    Cursor, Page, StoreError, Table,
    entities::{Event, Standing},
    patterns,
};

impl Event {
    /// An event of a waitlist, about a subscriber.
    pub(crate) fn about(
        standing: &Standing,
        kind: EventKind,
        object_id: Option<String>,
        at: Timestamp,
    ) -> Self {
        let subscriber_id = Some(standing.subscriber_id.clone());
        Self {
            subscriber_id,
            object_id,
            ..Self::new(&standing.account_id, standing.waitlist_id.as_str(), kind, at)
        }
    }

    pub(crate) fn new(account: &AccountId, topic: &str, kind: EventKind, at: Timestamp) -> Self {
        Self {
            id: EventId::in_order(at),
            account_id: account.clone(),
            topic: topic.to_owned(),
            kind,
            subscriber_id: None,
            customer_id: None,
            object_id: None,
            data: BTreeMap::new(),
            at,
            noted_at: Timestamp::now(),
        }
    }
}

/// Newest first.
pub async fn list(
    table: &Table,
    topic: &str,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Event>, StoreError> {
    table.page(&patterns::EVENTS, &Event::partitions(topic), true, after, limit).await
}

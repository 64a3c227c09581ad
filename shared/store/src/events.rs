//! What happened on a waitlist: the outbox that webhooks and feeds are served from.

use domain::id::{EventId, SubscriberId, WaitlistId};
use jiff::Timestamp;

use crate::{
    Cursor, Page, StoreError, Table,
    entities::{Event, EventKind, Standing},
    patterns,
};

impl Event {
    pub(crate) fn about(
        standing: &Standing,
        kind: EventKind,
        object_id: Option<String>,
        at: Timestamp,
    ) -> Self {
        Self::new(&standing.account_id, &standing.waitlist_id, &standing.subscriber_id, kind, object_id, at)
    }

    pub(crate) fn new(
        account: &domain::id::AccountId,
        waitlist: &WaitlistId,
        subscriber: &SubscriberId,
        kind: EventKind,
        object_id: Option<String>,
        at: Timestamp,
    ) -> Self {
        Self {
            id: EventId::new(at),
            account_id: account.clone(),
            waitlist_id: waitlist.clone(),
            kind,
            subscriber_id: subscriber.clone(),
            object_id,
            at,
        }
    }
}

/// Newest first.
pub async fn list(
    table: &Table,
    waitlist: &WaitlistId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Event>, StoreError> {
    table.page(&patterns::EVENTS, &[Event::partition(waitlist)], true, after, limit).await
}

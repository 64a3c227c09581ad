//! What happened on a waitlist: the outbox that webhooks and feeds are served from.

use domain::id::{EventId, SubscriberId, WaitlistId};
use jiff::Timestamp;

use crate::{
    Cursor, Page, StoreError, Table,
    entities::{Event, EventKind, Standing},
    patterns,
    table::{Query, Range},
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
    let query = Query {
        range: after.map_or(Range::All, |cursor| Range::Before(cursor.0)),
        limit: Some(limit + 1),
        newest_first: true,
        consistent: true,
        ..Query::partition(Event::partition(waitlist))
    };
    let events = table.query(&patterns::EVENTS, query).await?;
    Ok(Page::cut(events, limit, |event: &Event| event.id.as_str().to_owned()))
}

//! The event log: what happened, for feeds and webhooks.

use std::collections::BTreeMap;

use domain::{
    event::{Datum, EventKind, EventName},
    id::{AccountId, CustomerId, EventId, SubscriberId},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use table::{Cursor, Entity, Key, LIST_SHARDS, Page, REPLAYED_WITHIN, Table, TableError, join, list_shard};

use crate::patterns;

/// Something that happened; names only ids, nothing personal. Kept for [`REPLAYED_WITHIN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub account_id: AccountId,
    /// The id of what it happened to, or in.
    pub topic: String,
    #[serde(rename = "event_type")]
    pub kind: EventName,
    pub subscriber_id: Option<SubscriberId>,
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    /// The id of what else it is about.
    pub object_id: Option<String>,
    /// What else it tells, by name, as its kind says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, Datum>,
    pub at: Timestamp,
    /// It is kept from then on: nothing is noted twice as long as its record may come again.
    pub noted_at: Timestamp,
}

impl Event {
    /// Where the events of a topic lie: a partition takes 1,000 write units a second, what happens to something
    /// sought-after takes more.
    pub fn partitions(topic: &str) -> [String; LIST_SHARDS as usize] {
        std::array::from_fn(|shard| join(&["EVENTS", topic, &shard.to_string()]))
    }

    pub fn new(account: &AccountId, topic: &str, kind: EventKind, at: Timestamp) -> Self {
        Self {
            id: EventId::in_order(at),
            account_id: account.clone(),
            topic: topic.to_owned(),
            kind: kind.into(),
            subscriber_id: None,
            customer_id: None,
            object_id: None,
            data: BTreeMap::new(),
            at,
            noted_at: Timestamp::now(),
        }
    }
}

impl Entity for Event {
    const TYPE: &'static str = "event";
    fn key(&self) -> Key {
        let shard = list_shard(self.id.as_str());
        Key { pk: join(&["EVENTS", &self.topic, &shard.to_string()]), sk: self.id.as_str().to_owned() }
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.noted_at + REPLAYED_WITHIN)
    }
}

/// Something that was counted and that nobody is told of, so that it is not counted again; kept for [`REPLAYED_WITHIN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The id that its event would have.
    pub fact: EventId,
    pub noted_at: Timestamp,
}

impl Entity for Tally {
    const TYPE: &'static str = "tally";
    fn key(&self) -> Key {
        Key::new(&["TALLY", self.fact.as_str()], &["META"])
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.noted_at + REPLAYED_WITHIN)
    }
}

/// Newest first.
pub async fn list(
    table: &Table,
    topic: &str,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Event>, TableError> {
    table.page(&patterns::EVENTS, &Event::partitions(topic), true, after, limit).await
}

//! Event log: the published facts, for feeds and webhooks.

use std::collections::BTreeMap;

use domain::{
    event::{Datum, EventKind, EventName},
    id::{AccountId, CustomerId, EventId, SubscriberId},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use table::{Cursor, Entity, Key, LIST_SHARDS, Page, REPLAYED_WITHIN, Table, TableError, join, list_shard};

use crate::patterns;

/// Published fact. Contains ids only, no personal data. Expires [`REPLAYED_WITHIN`] after it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub account_id: AccountId,
    /// Id of the object that the event happened to or in, such as a waitlist.
    pub topic: String,
    #[serde(rename = "event_type")]
    pub kind: EventName,
    pub subscriber_id: Option<SubscriberId>,
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    /// Id of a further object that the event is about.
    pub object_id: Option<String>,
    /// Further fields, by name, as the kind of the event declares them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, Datum>,
    pub at: Timestamp,
    /// Time at which the event was recorded. The expiry counts from this time, so that a replayed stream record
    /// finds the event and records nothing twice.
    pub noted_at: Timestamp,
}

impl Event {
    /// Returns the partitions that hold the events of a topic. A partition takes 1,000 write units a second, and
    /// the events of a popular topic need more.
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

/// Record that a fact without an event was counted, so that a replayed stream record does not count the fact again.
/// Expires [`REPLAYED_WITHIN`] after it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Id that the event of the fact would have.
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

/// Reads a page of the events of a topic, newest first.
pub async fn list(
    table: &Table,
    topic: &str,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Event>, TableError> {
    table.page(&patterns::EVENTS, &Event::partitions(topic), true, after, limit).await
}

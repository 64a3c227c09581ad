//! Entities: types that are stored as one item each.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    TableError,
    keys::{EXPIRES_AT, IndexKey, Key, PK, SK, TYPE},
};

pub type Item = HashMap<String, AttributeValue>;

/// Time within which a change may be replayed to the projector, or a task to a worker: 30 days. Records that a
/// change was counted or a message was sent, and the published events, are kept at least this long after they were
/// written.
///
/// A stream holds 24 hours and an incremental export of the table 35 days. Changes are replayed only after their
/// failure was found in a dead-letter queue, which keeps its messages for 14 days.
pub const REPLAYED_WITHIN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Type that is stored as one item.
pub trait Entity: Serialize + DeserializeOwned + Send {
    /// Value of the attribute `_type`.
    const TYPE: &'static str;

    fn key(&self) -> Key;

    fn index_keys(&self) -> Vec<IndexKey> {
        Vec::new()
    }

    /// Time from which DynamoDB may delete the item. DynamoDB deletes expired items late, so readers check this
    /// time as well.
    fn expires(&self) -> Option<Timestamp> {
        None
    }

    /// Returns the stored item, with its keys. Attributes without a value are left out.
    fn to_item(&self) -> Item {
        #[expect(clippy::expect_used, reason = "entities are plain structs of strings, numbers and lists")]
        let mut item: Item = serde_dynamo::to_item(self).expect("an entity serialises");
        item.retain(|_, value| !matches!(value, AttributeValue::Null(_)));
        let mut set = |name: &str, value: String| item.insert(name.to_owned(), AttributeValue::S(value));
        let Key { pk, sk } = self.key();
        set(PK, pk);
        set(SK, sk);
        set(TYPE, Self::TYPE.to_owned());
        for IndexKey { index, pk, sk } in self.index_keys() {
            set(&format!("{index}PK"), pk);
            set(&format!("{index}SK"), sk);
        }
        if let Some(at) = self.expires() {
            item.insert(EXPIRES_AT.to_owned(), AttributeValue::N(at.as_second().to_string()));
        }
        item
    }

    /// Reads an entity from its stored item.
    ///
    /// # Errors
    /// [`TableError::Malformed`] if the item has another type or another shape.
    fn from_item(item: Item) -> Result<Self, TableError> {
        let malformed = |detail: String| TableError::Malformed { entity: Self::TYPE, detail };
        let found = item.get(TYPE).and_then(|value| value.as_s().ok()).map(String::as_str);
        if found != Some(Self::TYPE) {
            return Err(malformed(format!("found {}", found.unwrap_or("no type"))));
        }
        let read = domain::text::stored(|| serde_dynamo::from_item(item));
        read.map_err(|error| malformed(error.to_string()))
    }
}

/// Returns the sort key for an item that is due at this time, in a partition that [`Table::due`](crate::Table::due)
/// reads. Sort keys of items that are due earlier are less.
pub fn due_at(at: Timestamp) -> String {
    format!("{:015}", at.as_millisecond())
}

pub(crate) fn key_item(key: &Key) -> Item {
    HashMap::from([
        (PK.to_owned(), AttributeValue::S(key.pk.clone())),
        (SK.to_owned(), AttributeValue::S(key.sk.clone())),
    ])
}

pub fn key_of(item: &Item) -> Option<Key> {
    Some(Key { pk: item.get(PK)?.as_s().ok()?.clone(), sk: item.get(SK)?.as_s().ok()?.clone() })
}

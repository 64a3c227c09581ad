//! The table and its single-item and batch reads.
//!
//! Every method takes the [`Pattern`] that it serves and checks that the pattern lists the operation. The meter
//! counts the calls of each pattern.

use std::collections::{HashMap, HashSet};

use aws::{Env, Meter};
use aws_sdk_dynamodb::{
    Client,
    config::{IdentityCache, StalledStreamProtectionConfig},
    types::KeysAndAttributes,
};
use jiff::Timestamp;

use crate::{
    Entity, Item, Operation, Pattern, TableError,
    entity::{key_item, key_of},
    keys::{EXPIRES_AT, Key, PK, SK},
};

/// The table, with the client and the meter of one function. Cheap to clone.
#[derive(Clone)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    meter: Meter,
}

impl Table {
    /// Opens the table that `TABLE_NAME` names.
    ///
    /// # Errors
    /// [`TableError::Environment`] if `TABLE_NAME` or the credentials are missing.
    pub fn from_env(env: &Env) -> Result<Self, TableError> {
        // No DynamoDB request or response is a stream. The time-out of an attempt covers the bodies, so
        // stalled-stream protection would only add work to every call.
        let client = aws::client!(
            aws_sdk_dynamodb,
            env,
            "DYNAMODB",
            stalled_stream_protection = StalledStreamProtectionConfig::disabled(),
            identity_cache = IdentityCache::no_cache()
        )?;
        Ok(Self { client, name: env.require("TABLE_NAME")?.to_owned(), meter: env.meter().clone() })
    }

    /// Counts one call that makes these operations. Panics in debug builds if the pattern does not list one of
    /// them.
    pub(crate) fn count(&self, pattern: &'static Pattern, operations: &[Operation]) {
        for operation in operations {
            debug_assert!(
                pattern.operations.contains(operation),
                "pattern {} does not list {operation:?}",
                pattern.id
            );
        }
        self.meter.count(pattern.id, operations.iter().map(|operation| operation.name()));
    }

    /// Checks that the table answers, with a read of an item that need not exist.
    ///
    /// # Errors
    /// [`TableError`] if the read fails.
    pub async fn ping(&self) -> Result<(), TableError> {
        self.get_item(&crate::patterns::PING, &Key::new(&["PING"], &["PING"]), false).await.map(drop)
    }

    pub(crate) async fn get_item(
        &self,
        pattern: &'static Pattern,
        key: &Key,
        consistent: bool,
    ) -> Result<Option<Item>, TableError> {
        self.count(pattern, &[Operation::Get]);
        let output = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key_item(key)))
            .consistent_read(consistent)
            .send()
            .await
            .map_err(|error| TableError::sdk("GetItem", error))?;
        Ok(output.item)
    }

    /// Reads one item with a consistent read. Returns `None` for an absent or expired item.
    pub async fn get<E: Entity>(
        &self,
        pattern: &'static Pattern,
        key: &Key,
    ) -> Result<Option<E>, TableError> {
        let found = self.get_item(pattern, key, true).await?;
        found.filter(|item| is_current(item, Timestamp::now())).map(E::from_item).transpose()
    }

    /// Reads items of mixed types with consistent reads. The result has no entry for an absent item. More than 100
    /// keys take several calls.
    pub async fn batch_get(
        &self,
        pattern: &'static Pattern,
        keys: &[Key],
    ) -> Result<HashMap<Key, Item>, TableError> {
        self.batch_get_only(pattern, keys, &[]).await
    }

    /// Reads only these attributes and the key of each item, like [`batch_get`](Self::batch_get). An empty list of
    /// attributes reads whole items.
    pub async fn batch_get_only(
        &self,
        pattern: &'static Pattern,
        keys: &[Key],
        attributes: &[String],
    ) -> Result<HashMap<Key, Item>, TableError> {
        let projection = (!attributes.is_empty()).then(|| format!("{PK}, {SK}, {}", attributes.join(", ")));
        let mut found = HashMap::new();
        // DynamoDB refuses a batch that names a key twice.
        let mut known = HashSet::new();
        let mut pending: Vec<Item> = keys.iter().filter(|key| known.insert(*key)).map(key_item).collect();
        let mut attempt = 0;
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(100));
            self.count(pattern, &[Operation::BatchGet]);
            let request = KeysAndAttributes::builder()
                .set_keys(Some(pending))
                .consistent_read(true)
                .set_projection_expression(projection.clone())
                .build()
                .map_err(|error| TableError::Refused {
                    operation: "BatchGetItem",
                    detail: error.to_string(),
                })?;
            let output = self
                .client
                .batch_get_item()
                .request_items(&self.name, request)
                .send()
                .await
                .map_err(|error| TableError::sdk("BatchGetItem", error))?;
            for item in output.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                if let Some(key) = key_of(&item) {
                    found.insert(key, item);
                }
            }
            pending = rest;
            let unprocessed: Vec<Item> =
                output.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys).collect();
            if !unprocessed.is_empty() {
                attempt += 1;
                if attempt > 8 {
                    let detail = "keys stay unprocessed".to_owned();
                    return Err(TableError::Unavailable { operation: "BatchGetItem", detail });
                }
                crate::back_off(attempt).await;
                pending.extend(unprocessed);
            }
        }
        Ok(found)
    }
}

/// Returns false for an expired item. DynamoDB deletes an expired item only within days; until then, reads treat
/// the item as absent.
pub(crate) fn is_current(item: &Item, now: Timestamp) -> bool {
    let expires = item.get(EXPIRES_AT).and_then(|value| value.as_n().ok()?.parse().ok());
    expires.is_none_or(|at: i64| at > now.as_second())
}

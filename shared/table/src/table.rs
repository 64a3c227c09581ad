//! The one door to DynamoDB.
//!
//! Every method takes the [`Pattern`] it serves and checks that the pattern
//! allows the operation; the pattern's calls are counted on the meter.

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

/// The table, as one function sees it. Cheap to clone.
#[derive(Clone)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    meter: Meter,
}

impl Table {
    /// # Errors
    /// When `TABLE_NAME` or the credentials are missing.
    pub fn from_env(env: &Env) -> Result<Self, TableError> {
        // Nothing is streamed to or from DynamoDB: an attempt's time-out covers its bodies, and watching
        // their throughput as well is paid for by every call.
        let client = aws::client!(
            aws_sdk_dynamodb,
            env,
            "DYNAMODB",
            stalled_stream_protection = StalledStreamProtectionConfig::disabled(),
            identity_cache = IdentityCache::no_cache()
        )?;
        Ok(Self { client, name: env.require("TABLE_NAME")?.to_owned(), meter: env.meter().clone() })
    }

    /// Counts one call, which makes these operations.
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

    /// Whether the table answers.
    ///
    /// # Errors
    /// When it does not.
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

    /// Reads one item, consistently.
    pub async fn get<E: Entity>(
        &self,
        pattern: &'static Pattern,
        key: &Key,
    ) -> Result<Option<E>, TableError> {
        let found = self.get_item(pattern, key, true).await?;
        found.filter(|item| is_current(item, Timestamp::now())).map(E::from_item).transpose()
    }

    /// Reads items of mixed types in one call, consistently; absent ones are left out.
    /// More than 100 keys take several calls.
    pub async fn batch_get(
        &self,
        pattern: &'static Pattern,
        keys: &[Key],
    ) -> Result<HashMap<Key, Item>, TableError> {
        self.batch_get_only(pattern, keys, &[]).await
    }

    /// The same, but of each item only its key and these attributes; all when none is named.
    pub async fn batch_get_only(
        &self,
        pattern: &'static Pattern,
        keys: &[Key],
        attributes: &[String],
    ) -> Result<HashMap<Key, Item>, TableError> {
        let projection = (!attributes.is_empty()).then(|| format!("{PK}, {SK}, {}", attributes.join(", ")));
        let mut found = HashMap::new();
        // DynamoDB takes each key once.
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

/// DynamoDB deletes what has expired within days; until then it is not there for us.
pub(crate) fn is_current(item: &Item, now: Timestamp) -> bool {
    let expires = item.get(EXPIRES_AT).and_then(|value| value.as_n().ok()?.parse().ok());
    expires.is_none_or(|at: i64| at > now.as_second())
}

//! Stored items of webhook endpoints, of their health, and of the deliveries to them.

use domain::id::{AccountId, WebhookEndpointId};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, LIST_SHARDS, REPLAYED_WITHIN, due_at, join, keys::GSI2, list_shard};

use crate::{
    id::DeliveryId,
    webhook::{Delivery, WebhookEndpoint},
};

/// Beginning of the sort keys of an account's endpoints.
pub(crate) const ENDPOINTS: &str = "ENDPOINT#";

pub fn webhook_endpoint_key(account: &AccountId, id: &WebhookEndpointId) -> Key {
    Key::new(&["ACCT", account.as_str()], &["ENDPOINT", id.as_str()])
}

impl Entity for WebhookEndpoint {
    const TYPE: &'static str = "webhook_endpoint";
    fn key(&self) -> Key {
        webhook_endpoint_key(&self.account_id, &self.id)
    }
}

/// Fence whose revision changes whenever an account gets an endpoint. If two requests add an endpoint at the same
/// time and both have counted the same endpoints, one of them finds the fence changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointsFence {
    pub account_id: AccountId,
    pub rev: u64,
}

impl EndpointsFence {
    pub fn key_of(account: &AccountId) -> Key {
        Key::new(&["ACCT", account.as_str()], &["ENDPOINTS"])
    }
}

impl Entity for EndpointsFence {
    const TYPE: &'static str = "endpoints_fence";
    fn key(&self) -> Key {
        Self::key_of(&self.account_id)
    }
}

/// Mark of an endpoint that fails to accept deliveries, with the time since when. Removed when a delivery is
/// accepted or fails for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFailing {
    pub endpoint_id: WebhookEndpointId,
    pub since: Timestamp,
}

impl EndpointFailing {
    pub fn key_of(endpoint: &WebhookEndpointId) -> Key {
        Key::new(&["ENDPOINT", endpoint.as_str()], &["FAILING"])
    }
}

impl Entity for EndpointFailing {
    const TYPE: &'static str = "endpoint_failing";
    fn key(&self) -> Key {
        Self::key_of(&self.endpoint_id)
    }
    /// 30 days after the mark was set, the endpoint is disabled or deleted.
    fn expires(&self) -> Option<Timestamp> {
        Some(self.since + (30 * 24).hours())
    }
}

/// Mark of an endpoint that is slow to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlow {
    pub endpoint_id: WebhookEndpointId,
    pub until: Timestamp,
}

impl EndpointSlow {
    pub fn key_of(endpoint: &WebhookEndpointId) -> Key {
        Key::new(&["ENDPOINT", endpoint.as_str()], &["SLOW"])
    }
}

impl Entity for EndpointSlow {
    const TYPE: &'static str = "endpoint_slow";
    fn key(&self) -> Key {
        Self::key_of(&self.endpoint_id)
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.until)
    }
}

/// Returns the partitions of the deliveries to an endpoint.
pub(crate) fn deliveries_partitions(endpoint: &WebhookEndpointId) -> [String; LIST_SHARDS as usize] {
    std::array::from_fn(|shard| deliveries_partition(endpoint, shard))
}

fn deliveries_partition(endpoint: &WebhookEndpointId, shard: impl std::fmt::Display) -> String {
    join(&["DELIVERIES", endpoint.as_str(), &shard.to_string()])
}

pub fn delivery_key(id: &DeliveryId) -> Key {
    let pk = deliveries_partition(&id.endpoint(), list_shard(id.number()));
    Key { pk, sk: id.as_str().to_owned() }
}

/// Returns the index partition of one shard of the deliveries that will be attempted again, in the order of that
/// time.
pub(crate) fn deliveries_due(shard: u8) -> String {
    join(&["DELIVERDUE", &shard.to_string()])
}

impl Entity for Delivery {
    const TYPE: &'static str = "delivery";
    fn key(&self) -> Key {
        delivery_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let due = self.due_at.map(|at| IndexKey {
            index: GSI2,
            pk: deliveries_due(list_shard(self.id.number())),
            sk: join(&[&due_at(at), self.id.as_str()]),
        });
        due.into_iter().collect()
    }
    /// Kept for 30 days, as long as the event, so that a replayed event is not delivered again; or until seven days
    /// after the next attempt, if that is later.
    fn expires(&self) -> Option<Timestamp> {
        let told = self.created_at + REPLAYED_WITHIN;
        Some(self.due_at.map_or(told, |due| told.max(due + (7 * 24).hours())))
    }
}

/// Job of the webhooks family: work that outlasts a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Job of the webhook sender: makes a delivery that was requested as a test or a replay.
    Deliver { account_id: AccountId, delivery_id: DeliveryId, tried: u32 },
    /// Job of the message sender: tells the account's owners that an endpoint was disabled.
    TellOfEndpoint { account_id: AccountId, endpoint_id: WebhookEndpointId, rev: u64 },
}

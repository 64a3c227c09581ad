//! Storage of webhook endpoints and the deliveries to them.
//!
//! The delivery of an event is stored after its first attempt; until then, the queue holds it. Deliveries that will
//! be attempted again are listed in an index, in the order of that time.

use std::collections::BTreeMap;

use accounts::entities::AuditEntry;
use domain::{
    event::{Datum, EventKind, Person},
    id::{AccountId, EventId, WebhookEndpointId},
    money::Amount,
};
use jiff::Timestamp;
use projection::{events::Event, job::Job};
use serde::Serialize;
use table::{
    Commit, CommitError, Cursor, Entity, Page, Query, Range, Table, TableError, join,
    lookup::{Lookup, one},
};

use crate::{
    entities::{
        ENDPOINTS, EndpointFailing, EndpointSlow, EndpointsFence, Task, deliveries_due,
        deliveries_partitions, delivery_key, webhook_endpoint_key,
    },
    id::DeliveryId,
    patterns,
    webhook::{Delivery, DisabledReason, Message, WebhookEndpoint},
};

/// Version of the payloads of all kinds of events. A kind whose fields change their meaning gets a new version.
const VERSION: u32 = 1;

/// Body of a message, the same for every kind of event.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a EventId,
    #[serde(rename = "type")]
    kind: &'a str,
    version: u32,
    timestamp: Timestamp,
    data: BTreeMap<&'a str, serde_json::Value>,
}

/// Returns a message of this type, with this data.
fn message(id: &EventId, kind: &str, at: Timestamp, data: BTreeMap<&str, serde_json::Value>) -> Message {
    let body = Body { id, kind, version: VERSION, timestamp: at, data };
    #[expect(clippy::expect_used, reason = "texts and numbers by name are always JSON")]
    let body = serde_json::to_string(&body).expect("a body is JSON");
    Message { id: id.clone(), kind: kind.to_owned(), body }
}

/// Returns the message that tells an endpoint of an event, with the ids and the data that the kind of the event
/// names.
pub fn message_of(event: &Event, kind: EventKind) -> Message {
    let mut data = BTreeMap::from([(kind.topic, event.topic.as_str().into())]);
    let person = match kind.person {
        Person::Subscriber => ("subscriber_id", event.subscriber_id.as_ref().map(|id| id.as_str())),
        Person::Customer => ("customer_id", event.customer_id.as_ref().map(|id| id.as_str())),
        Person::Nobody => ("", None),
    };
    if let (field, Some(id)) = person {
        data.insert(field, id.into());
    }
    if let (Some(field), Some(id)) = (kind.object, event.object_id.as_deref()) {
        data.insert(field, id.into());
    }
    data.extend(event.data.iter().map(|(name, datum)| (name.as_str(), json(datum))));
    message(&event.id, kind.name, event.at, data)
}

fn json(datum: &Datum) -> serde_json::Value {
    match datum {
        Datum::Number(number) => (*number).into(),
        Datum::Text(text) => text.as_str().into(),
        Datum::Amount(Amount { amount, currency }) => {
            serde_json::json!({ "amount": amount, "currency": currency.to_string() })
        }
    }
}

/// Returns the message that tests an endpoint.
pub fn test_message(endpoint: &WebhookEndpointId, now: Timestamp) -> Message {
    let data = BTreeMap::from([("webhook_endpoint_id", endpoint.as_str().into())]);
    message(&EventId::in_order(now), crate::webhook::TEST, now, data)
}

/// Reads an account's endpoints, oldest first. An account has at most 20.
pub async fn endpoints(table: &Table, account: &AccountId) -> Result<Vec<WebhookEndpoint>, TableError> {
    let query = Query {
        range: Range::BeginsWith(ENDPOINTS.to_owned()),
        consistent: true,
        ..Query::partition(join(&["ACCT", account.as_str()]))
    };
    table.query(&patterns::WEBHOOK_ENDPOINTS, query).await
}

pub async fn endpoint(
    table: &Table,
    account: &AccountId,
    id: &WebhookEndpointId,
) -> Result<Option<WebhookEndpoint>, TableError> {
    table.get(&patterns::WEBHOOK_ENDPOINT, &webhook_endpoint_key(account, id)).await
}

/// Reads the fence, whose revision changes with every endpoint that the account gets. Read the fence before the
/// endpoints, so that counting the endpoints is safe.
pub async fn fence(table: &Table, account: &AccountId) -> Result<Option<EndpointsFence>, TableError> {
    table.get(&patterns::WEBHOOK_FENCE, &EndpointsFence::key_of(account)).await
}

/// Returns the writes that add an endpoint. The label `fence` fails if the account has got another endpoint since
/// the fence was read.
pub fn create(endpoint: &WebhookEndpoint, fence: Option<&EndpointsFence>, audit: &AuditEntry) -> Commit {
    let commit = Commit::new(&patterns::WEBHOOK_ENDPOINT_WRITE);
    let rev = fence.map_or(0, |fence| fence.rev);
    let next = EndpointsFence { account_id: endpoint.account_id.clone(), rev: rev + 1 };
    let commit = match fence {
        None => commit.create("fence", &next),
        Some(_) => commit.replace("fence", &next, rev),
    };
    commit.create("endpoint", endpoint).create("audit", audit)
}

/// Returns the writes that replace the endpoint that was read at revision `rev`, and remove its failing mark.
pub fn update(endpoint: &WebhookEndpoint, rev: u64, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::WEBHOOK_ENDPOINT_WRITE)
        .replace("endpoint", endpoint, rev)
        .purge("failing", &EndpointFailing::key_of(&endpoint.id))
        .create("audit", audit)
}

/// Returns the writes that remove an endpoint. The deliveries to it expire.
pub fn delete(endpoint: &WebhookEndpoint, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::WEBHOOK_ENDPOINT_WRITE)
        .delete("endpoint", &endpoint.key(), endpoint.rev)
        .purge("failing", &EndpointFailing::key_of(&endpoint.id))
        .create("audit", audit)
}

/// Reads a page of the deliveries to an endpoint, newest first.
pub async fn deliveries(
    table: &Table,
    endpoint: &WebhookEndpointId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Delivery>, TableError> {
    table.page(&patterns::DELIVERIES, &deliveries_partitions(endpoint), true, after, limit).await
}

pub async fn delivery(table: &Table, id: &DeliveryId) -> Result<Option<Delivery>, TableError> {
    table.get(&patterns::DELIVERY, &delivery_key(id)).await
}

/// Returns the writes that store this next revision of a delivery, and the job that makes the delivery. The label
/// `delivery` fails if the delivery has changed meanwhile.
pub fn ask(delivery: &Delivery, audit: &AuditEntry, now: Timestamp) -> Commit {
    let commit = Commit::new(&patterns::DELIVERY_ASK);
    let commit = match delivery.rev - 1 {
        0 => commit.create("delivery", delivery),
        rev => commit.replace("delivery", delivery, rev),
    };
    let job = Job::new(
        format!("{}:{}", delivery.id, delivery.rev),
        &Task::Deliver {
            account_id: delivery.account_id.clone(),
            delivery_id: delivery.id.clone(),
            tried: delivery.tried,
        },
        now,
    );
    commit.overwrite("job", &job).create("audit", audit)
}

/// Endpoint of a delivery, with its health and with the delivery as stored.
#[derive(Clone, Debug)]
pub struct Target {
    pub endpoint: WebhookEndpoint,
    /// Time since which the endpoint fails to accept deliveries.
    pub failing_since: Option<Timestamp>,
    /// Time until which the endpoint counts as slow.
    pub slow_until: Option<Timestamp>,
    /// Delivery as last stored; `None` if it is not stored yet.
    pub delivery: Option<Delivery>,
}

/// Reads all items on which an attempt depends. Returns `None` if the endpoint does not exist.
pub async fn target(
    table: &Table,
    account: &AccountId,
    delivery: &DeliveryId,
) -> Result<Option<Target>, TableError> {
    let endpoint = delivery.endpoint();
    let wanted = (
        one(webhook_endpoint_key(account, &endpoint)),
        one::<EndpointFailing>(EndpointFailing::key_of(&endpoint)),
        one::<EndpointSlow>(EndpointSlow::key_of(&endpoint)),
        one(delivery_key(delivery)),
    );
    let (endpoint, failing, slow, delivery) =
        table.look_up(Lookup::new(&patterns::DELIVERY_TARGET, wanted)).await?;
    Ok(endpoint.map(|endpoint| Target {
        endpoint,
        failing_since: failing.map(|failing| failing.since),
        slow_until: slow.map(|slow| slow.until),
        delivery,
    }))
}

/// Records until when an endpoint counts as slow; with `None`, removes the mark. Several workers may try this at
/// the same moment: a worker that meets a concurrent write gives up.
pub async fn note_slow(
    table: &Table,
    endpoint: &WebhookEndpointId,
    until: Option<Timestamp>,
) -> Result<(), CommitError> {
    let commit = Commit::new(&patterns::ENDPOINT_SLOW).once();
    let commit = match until {
        Some(until) => commit.overwrite("slow", &EndpointSlow { endpoint_id: endpoint.clone(), until }),
        None => commit.purge("slow", &EndpointSlow::key_of(endpoint)),
    };
    commit.apply(table).await
}

/// Records an attempt at a delivery, and its effect on the endpoint. `after` is the next revision of the delivery;
/// `disabled` is the reason to disable the endpoint, if there is one. If another worker has already recorded this
/// revision, nothing is written. Returns false if the endpoint to be disabled has changed meanwhile; then nothing
/// is written either.
pub async fn note(
    table: &Table,
    target: &Target,
    after: &Delivery,
    disabled: Option<DisabledReason>,
    now: Timestamp,
) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::DELIVERY_NOTE);
    let commit = match &target.delivery {
        None => commit.create("delivery", after),
        Some(before) => commit.replace("delivery", after, before.rev),
    };
    let endpoint_id = target.endpoint.id.clone();
    // A delivery that has ended, accepted or not, no longer counts against the endpoint. Otherwise the endpoint
    // would count as failing since then when the next event comes, weeks later.
    let commit = match (after.due_at, target.failing_since) {
        (None, Some(_)) => commit.purge("failing", &EndpointFailing::key_of(&endpoint_id)),
        (Some(_), None) => commit.overwrite("failing", &EndpointFailing { endpoint_id, since: now }),
        _ => commit,
    };
    let commit = match disabled {
        None => commit,
        Some(reason) => disable(commit, &target.endpoint, reason, now),
    };
    match commit.apply(table).await {
        Err(error) if error.failed("endpoint").is_some() && error.failed("delivery").is_none() => Ok(false),
        Ok(()) | Err(CommitError::Condition(_)) => Ok(true),
        Err(CommitError::Table(error)) => Err(error),
    }
}

/// Adds the writes that disable an endpoint, and the job that tells the account's owners.
fn disable(commit: Commit, endpoint: &WebhookEndpoint, reason: DisabledReason, now: Timestamp) -> Commit {
    let disabled = endpoint.disabled(reason, now);
    let (account_id, endpoint_id) = (endpoint.account_id.clone(), endpoint.id.clone());
    let audit =
        AuditEntry::new(&account_id, "platform", "webhook_endpoint.disabled", endpoint_id.as_str(), now);
    let job = Job::new(
        format!("{endpoint_id}:{}", disabled.rev),
        &Task::TellOfEndpoint { account_id, endpoint_id, rev: disabled.rev },
        now,
    );
    commit.replace("endpoint", &disabled, endpoint.rev).create("audit", &audit).overwrite("job", &job)
}

/// Reads the deliveries of a shard that are due by now, the most overdue first.
pub async fn due(
    table: &Table,
    shard: u8,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Delivery>, TableError> {
    table.due(&patterns::DELIVERIES_DUE, deliveries_due(shard), now, limit).await
}

/// Deletes a delivery to an endpoint that was deleted.
pub async fn forget(table: &Table, delivery: &DeliveryId) -> Result<(), TableError> {
    table::purge(table, &patterns::DELIVERY_QUEUED, vec![delivery_key(delivery)]).await
}

/// Records that a delivery is queued again. Returns false if the delivery has changed meanwhile.
pub async fn queued(table: &Table, after: &Delivery) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::DELIVERY_QUEUED).replace("delivery", after, after.rev - 1);
    commit.applies(table).await
}

/// Returns true if an endpoint was not added because another one was added at the same time.
pub fn is_fenced(error: &CommitError) -> bool {
    error.failed("fence").is_some()
}

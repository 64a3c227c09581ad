//! What the account family takes and gives.

use accounts::{
    api_key::KeyKind,
    entities::{Account, ApiKeyRecord, AuditEntry, KeyStatus, Limits, Member},
    id::{ApiKeyId, AuditId, MemberId},
};
use api::Problem;
use domain::{
    email::Email,
    id::{AccountId, EventId, WebhookEndpointId},
    scope::{Grant, Role},
    text::{Line, Name},
};
use families::{EventType, KnownGrant};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use webhooks::{
    id::DeliveryId,
    webhook::{
        Attempt, Delivery, DeliveryStatus, DisabledReason, EndpointStatus, EndpointUrl, Message,
        WebhookEndpoint,
    },
};

#[derive(Serialize, ToSchema)]
pub struct AccountView {
    pub id: AccountId,
    pub name: Name,
    pub limits: Limits,
    pub created_at: Timestamp,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        let Account { id, name, limits, created_at, .. } = account;
        Self { id, name, limits, created_at }
    }
}

/// Limits to change; the others stay. Each is 1–1,000,000 a minute.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsPatch {
    pub joins_per_ip_per_minute: Option<u64>,
    pub clicks_per_ip_per_minute: Option<u64>,
    pub claims_per_ip_per_minute: Option<u64>,
    pub uploads_per_minute: Option<u64>,
    pub analytics_per_minute: Option<u64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    pub name: Option<Name>,
    pub limits: Option<LimitsPatch>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    #[schema(value_type = String, format = "email")]
    pub email: Email,
    pub role: Role,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberPatch {
    pub role: Role,
}

#[derive(Serialize, ToSchema)]
pub struct MemberView {
    pub id: MemberId,
    pub email: String,
    pub role: Role,
    /// Whether the member has signed in yet.
    pub signed_in: bool,
    pub created_at: Timestamp,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        let Member { id, email, role, subject, created_at, .. } = member;
        Self { id, email, role, signed_in: subject.is_some(), created_at }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    pub kind: KeyKind,
    pub name: Option<Name>,
    /// Of a secret key: what it may do, `["*"]` when left out. A publishable key has none.
    pub scopes: Option<Vec<KnownGrant>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How long the old key or secret goes on working, 0–604,800 seconds; a day when left out.
    pub overlap_seconds: Option<u32>,
}

impl Rotation {
    pub fn overlap(&self) -> Result<SignedDuration, Problem> {
        match self.overlap_seconds.unwrap_or(86_400) {
            seconds @ 0..=604_800 => Ok(SignedDuration::from_secs(seconds.into())),
            _ => Err(Problem::field("overlap_seconds", "is not 0–604,800")),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ApiKeyView {
    pub id: ApiKeyId,
    pub kind: KeyKind,
    pub name: Option<Name>,
    pub scopes: Vec<Grant>,
    /// How the key begins.
    pub prefix: String,
    pub status: KeyStatus,
    /// Until when a rotated key still works.
    pub valid_until: Option<Timestamp>,
    pub created_at: Timestamp,
    /// The key itself: only in the answer that created it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl From<&ApiKeyRecord> for ApiKeyView {
    fn from(record: &ApiKeyRecord) -> Self {
        let ApiKeyRecord { id, kind, name, scopes, prefix, status, valid_until, created_at, .. } =
            record.clone();
        Self { id, kind, name, scopes, prefix, status, valid_until, created_at, key: None }
    }
}

#[derive(Serialize, ToSchema)]
pub struct AuditView {
    pub id: AuditId,
    /// The id of the member or key, or `platform`.
    pub actor: String,
    pub action: String,
    /// The id of what was acted on.
    pub target: String,
    pub at: Timestamp,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, actor, action, target, at, .. } = entry;
        Self { id, actor, action, target, at }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    /// `https`, at a public address.
    pub url: String,
    pub description: Option<Line>,
    /// What it is told of; everything when left out or empty.
    pub event_types: Option<Vec<EventType>>,
}

/// What can be changed of an endpoint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSettings {
    pub url: String,
    pub description: Option<Line>,
    #[serde(default)]
    pub event_types: Vec<EventType>,
    pub status: EndpointStatus,
}

impl EndpointSettings {
    pub fn of(endpoint: &WebhookEndpoint) -> Self {
        let WebhookEndpoint { url, description, event_types, status, .. } = endpoint.clone();
        let event_types = event_types.into_iter().map(EventType::from).collect();
        Self { url: url.as_str().to_owned(), description, event_types, status }
    }
}

#[derive(Serialize, ToSchema)]
pub struct EndpointView {
    pub id: WebhookEndpointId,
    pub url: EndpointUrl,
    #[schema(required)]
    pub description: Option<Line>,
    /// Empty for everything.
    pub event_types: Vec<EventType>,
    pub status: EndpointStatus,
    /// Why it is disabled, if it is.
    #[schema(required)]
    pub disabled_reason: Option<DisabledReason>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// What signatures are checked with: only in the answer that made it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl EndpointView {
    pub fn with_secret(endpoint: WebhookEndpoint) -> Self {
        let secret = Some(endpoint.secret.reveal().to_owned());
        Self { secret, ..endpoint.into() }
    }
}

impl From<WebhookEndpoint> for EndpointView {
    fn from(endpoint: WebhookEndpoint) -> Self {
        let WebhookEndpoint { id, url, description, event_types, status, disabled_reason, .. } = endpoint;
        let WebhookEndpoint { created_at, updated_at, .. } = endpoint;
        Self {
            id,
            url,
            description,
            event_types: event_types.into_iter().map(EventType::from).collect(),
            status,
            disabled_reason,
            created_at,
            updated_at,
            secret: None,
        }
    }
}

/// A message to an endpoint, and what became of it.
#[derive(Serialize, ToSchema)]
pub struct DeliveryView {
    pub id: DeliveryId,
    pub webhook_endpoint_id: WebhookEndpointId,
    /// What the message says as `webhook-id`.
    pub event_id: EventId,
    /// The type of the event, or `webhook.test`.
    pub event_type: String,
    pub status: DeliveryStatus,
    /// The message, as it is signed.
    pub body: String,
    /// The latest fifteen, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it is tried again, if it is.
    #[schema(required)]
    pub next_attempt_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let Delivery { id, message, status, attempts, due_at, created_at, updated_at, .. } = delivery;
        let Message { id: event_id, kind: event_type, body } = message;
        Self {
            webhook_endpoint_id: id.endpoint(),
            id,
            event_id,
            event_type,
            status,
            body,
            attempts,
            next_attempt_at: due_at,
            created_at,
            updated_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`; a platform that is not well answers 503.
    pub status: &'static str,
}

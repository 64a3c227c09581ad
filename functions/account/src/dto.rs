//! Request and response bodies of the account family.

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

/// An account with its rate limits.
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

/// Rate limits to change.
///
/// Each limit is 1–1,000,000 requests per minute. A limit that is left out stays as it is. Limits per IP address
/// apply to requests with a publishable key. All IPv6 addresses of one /64 network count as one address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsPatch {
    /// Joins from one IP address. The same limit applies to enrolments, which are counted separately.
    pub joins_per_ip_per_minute: Option<u64>,
    /// Visits through referral links from one IP address.
    pub clicks_per_ip_per_minute: Option<u64>,
    /// Claims of codes from one IP address.
    pub claims_per_ip_per_minute: Option<u64>,
    /// Announced imports of the account.
    pub uploads_per_minute: Option<u64>,
    /// Analytics requests of the account.
    pub analytics_per_minute: Option<u64>,
}

/// Fields of the account to change. A field that is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    pub name: Option<Name>,
    pub limits: Option<LimitsPatch>,
}

/// Member to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// Email address with which the member signs in at the OIDC issuer.
    #[schema(value_type = String, format = "email")]
    pub email: Email,
    pub role: Role,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberPatch {
    pub role: Role,
}

/// Member of an account.
#[derive(Serialize, ToSchema)]
pub struct MemberView {
    pub id: MemberId,
    pub email: String,
    pub role: Role,
    /// True if the member has signed in at least once.
    pub signed_in: bool,
    pub created_at: Timestamp,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        let Member { id, email, role, subject, created_at, .. } = member;
        Self { id, email, role, signed_in: subject.is_some(), created_at }
    }
}

/// API key to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    pub kind: KeyKind,
    pub name: Option<Name>,
    /// Scopes of a secret key. Default: `["*"]`, which grants everything. A publishable key has no scopes.
    pub scopes: Option<Vec<KnownGrant>>,
}

/// Rotation of an API key or of an endpoint's secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Seconds for which the old key or secret remains valid, 0–604,800. Default: 86,400 (one day).
    pub overlap_seconds: Option<u32>,
}

impl Rotation {
    /// Returns the time for which the old key or secret remains valid.
    ///
    /// # Errors
    /// If `overlap_seconds` is greater than 604,800.
    pub fn overlap(&self) -> Result<SignedDuration, Problem> {
        match self.overlap_seconds.unwrap_or(86_400) {
            seconds @ 0..=604_800 => Ok(SignedDuration::from_secs(seconds.into())),
            _ => Err(Problem::field("overlap_seconds", "is not 0–604,800")),
        }
    }
}

/// API key without its secret part.
#[derive(Serialize, ToSchema)]
pub struct ApiKeyView {
    pub id: ApiKeyId,
    pub kind: KeyKind,
    pub name: Option<Name>,
    pub scopes: Vec<Grant>,
    /// First characters of the key, by which the key can be recognised.
    pub prefix: String,
    pub status: KeyStatus,
    /// Time at which a rotated key stops working; `null` for a key that was not rotated.
    pub valid_until: Option<Timestamp>,
    pub created_at: Timestamp,
    /// The complete key. Present only in the response that creates the key, and never shown again.
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

/// Entry of the audit log.
#[derive(Serialize, ToSchema)]
pub struct AuditView {
    pub id: AuditId,
    /// Id of the member, API key, subscriber or customer that acted, or `platform`.
    pub actor: String,
    /// Name of the action, such as `api_key.revoked`.
    pub action: String,
    /// Id of the object of the action.
    pub target: String,
    pub at: Timestamp,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, actor, action, target, at, .. } = entry;
        Self { id, actor, action, target, at }
    }
}

/// Webhook endpoint to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    /// `https` URL at a public address, at most 2,000 bytes.
    pub url: String,
    pub description: Option<Line>,
    /// Event types that the endpoint receives. If left out or empty, the endpoint receives all types.
    pub event_types: Option<Vec<EventType>>,
}

/// Fields of an endpoint that a merge patch can change.
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

/// Webhook endpoint.
#[derive(Serialize, ToSchema)]
pub struct EndpointView {
    pub id: WebhookEndpointId,
    pub url: EndpointUrl,
    #[schema(required)]
    pub description: Option<Line>,
    /// Event types that the endpoint receives; empty for all types.
    pub event_types: Vec<EventType>,
    pub status: EndpointStatus,
    /// Reason why the endpoint is disabled; `null` while it is enabled.
    #[schema(required)]
    pub disabled_reason: Option<DisabledReason>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Secret with which the receiver verifies signatures. Present only in the response that creates the secret,
    /// and never shown again.
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

/// Delivery of one message to one webhook endpoint.
#[derive(Serialize, ToSchema)]
pub struct DeliveryView {
    pub id: DeliveryId,
    pub webhook_endpoint_id: WebhookEndpointId,
    /// Id of the event, sent in the header `webhook-id`.
    pub event_id: EventId,
    /// Type of the event, or `webhook.test`.
    pub event_type: String,
    pub status: DeliveryStatus,
    /// Body of the message as it is signed and sent.
    pub body: String,
    /// Latest 15 attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Time at which the delivery is due for another attempt; `null` if no attempt is due. While an attempt is
    /// already queued, this is the time at which the attempt is queued again if it has not been made.
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

/// Health of the platform.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`. A failed health check returns 503 instead.
    pub status: &'static str,
}

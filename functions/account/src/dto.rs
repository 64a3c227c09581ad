//! What the account family takes and gives.

use domain::{
    api_key::KeyKind,
    email::Email,
    id::{AccountId, ApiKeyId, AuditId, MemberId},
    scope::{Grant, Role},
    text::Name,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::entities::{Account, ApiKeyRecord, AuditEntry, KeyStatus, Limits, Member};
use utoipa::ToSchema;

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
    pub scopes: Option<Vec<Grant>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How long the old key goes on working, 0–604,800 seconds; a day when left out.
    pub overlap_seconds: Option<u32>,
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

#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`; a platform that is not well answers 503.
    pub status: &'static str,
}

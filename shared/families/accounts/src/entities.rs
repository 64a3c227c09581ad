//! Table items of accounts, members, API keys and audit entries.

use domain::{
    id::AccountId,
    scope::{Grant, Role},
    secret::SigningKey,
    text::Name,
};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, keys::GSI1};

use crate::{
    api_key::{ApiKey, KeyKind},
    id::{ApiKeyId, AuditId, MemberId},
};

/// Rate limits of an account, in requests per minute.
///
/// Limits per IP address apply to requests with a publishable key. All IPv6 addresses of one /64 network count as
/// one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Joins from one IP address. The same limit applies to enrolments, which are counted separately.
    pub joins_per_ip_per_minute: u64,
    /// Visits through referral links from one IP address.
    #[serde(default = "clicks")]
    pub clicks_per_ip_per_minute: u64,
    /// Claims of codes from one IP address.
    pub claims_per_ip_per_minute: u64,
    /// Announced imports of the account.
    pub uploads_per_minute: u64,
    /// Analytics requests of the account.
    pub analytics_per_minute: u64,
}

/// Returns the limit of accounts that were stored before this limit existed.
fn clicks() -> u64 {
    Limits::default().clicks_per_ip_per_minute
}

impl Default for Limits {
    /// Returns the default limits. Many people in an office or on a campus share one IP address, so the limits of
    /// joins and visits are high.
    fn default() -> Self {
        Self {
            joins_per_ip_per_minute: 1000,
            clicks_per_ip_per_minute: 1000,
            claims_per_ip_per_minute: 100,
            uploads_per_minute: 10,
            analytics_per_minute: 60,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Account {
    pub id: AccountId,
    pub name: Name,
    pub limits: Limits,
    pub created_at: Timestamp,
    pub rev: u64,
}

impl Account {
    pub fn key_of(id: &AccountId) -> Key {
        Key::new(&["ACCT", id.as_str()], &["META"])
    }
}

impl Entity for Account {
    const TYPE: &'static str = "account";
    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }
}

/// Signing key of an account. A separate item, because the account's item is shown and the key is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSigning {
    pub account_id: AccountId,
    pub signing_key: SigningKey,
    pub rev: u64,
}

impl AccountSigning {
    pub fn key_of(id: &AccountId) -> Key {
        Key::new(&["ACCT", id.as_str()], &["SIGNING"])
    }
}

impl Entity for AccountSigning {
    const TYPE: &'static str = "account_signing";
    fn key(&self) -> Key {
        Self::key_of(&self.account_id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: MemberId,
    pub account_id: AccountId,
    pub email: String,
    /// Hash of the email address that the member signs in with; see [`crate::login_of`].
    pub login: String,
    pub role: Role,
    /// Claim `sub` of the issuer's token, bound at the first sign-in. `None` until then.
    pub subject: Option<String>,
    pub created_at: Timestamp,
    pub rev: u64,
}

impl Member {
    pub fn key_of(account: &AccountId, id: &MemberId) -> Key {
        Key::new(&["ACCT", account.as_str()], &["MEMBER", id.as_str()])
    }
}

impl Entity for Member {
    const TYPE: &'static str = "member";
    fn key(&self) -> Key {
        Self::key_of(&self.account_id, &self.id)
    }
}

/// Reference from a verified email address to a member of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub login: String,
    pub account_id: AccountId,
    pub member_id: MemberId,
}

impl Login {
    pub fn partition(login: &str) -> String {
        table::join(&["LOGIN", login])
    }

    pub fn key_of(login: &str, account: &AccountId) -> Key {
        Key::new(&["LOGIN", login], &["ACCT", account.as_str()])
    }
}

impl Entity for Login {
    const TYPE: &'static str = "login";
    fn key(&self) -> Key {
        Self::key_of(&self.login, &self.account_id)
    }
}

/// Status of an API key. A rotated key stays `active` and works until its `valid_until`. A `revoked` key does not
/// work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    Active,
    Revoked,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    pub id: ApiKeyId,
    pub account_id: AccountId,
    pub kind: KeyKind,
    pub name: Option<Name>,
    pub scopes: Vec<Grant>,
    pub prefix: String,
    pub hash: String,
    pub status: KeyStatus,
    /// Time until which a rotated key still works. `None` for a key that was not rotated.
    pub valid_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub rev: u64,
}

impl ApiKeyRecord {
    /// Creates the record of a new key, with the hash of its secret.
    pub fn of(
        key: &ApiKey,
        account: &AccountId,
        name: Option<Name>,
        scopes: Vec<Grant>,
        now: Timestamp,
    ) -> Self {
        Self {
            id: key.id.clone(),
            account_id: account.clone(),
            kind: key.kind,
            name,
            scopes,
            prefix: key.prefix(),
            hash: key.hash(),
            status: KeyStatus::Active,
            valid_until: None,
            created_at: now,
            rev: 1,
        }
    }

    pub fn key_of(id: &ApiKeyId) -> Key {
        Key::new(&["KEY", id.as_str()], &["META"])
    }

    pub fn list_partition(account: &AccountId) -> String {
        table::join(&["ACCTKEYS", account.as_str()])
    }
}

impl Entity for ApiKeyRecord {
    const TYPE: &'static str = "api_key";
    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        vec![IndexKey {
            index: GSI1,
            pk: Self::list_partition(&self.account_id),
            sk: self.id.as_str().to_owned(),
        }]
    }
}

/// Entry of the audit log: an actor, an action and its target. Kept for 400 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditEntry {
    pub id: AuditId,
    pub account_id: AccountId,
    /// Id of the member, API key or other actor, or `platform`.
    pub actor: String,
    /// Name of the action, e.g. `api_key.revoked`.
    pub action: String,
    /// Id of the object that the action changed.
    pub target: String,
    pub at: Timestamp,
}

impl AuditEntry {
    pub fn new(account_id: &AccountId, actor: &str, action: &str, target: &str, now: Timestamp) -> Self {
        Self {
            id: AuditId::new(now),
            account_id: account_id.clone(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            at: now,
        }
    }

    pub fn partition(account: &AccountId) -> String {
        table::join(&["AUDIT", account.as_str()])
    }
}

impl Entity for AuditEntry {
    const TYPE: &'static str = "audit_entry";
    fn key(&self) -> Key {
        Key { pk: Self::partition(&self.account_id), sk: self.id.as_str().to_owned() }
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + (400 * 24).hours())
    }
}

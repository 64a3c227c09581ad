//! Accounts, who may act for them, and what they did.

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

/// Requests allowed within a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub joins_per_ip_per_minute: u64,
    #[serde(default = "clicks")]
    pub clicks_per_ip_per_minute: u64,
    pub claims_per_ip_per_minute: u64,
    pub uploads_per_minute: u64,
    pub analytics_per_minute: u64,
}

/// The limit of accounts from before there was such a limit.
fn clicks() -> u64 {
    Limits::default().clicks_per_ip_per_minute
}

impl Default for Limits {
    /// An office or a campus shares one address, so joining is generous, and following a link as well.
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

/// The account's signing key, apart from what is shown of the account.
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
    /// What the member signs in as: hash of the address's identity.
    pub login: String,
    pub role: Role,
    /// `sub` of the issuer, bound at the first sign-in.
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

/// Leads from a verified address to a membership.
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
    /// After rotation: until when the old key still works.
    pub valid_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub rev: u64,
}

impl ApiKeyRecord {
    /// The record of a new key: all of it but the secret.
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

/// Who did what to what; kept 400 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditEntry {
    pub id: AuditId,
    pub account_id: AccountId,
    /// The id of the member or key, or `platform`.
    pub actor: String,
    /// e.g. `api_key.revoked`.
    pub action: String,
    /// The id of what was acted on.
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

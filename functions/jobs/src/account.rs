//! New accounts. They are an operator's to make, so no route does it.

use accounts::{
    api_key::{ApiKey, KeyKind},
    entities::{Account, AccountSigning, ApiKeyRecord, AuditEntry, Limits, Member},
    id::{ApiKeyId, MemberId},
};
use domain::{
    email::Email,
    id::AccountId,
    scope::{Grant, Role},
    secret::SigningKey,
    text::Name,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use table::{CommitError, Table};

/// Whose account it will be.
#[derive(Debug, Deserialize)]
pub struct AccountRequest {
    pub name: Name,
    /// Address that the first owner signs in with.
    pub owner: Email,
}

/// A new account and a key of each kind, which are shown here and never again.
#[derive(Serialize)]
pub struct NewAccount {
    pub account_id: AccountId,
    pub publishable_key: String,
    pub secret_key: String,
}

/// Makes an account with an owner, a publishable key and a secret key that may do everything.
///
/// # Errors
/// When the table does not take it; then nothing of it is there.
pub async fn create(table: &Table, request: AccountRequest) -> Result<NewAccount, CommitError> {
    let now = Timestamp::now();
    let id = AccountId::new(now);
    let account =
        Account { id: id.clone(), name: request.name, limits: Limits::default(), created_at: now, rev: 1 };
    let signing = AccountSigning { account_id: id.clone(), signing_key: SigningKey::generate(), rev: 1 };
    let owner = Member {
        id: MemberId::new(now),
        account_id: id.clone(),
        login: accounts::login_of(&request.owner),
        email: request.owner.into(),
        role: Role::Owner,
        subject: None,
        created_at: now,
        rev: 1,
    };
    let publishable = ApiKey::generate(ApiKeyId::new(now), KeyKind::Publishable);
    let secret = ApiKey::generate(ApiKeyId::new(now), KeyKind::Secret);
    let keys = [
        ApiKeyRecord::of(&publishable, &id, None, Vec::new(), now),
        ApiKeyRecord::of(&secret, &id, None, vec![Grant::all()], now),
    ];
    let audit = |action, object: &str| AuditEntry::new(&id, "platform", action, object, now);
    let audit = [
        audit("account.created", id.as_str()),
        audit("api_key.created", keys[0].id.as_str()),
        audit("api_key.created", keys[1].id.as_str()),
    ];
    accounts::create(table, &account, &signing, &owner, &keys, &audit).await?;
    Ok(NewAccount { account_id: id, publishable_key: publishable.reveal(), secret_key: secret.reveal() })
}

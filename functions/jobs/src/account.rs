//! Creation of accounts. Only an operator creates accounts, so there is no route for it.

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

/// Account to create, with its first owner.
#[derive(Debug, Deserialize)]
pub struct AccountRequest {
    pub name: Name,
    /// Email address with which the first owner signs in.
    pub owner: Email,
}

/// New account with an API key of each kind. The keys are shown only here and never again.
#[derive(Serialize)]
pub struct NewAccount {
    pub account_id: AccountId,
    pub publishable_key: String,
    pub secret_key: String,
}

/// Creates an account with an owner, a publishable key, and a secret key with the scope `*`.
///
/// All items are written in one transaction: either all of them exist afterwards or none.
///
/// # Errors
/// If the transaction failed, or if its outcome is unknown.
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

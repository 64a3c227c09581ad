//! Reads and writes of accounts, members, API keys and the audit log.

use domain::{email::Email, id::AccountId, secret};
use table::{
    Commit, CommitError, Cursor, Entity, Page, Query, Range, Table, TableError, join,
    lookup::{Lookup, one},
};

use crate::{
    entities::{Account, AccountSigning, ApiKeyRecord, AuditEntry, Login, Member},
    id::{ApiKeyId, MemberId},
    patterns,
};

/// Returns the login of a verified email address: a hash of its mailbox.
pub fn login_of(email: &Email) -> String {
    secret::sha256(email.mailbox().as_bytes())
}

/// Reads an account with its signing key.
pub async fn read(table: &Table, id: &AccountId) -> Result<Option<(Account, AccountSigning)>, TableError> {
    let wanted = (one(Account::key_of(id)), one(AccountSigning::key_of(id)));
    let (account, signing) = table.look_up(Lookup::new(&patterns::ACCOUNT, wanted)).await?;
    Ok(account.zip(signing))
}

/// Reads the signing key of an account.
///
/// # Errors
/// If the account does not exist, or the table is unavailable.
pub async fn signing_key(table: &Table, id: &AccountId) -> Result<domain::secret::SigningKey, TableError> {
    let found = read(table, id).await?;
    let missing = || TableError::Malformed { entity: "account", detail: "it has no signing key".to_owned() };
    found.map(|(_, signing)| signing.signing_key).ok_or_else(missing)
}

/// Creates an account with its first owner and its first API keys.
pub async fn create(
    table: &Table,
    account: &Account,
    signing: &AccountSigning,
    owner: &Member,
    keys: &[ApiKeyRecord],
    audit: &[AuditEntry],
) -> Result<(), CommitError> {
    let commit = Commit::new(&patterns::ACCOUNT_WRITE)
        .create("account", account)
        .create("signing", signing)
        .create("member", owner)
        .create("login", &login_item(owner));
    let commit = keys.iter().fold(commit, |commit, key| commit.create("key", key));
    audit.iter().fold(commit, |commit, entry| commit.create("audit", entry)).apply(table).await
}

/// Replaces the account that was read at revision `rev`.
pub async fn update(
    table: &Table,
    account: &Account,
    rev: u64,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    Commit::new(&patterns::ACCOUNT_WRITE)
        .replace("account", account, rev)
        .create("audit", audit)
        .apply(table)
        .await
}

fn login_item(member: &Member) -> Login {
    Login { login: member.login.clone(), account_id: member.account_id.clone(), member_id: member.id.clone() }
}

/// Returns the writes that add a member. The write with the label `login` fails if the account has a member with the
/// address.
pub fn add_member(member: &Member, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::MEMBER_WRITE)
        .create("member", member)
        .create("login", &login_item(member))
        .create("audit", audit)
}

/// Replaces the member that was read at revision `rev`. Conditional on the `remaining` owner being unchanged, so that
/// concurrent changes cannot remove the last owner.
pub async fn update_member(
    table: &Table,
    member: &Member,
    rev: u64,
    remaining: Option<&Member>,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    let commit = Commit::new(&patterns::MEMBER_WRITE).replace("member", member, rev).create("audit", audit);
    with_owner(commit, remaining).apply(table).await
}

fn with_owner(commit: Commit, owner: Option<&Member>) -> Commit {
    match owner {
        Some(owner) => commit.expect("owner", &owner.key(), owner.rev),
        None => commit,
    }
}

/// Binds a member permanently to the subject that signed in. Returns `None` if the member has changed since it was
/// read.
pub async fn bind_member(
    table: &Table,
    member: &Member,
    subject: &str,
) -> Result<Option<Member>, TableError> {
    let bound = Member { subject: Some(subject.to_owned()), rev: member.rev + 1, ..member.clone() };
    let commit = Commit::new(&patterns::MEMBER_BIND).replace("member", &bound, member.rev);
    match commit.apply(table).await {
        Ok(()) => Ok(Some(bound)),
        Err(CommitError::Condition(_)) => Ok(None),
        Err(CommitError::Table(error)) => Err(error),
    }
}

/// Removes a member. Conditional on the `remaining` owner being unchanged, so that concurrent changes cannot remove
/// the last owner.
pub async fn remove_member(
    table: &Table,
    member: &Member,
    remaining: Option<&Member>,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    let commit = Commit::new(&patterns::MEMBER_WRITE)
        .delete("member", &member.key(), member.rev)
        .purge("login", &Login::key_of(&member.login, &member.account_id))
        .create("audit", audit);
    with_owner(commit, remaining).apply(table).await
}

/// Reads a member.
pub async fn member(table: &Table, account: &AccountId, id: &MemberId) -> Result<Option<Member>, TableError> {
    table.get(&patterns::MEMBER, &Member::key_of(account, id)).await
}

/// Returns all members. They are not paged: an account has tens of members, not thousands.
pub async fn members(table: &Table, account: &AccountId) -> Result<Vec<Member>, TableError> {
    let query = Query {
        range: Range::BeginsWith("MEMBER#".to_owned()),
        consistent: true,
        ..Query::partition(join(&["ACCT", account.as_str()]))
    };
    table.query(&patterns::MEMBERS, query).await
}

/// Returns the accounts and members that a login belongs to, at most 100.
pub async fn logins(table: &Table, login: &str) -> Result<Vec<Login>, TableError> {
    let query = Query { consistent: true, limit: Some(100), ..Query::partition(Login::partition(login)) };
    table.query(&patterns::LOGINS, query).await
}

/// Reads the record of an API key, of any account.
pub async fn api_key(table: &Table, id: &ApiKeyId) -> Result<Option<ApiKeyRecord>, TableError> {
    table.get(&patterns::API_KEY, &ApiKeyRecord::key_of(id)).await
}

/// Lists the API keys of an account, oldest first.
pub async fn api_keys(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<ApiKeyRecord>, TableError> {
    table.page(&patterns::API_KEYS, &[ApiKeyRecord::list_partition(account)], false, after, limit).await
}

/// Returns the writes that add an API key.
pub fn add_api_key(key: &ApiKeyRecord, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::API_KEY_WRITE).create("key", key).create("audit", audit)
}

/// Returns the writes of a rotation: they add the new key, and replace the old key, read at revision `rev`, by one
/// that expires.
pub fn rotate_api_key(new: &ApiKeyRecord, old: &ApiKeyRecord, rev: u64, audit: &AuditEntry) -> Commit {
    add_api_key(new, audit).replace("old", old, rev)
}

/// Replaces the API key that was read at revision `rev`.
pub async fn update_api_key(
    table: &Table,
    key: &ApiKeyRecord,
    rev: u64,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    Commit::new(&patterns::API_KEY_WRITE).replace("key", key, rev).create("audit", audit).apply(table).await
}

/// Lists the audit log of an account, newest first.
pub async fn audit_log(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<AuditEntry>, TableError> {
    table.page(&patterns::AUDIT_LOG, &[AuditEntry::partition(account)], true, after, limit).await
}

/// Returns true if the write failed because the account already has a member with the address.
pub fn is_login_taken(error: &CommitError) -> bool {
    error.failed("login").is_some()
}

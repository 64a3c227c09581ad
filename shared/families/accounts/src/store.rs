//! Accounts, members, API keys and the audit log.

use domain::{email::Email, id::AccountId, secret};
use table::{Commit, CommitError, Cursor, Entity, Page, Query, Range, Table, TableError, join};

use crate::{
    entities::{Account, AccountSigning, ApiKeyRecord, AuditEntry, Login, Member},
    id::{ApiKeyId, MemberId},
    patterns,
};

/// What a verified address signs in as.
pub fn login_of(email: &Email) -> String {
    secret::sha256(email.mailbox().as_bytes())
}

/// The account with its signing key.
pub async fn read(table: &Table, id: &AccountId) -> Result<Option<(Account, AccountSigning)>, TableError> {
    let keys = [Account::key_of(id), AccountSigning::key_of(id)];
    let mut found = table.batch_get(&patterns::ACCOUNT, &keys).await?;
    match (found.remove(&keys[0]), found.remove(&keys[1])) {
        (Some(account), Some(signing)) => {
            Ok(Some((Entity::from_item(account)?, Entity::from_item(signing)?)))
        }
        _ => Ok(None),
    }
}

/// The account's signing key.
///
/// # Errors
/// Also when there is no such account.
pub async fn signing_key(table: &Table, id: &AccountId) -> Result<domain::secret::SigningKey, TableError> {
    let found = read(table, id).await?;
    let missing = || TableError::Malformed { entity: "account", detail: "it has no signing key".to_owned() };
    found.map(|(_, signing)| signing.signing_key).ok_or_else(missing)
}

/// A new account with its first owner and its first keys.
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

/// Changes the account read at `rev`.
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

/// The writes that add a member; the label `login` fails when the address is taken in this account.
pub fn add_member(member: &Member, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::MEMBER_WRITE)
        .create("member", member)
        .create("login", &login_item(member))
        .create("audit", audit)
}

/// Changes the member read at `rev`, as long as the `remaining` owner stays as it was read.
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

/// Binds a membership to who signed in, for good. `None` when somebody else was faster.
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

/// Removes a member, as long as the `remaining` owner stays as it was read.
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

pub async fn member(table: &Table, account: &AccountId, id: &MemberId) -> Result<Option<Member>, TableError> {
    table.get(&patterns::MEMBER, &Member::key_of(account, id)).await
}

/// All members; an account has tens, not thousands.
pub async fn members(table: &Table, account: &AccountId) -> Result<Vec<Member>, TableError> {
    let query = Query {
        range: Range::BeginsWith("MEMBER#".to_owned()),
        consistent: true,
        ..Query::partition(join(&["ACCT", account.as_str()]))
    };
    table.query(&patterns::MEMBERS, query).await
}

/// The memberships of whoever signs in with this address.
pub async fn logins(table: &Table, login: &str) -> Result<Vec<Login>, TableError> {
    let query = Query { consistent: true, limit: Some(100), ..Query::partition(Login::partition(login)) };
    table.query(&patterns::LOGINS, query).await
}

pub async fn api_key(table: &Table, id: &ApiKeyId) -> Result<Option<ApiKeyRecord>, TableError> {
    table.get(&patterns::API_KEY, &ApiKeyRecord::key_of(id)).await
}

pub async fn api_keys(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<ApiKeyRecord>, TableError> {
    table.page(&patterns::API_KEYS, &[ApiKeyRecord::list_partition(account)], false, after, limit).await
}

/// The writes that add a key.
pub fn add_api_key(key: &ApiKeyRecord, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::API_KEY_WRITE).create("key", key).create("audit", audit)
}

/// The writes that put a new key beside the one read at `rev`, whose time becomes limited.
pub fn rotate_api_key(new: &ApiKeyRecord, old: &ApiKeyRecord, rev: u64, audit: &AuditEntry) -> Commit {
    add_api_key(new, audit).replace("old", old, rev)
}

/// Changes the key read at `rev`.
pub async fn update_api_key(
    table: &Table,
    key: &ApiKeyRecord,
    rev: u64,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    Commit::new(&patterns::API_KEY_WRITE).replace("key", key, rev).create("audit", audit).apply(table).await
}

/// Newest first.
pub async fn audit_log(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<AuditEntry>, TableError> {
    table.page(&patterns::AUDIT_LOG, &[AuditEntry::partition(account)], true, after, limit).await
}

/// Whether a member was not added because the address is one's already.
pub fn is_login_taken(error: &CommitError) -> bool {
    error.failed("login").is_some()
}

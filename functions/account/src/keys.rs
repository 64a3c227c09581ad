//! API keys of an account.
//!
//! A key is shown once, when it is created. Only its hash is stored. After a rotation the old key remains valid for
//! a chosen time. A revoked key is refused at once.

use accounts::{
    api_key::{ApiKey, KeyKind},
    entities::{ApiKeyRecord, AuditEntry, KeyStatus},
    id::ApiKeyId,
};
use api::{
    App, Committed, List, PageQuery, PathId, Post, Principal, PrincipalKind, Problem, Query, created,
    problems, respond,
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use domain::{id::AccountId, scope::Grant, text::Name};
use table::Commit;

use crate::dto::{ApiKeyView, NewApiKey, Rotation};

/// Lists the API keys of the account, oldest first. Shows only the prefix of each key.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "account", params(PageQuery),
    responses((status = OK, body = List<ApiKeyView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<ApiKeyView>>, Problem> {
    let keys = accounts::api_keys(&app.table, &principal.account_id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(keys.map(|key| ApiKeyView::from(&key)).into()))
}

/// Creates an API key.
///
/// Only this response contains the complete key. A repeated request with the same `Idempotency-Key` returns the
/// record without the key. A secret key cannot grant scopes that it does not have.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "account", request_body = NewApiKey,
    responses((status = CREATED, body = ApiKeyView)))]
pub async fn create(
    State(app): State<App>,
    principal: Principal,
    post: Post<NewApiKey>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let scopes = match (post.body.kind, &post.body.scopes) {
        (KeyKind::Secret, None) => vec![Grant::all()],
        (KeyKind::Secret, Some(scopes)) if scopes.is_empty() => {
            return Err(Problem::field("scopes", "is empty: a secret key needs at least one scope"));
        }
        (KeyKind::Secret, Some(scopes)) => scopes.iter().cloned().map(Grant::from).collect(),
        (KeyKind::Publishable, None) => Vec::new(),
        (KeyKind::Publishable, Some(scopes)) if scopes.is_empty() => Vec::new(),
        (KeyKind::Publishable, Some(_)) => {
            return Err(Problem::field("scopes", "is allowed only for a secret key"));
        }
    };
    require_own(&principal, &scopes)?;
    let (key, record) = make(&app, &principal.account_id, post.body.kind, post.body.name.clone(), scopes);
    let audit = audit(&app, &principal, "api_key.created", &record.id);
    hand_out(&app, &post, &key, &record, accounts::add_api_key(&record, &audit)).await
}

/// Replaces an API key with a new one of the same kind, name and scopes.
///
/// The old key remains valid for `overlap_seconds`. Only this response contains the complete new key. A repeated
/// request with the same `Idempotency-Key` returns the record without the key.
#[utoipa::path(post, path = "/api/v1/api-keys/{id}/rotate", tag = "account",
    params(("id" = ApiKeyId, Path)), request_body = Rotation,
    responses((status = CREATED, body = ApiKeyView)))]
pub async fn rotate(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ApiKeyId>,
    post: Post<Rotation>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let overlap = post.body.overlap()?;
    let old = own_key(&app, &principal.account_id, &id).await?;
    let now = app.now();
    if old.status != KeyStatus::Active || old.valid_until.is_some() {
        // The same request may have been sent twice at the same time, and the other copy rotated the key.
        if let Some(answer) = post.answered(&app).await? {
            return Ok(respond(answer));
        }
        return Err(Problem::because(
            accounts::problems::KEY_NOT_ACTIVE,
            "The key was already rotated or revoked.",
        ));
    }
    require_own(&principal, &old.scopes)?;
    let (key, record) = make(&app, &principal.account_id, old.kind, old.name.clone(), old.scopes.clone());
    let rev = old.rev;
    let ending = ApiKeyRecord { valid_until: Some(now + overlap), rev: rev + 1, ..old };
    let audit = audit(&app, &principal, "api_key.rotated", &id);
    let commit = accounts::rotate_api_key(&record, &ending, rev, &audit);
    hand_out(&app, &post, &key, &record, commit).await
}

/// Revokes an API key immediately and permanently.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "account",
    params(("id" = ApiKeyId, Path)), responses((status = NO_CONTENT)))]
pub async fn revoke(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    let key = own_key(&app, &principal.account_id, &id).await?;
    if key.status == KeyStatus::Active {
        let rev = key.rev;
        let revoked = ApiKeyRecord { status: KeyStatus::Revoked, rev: rev + 1, ..key };
        let audit = audit(&app, &principal, "api_key.revoked", &id);
        accounts::update_api_key(&app.table, &revoked, rev, &audit).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Commits a new key and responds with it. The answer that is stored for repeated requests does not contain the
/// key.
async fn hand_out<T>(
    app: &App,
    post: &Post<T>,
    key: &ApiKey,
    record: &ApiKeyRecord,
    commit: Commit,
) -> Result<Response, Problem> {
    let view = ApiKeyView::from(record);
    let location = format!("/api/v1/api-keys/{}", record.id);
    let remembered = created(location.clone(), &view)?;
    match post.commit(app, commit, &remembered).await? {
        Committed::Before(answer) => Ok(respond(answer)),
        Committed::Fresh => {
            let shown = ApiKeyView { key: Some(key.reveal()), ..view };
            Ok(respond(created(location, &shown)?).into_response())
        }
    }
}

fn make(
    app: &App,
    account: &AccountId,
    kind: KeyKind,
    name: Option<Name>,
    scopes: Vec<Grant>,
) -> (ApiKey, ApiKeyRecord) {
    let now = app.now();
    let key = ApiKey::generate(ApiKeyId::new(now), kind);
    let record = ApiKeyRecord::of(&key, account, name, scopes, now);
    (key, record)
}

/// Checks that a secret key grants only scopes that it has itself.
fn require_own(principal: &Principal, wanted: &[Grant]) -> Result<(), Problem> {
    let PrincipalKind::SecretKey(own) = &principal.kind else { return Ok(()) };
    if wanted.iter().all(|grant| own.iter().any(|given| given.includes(grant))) {
        return Ok(());
    }
    Err(Problem::because(problems::INSUFFICIENT_SCOPE, "A key can't give scopes that it doesn't have."))
}

async fn own_key(app: &App, account: &AccountId, id: &ApiKeyId) -> Result<ApiKeyRecord, Problem> {
    let key = accounts::api_key(&app.table, id).await?.filter(|key| key.account_id == *account);
    key.ok_or_else(|| problems::NOT_FOUND.into())
}

fn audit(app: &App, principal: &Principal, action: &str, key: &ApiKeyId) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, key.as_str(), app.now())
}

//! Routes of code pools.

use accounts::entities::AuditEntry;
use api::{
    App, IfMatch, Json, List, PageQuery, PathId, Post, Principal, Problem, Query, created, etag, existing,
    merge_patch, problems, respond,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use codes::{
    code_pool::{CodePool, CodePoolSettings},
    code_pools,
    id::CodePoolId,
};
use domain::id::AccountId;
use families::EventView;
use projection::events;
use table::CommitError;

use crate::dto::{CodePoolView, CodePoolWithCounts};

/// Reads a code pool of the account. A pool of another account is not found (404).
pub async fn own(app: &App, account: &AccountId, id: &CodePoolId) -> Result<CodePool, Problem> {
    let found = code_pools::read(&app.table, account, id).await?;
    existing(found, "code pool")
}

/// Creates a code pool.
///
/// Only `name` is required.
#[utoipa::path(post, path = "/api/v1/code-pools", tag = "code-distribution", request_body = CodePoolSettings,
    responses((status = CREATED, body = CodePoolView)))]
pub async fn create(
    State(app): State<App>,
    principal: Principal,
    post: Post<CodePoolSettings>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let pool = CodePool::new(principal.account_id.clone(), post.body.clone(), app.now());
    let audit = audit(&app, &principal, "code_pool.created", &pool.id);
    let (location, rev) = (format!("/api/v1/code-pools/{}", pool.id), pool.rev);
    let commit = code_pools::create(&pool, &audit);
    let answer = created(location, &CodePoolView::from(pool))?;
    let committed = post.commit(&app, commit, &answer).await?;
    Ok((etag(rev), respond(committed.answer_or(answer))).into_response())
}

/// Lists the account's code pools, oldest first.
#[utoipa::path(get, path = "/api/v1/code-pools", tag = "code-distribution", params(PageQuery),
    responses((status = OK, body = List<CodePoolView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<CodePoolView>>, Problem> {
    let found = code_pools::list(&app.table, &principal.account_id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(CodePoolView::from).into()))
}

/// Returns a code pool with its numbers of codes.
#[utoipa::path(get, path = "/api/v1/code-pools/{id}", tag = "code-distribution",
    params(("id" = CodePoolId, Path)), responses((status = OK, body = CodePoolWithCounts)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
) -> Result<Response, Problem> {
    let pool = own(&app, &principal.account_id, &id).await?;
    let counts = code_pools::stats(&app.table, &id).await?.ok_or(problems::NOT_FOUND)?;
    let rev = pool.rev;
    let view = CodePoolWithCounts { pool: pool.into(), counts: counts.into() };
    Ok((etag(rev), axum::Json(view)).into_response())
}

/// Changes settings of a code pool (RFC 7396 merge patch).
///
/// `platform` can't be changed, because the pool's codes were imported for it.
#[utoipa::path(patch, path = "/api/v1/code-pools/{id}", tag = "code-distribution",
    params(("id" = CodePoolId, Path), ("If-Match" = String, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = CodePoolView)))]
pub async fn patch(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
    seen: IfMatch,
    Json(patch): Json<serde_json::Value>,
) -> Result<Response, Problem> {
    let old = own(&app, &principal.account_id, &id).await?;
    seen.check(old.rev)?;
    if old.deleting {
        return Err(codes::problems::CODE_POOL_DELETING.into());
    }
    let settings: CodePoolSettings = merge_patch(&old.settings, &patch)?;
    if settings.platform != old.settings.platform {
        return Err(Problem::field("platform", "can't be changed: the pool's codes were imported for it"));
    }
    let new = old.with_settings(settings, app.now());
    let audit = audit(&app, &principal, "code_pool.updated", &id);
    match code_pools::update(&app.table, &new, old.rev, &audit).await {
        Ok(()) => Ok((etag(new.rev), axum::Json(CodePoolView::from(new))).into_response()),
        Err(CommitError::Condition(_)) => Err(problems::PRECONDITION_FAILED.into()),
        Err(error) => Err(error.into()),
    }
}

fn audit(app: &App, principal: &Principal, action: &str, id: &CodePoolId) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, id.as_str(), app.now())
}

/// Deletes a code pool with its codes, claims and files.
///
/// The deletion runs in the background. Until it is finished, the pool has `deleting: true`; afterwards the pool is
/// not found (404).
#[utoipa::path(delete, path = "/api/v1/code-pools/{id}", tag = "code-distribution",
    params(("id" = CodePoolId, Path)), responses((status = ACCEPTED)))]
pub async fn delete(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
    seen: Option<IfMatch>,
) -> Result<Response, Problem> {
    let pool = own(&app, &principal.account_id, &id).await?;
    if let Some(seen) = seen {
        seen.check(pool.rev)?;
    }
    let audit = audit(&app, &principal, "code_pool.deleted", &id);
    code_pools::begin_delete(&app.table, &pool, &audit, app.now()).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/code-pools/{id}"))]).into_response())
}

/// Lists the events of a code pool, newest first.
///
/// Events are kept for 30 days.
#[utoipa::path(get, path = "/api/v1/code-pools/{id}/events", tag = "code-distribution",
    params(("id" = CodePoolId, Path), PageQuery), responses((status = OK, body = List<EventView>)))]
pub async fn events(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<EventView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = events::list(&app.table, id.as_str(), page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(EventView::from).into()))
}

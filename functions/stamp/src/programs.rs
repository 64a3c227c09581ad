//! Routes of stamp-card programs.

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
use domain::id::{AccountId, ProgramId};
use families::EventView;
use projection::events;
use stamps::{
    programs,
    stamp::{Program, ProgramSettings},
};
use table::CommitError;

use crate::dto::{ProgramView, ProgramWithCounts};

/// Reads a program of the account. A program of another account is not found (404).
pub async fn own(app: &App, account: &AccountId, id: &ProgramId) -> Result<Program, Problem> {
    let found = programs::read(&app.table, account, id).await?;
    existing(found, "program")
}

/// Creates a stamp-card program.
///
/// Only `name` and `reward` are required.
#[utoipa::path(post, path = "/api/v1/programs", tag = "stamp", request_body = ProgramSettings,
    responses((status = CREATED, body = ProgramView)))]
pub async fn create(
    State(app): State<App>,
    principal: Principal,
    post: Post<ProgramSettings>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let program = Program::new(principal.account_id.clone(), post.body.clone(), app.now());
    let audit = audit(&app, &principal, "program.created", &program.id);
    let (location, rev) = (format!("/api/v1/programs/{}", program.id), program.rev);
    let commit = programs::create(&program, &audit);
    let answer = created(location, &ProgramView::from(program))?;
    let committed = post.commit(&app, commit, &answer).await?;
    Ok((etag(rev), respond(committed.answer_or(answer))).into_response())
}

/// Lists the account's programs, oldest first.
#[utoipa::path(get, path = "/api/v1/programs", tag = "stamp", params(PageQuery),
    responses((status = OK, body = List<ProgramView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<ProgramView>>, Problem> {
    let found = programs::list(&app.table, &principal.account_id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(ProgramView::from).into()))
}

/// Returns a program with its numbers.
#[utoipa::path(get, path = "/api/v1/programs/{id}", tag = "stamp",
    params(("id" = ProgramId, Path)), responses((status = OK, body = ProgramWithCounts)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ProgramId>,
) -> Result<Response, Problem> {
    let program = own(&app, &principal.account_id, &id).await?;
    let counts = programs::stats(&app.table, &id).await?;
    let rev = program.rev;
    let view = ProgramWithCounts { program: program.into(), counts: counts.into() };
    Ok((etag(rev), axum::Json(view)).into_response())
}

/// Changes settings of a program (RFC 7396 merge patch).
#[utoipa::path(patch, path = "/api/v1/programs/{id}", tag = "stamp",
    params(("id" = ProgramId, Path), ("If-Match" = String, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = ProgramView)))]
pub async fn patch(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ProgramId>,
    seen: IfMatch,
    Json(patch): Json<serde_json::Value>,
) -> Result<Response, Problem> {
    let old = own(&app, &principal.account_id, &id).await?;
    seen.check(old.rev)?;
    if old.deleting {
        return Err(stamps::problems::PROGRAM_DELETING.into());
    }
    let settings: ProgramSettings = merge_patch(&old.settings, &patch)?;
    let new = old.with_settings(settings, app.now());
    let audit = audit(&app, &principal, "program.updated", &id);
    match programs::update(&app.table, &old, &new, &audit).await {
        Ok(()) => Ok((etag(new.rev), axum::Json(ProgramView::from(new))).into_response()),
        Err(CommitError::Condition(_)) => Err(problems::PRECONDITION_FAILED.into()),
        Err(error) => Err(error.into()),
    }
}

fn audit(app: &App, principal: &Principal, action: &str, id: &ProgramId) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, id.as_str(), app.now())
}

/// Deletes a program with its cards, stamps and rewards.
///
/// The account keeps the customers. Campaigns of the program send no more messages. The deletion runs in the
/// background. Until it is finished, the program has `deleting: true`; afterwards the program is not found (404).
#[utoipa::path(delete, path = "/api/v1/programs/{id}", tag = "stamp",
    params(("id" = ProgramId, Path)), responses((status = ACCEPTED)))]
pub async fn delete(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ProgramId>,
    seen: Option<IfMatch>,
) -> Result<Response, Problem> {
    let program = own(&app, &principal.account_id, &id).await?;
    if let Some(seen) = seen {
        seen.check(program.rev)?;
    }
    let audit = audit(&app, &principal, "program.deleted", &id);
    programs::begin_delete(&app.table, &program, &audit, app.now()).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/programs/{id}"))]).into_response())
}

/// Lists the events of a program, newest first.
///
/// Events are kept for 30 days.
#[utoipa::path(get, path = "/api/v1/programs/{id}/events", tag = "stamp",
    params(("id" = ProgramId, Path), PageQuery), responses((status = OK, body = List<EventView>)))]
pub async fn events(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ProgramId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<EventView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = events::list(&app.table, id.as_str(), page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(EventView::from).into()))
}

//! Routes of the waitlist family.

use accounts::entities::AuditEntry;
use api::{
    Access, App, Client, IfMatch, Json, List, PageQuery, PathId, Post, Principal, Problem, Query, Routes,
    created, etag, merge_patch, problems, require_origin, respond, routes,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::id::AccountId;
use families::EventView;
use projection::events;
use table::CommitError;
use waitlists::{
    id::WaitlistId,
    waitlist::{Waitlist, WaitlistSettings},
};

use crate::dto::{PublicWaitlist, WaitlistView, WaitlistWithCounts};

const READ: Access = Access::Secret(waitlists::WAITLISTS.read());
const WRITE: Access = Access::Secret(waitlists::WAITLISTS.write());

/// Returns the routes of this function, with the access that each route requires.
pub fn routes() -> Routes {
    Routes::new()
        .route(WRITE, routes!(create))
        .route(READ, routes!(list))
        .route(READ, routes!(get))
        .route(WRITE, routes!(patch, put, delete))
        .route(Access::Publishable(waitlists::WAITLISTS.read()), routes!(public))
        .route(READ, routes!(list_events))
}

/// Reads a waitlist of the account. A waitlist of another account is not found.
async fn own(app: &App, account: &AccountId, id: &WaitlistId) -> Result<Waitlist, Problem> {
    waitlists::read(&app.table, account, id).await?.ok_or_else(|| problems::NOT_FOUND.into())
}

/// Creates a waitlist.
///
/// Only the name is required. If no slug is given, a free slug is derived from the name.
#[utoipa::path(post, path = "/api/v1/waitlists", tag = "waitlist", request_body = WaitlistSettings,
    responses((status = CREATED, body = WaitlistView)))]
async fn create(
    State(app): State<App>,
    principal: Principal,
    post: Post<WaitlistSettings>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let mut settings = post.body.clone();
    for _ in 0..3 {
        let waitlist = Waitlist::new(principal.account_id.clone(), settings.clone(), app.now());
        let audit = audit(&app, &principal, "waitlist.created", &waitlist.id);
        let location = format!("/api/v1/waitlists/{}", waitlist.id);
        let answer = created(location, &WaitlistView::from(waitlist.clone()))?;
        match post.commit(&app, waitlists::create(&waitlist, &audit), &answer).await {
            Ok(committed) => {
                return Ok((etag(waitlist.rev), respond(committed.answer_or(answer))).into_response());
            }
            // The slug was derived from the name and is taken: try another one with a random suffix.
            Err(problem) if problem.is(waitlists::is_slug_taken) && post.body.slug.is_none() => {
                settings.slug = Some(waitlist.slug.with_suffix());
            }
            Err(problem) => return Err(problem.or(waitlists::is_slug_taken, waitlists::problems::SLUG_TAKEN)),
        }
    }
    Err(waitlists::problems::SLUG_TAKEN.into())
}

/// Lists the waitlists of the account, oldest first.
#[utoipa::path(get, path = "/api/v1/waitlists", tag = "waitlist", params(PageQuery),
    responses((status = OK, body = List<WaitlistView>)))]
async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<WaitlistView>>, Problem> {
    let found = waitlists::list(&app.table, &principal.account_id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(WaitlistView::from).into()))
}

/// Returns a waitlist with its counts.
#[utoipa::path(get, path = "/api/v1/waitlists/{id}", tag = "waitlist",
    params(("id" = WaitlistId, Path)), responses((status = OK, body = WaitlistWithCounts)))]
async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
) -> Result<Response, Problem> {
    let waitlist = own(&app, &principal.account_id, &id).await?;
    let counts = waitlists::counts(&app.table, &id).await?.into();
    let rev = waitlist.rev;
    let view = WaitlistWithCounts { waitlist: waitlist.into(), counts };
    Ok((etag(rev), axum::Json(view)).into_response())
}

/// Changes some settings of a waitlist (RFC 7396 merge patch).
#[utoipa::path(patch, path = "/api/v1/waitlists/{id}", tag = "waitlist",
    params(("id" = WaitlistId, Path), ("If-Match" = String, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = WaitlistView)))]
async fn patch(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    seen: IfMatch,
    Json(patch): Json<serde_json::Value>,
) -> Result<Response, Problem> {
    let old = own(&app, &principal.account_id, &id).await?;
    seen.check(old.rev)?;
    let settings = merge_patch(&old.settings, &patch)?;
    save(&app, &principal, &old, settings).await
}

/// Replaces all settings of a waitlist.
///
/// A setting that is left out gets its default, except the slug, which stays as it is.
#[utoipa::path(put, path = "/api/v1/waitlists/{id}", tag = "waitlist",
    params(("id" = WaitlistId, Path), ("If-Match" = String, Header)), request_body = WaitlistSettings,
    responses((status = OK, body = WaitlistView)))]
async fn put(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    seen: IfMatch,
    Json(settings): Json<WaitlistSettings>,
) -> Result<Response, Problem> {
    let old = own(&app, &principal.account_id, &id).await?;
    seen.check(old.rev)?;
    save(&app, &principal, &old, settings).await
}

fn audit(app: &App, principal: &Principal, action: &str, id: &WaitlistId) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, id.as_str(), app.now())
}

async fn save(
    app: &App,
    principal: &Principal,
    old: &Waitlist,
    settings: WaitlistSettings,
) -> Result<Response, Problem> {
    if old.deleting {
        return Err(waitlists::problems::WAITLIST_DELETING.into());
    }
    let new = old.with_settings(settings, app.now());
    let audit = audit(app, principal, "waitlist.updated", &old.id);
    match waitlists::update(&app.table, old, &new, &audit).await {
        Ok(()) => Ok((etag(new.rev), axum::Json(WaitlistView::from(new))).into_response()),
        Err(error) if waitlists::is_slug_taken(&error) => Err(waitlists::problems::SLUG_TAKEN.into()),
        Err(CommitError::Condition(_)) => Err(problems::PRECONDITION_FAILED.into()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a waitlist and erases all its subscribers.
///
/// The deletion continues after the response. The waitlist has `deleting: true` until the deletion is complete, and
/// is not found afterwards.
#[utoipa::path(delete, path = "/api/v1/waitlists/{id}", tag = "waitlist",
    params(("id" = WaitlistId, Path)), responses((status = ACCEPTED)))]
async fn delete(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    seen: Option<IfMatch>,
) -> Result<Response, Problem> {
    let waitlist = own(&app, &principal.account_id, &id).await?;
    if let Some(seen) = seen {
        seen.check(waitlist.rev)?;
    }
    let audit = audit(&app, &principal, "waitlist.deleted", &id);
    waitlists::begin_delete(&app.table, &waitlist, &audit, app.now()).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/waitlists/{id}"))]).into_response())
}

/// Returns the public part of a waitlist, for a web page that shows it. The response may be cached for 60 seconds.
#[utoipa::path(get, path = "/api/v1/waitlists/{id}/public", tag = "waitlist",
    params(("id" = WaitlistId, Path)), responses((status = OK, body = PublicWaitlist)))]
async fn public(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    client: Client,
) -> Result<Response, Problem> {
    let waitlist = own(&app, &principal.account_id, &id).await?;
    require_origin(&waitlist.settings.allowed_origins, &client.headers)?;
    let counts = waitlists::counts(&app.table, &id).await?;
    let cache = [(header::CACHE_CONTROL, "private, max-age=60")];
    Ok((cache, axum::Json(PublicWaitlist::new(waitlist, &counts))).into_response())
}

/// Lists the events of the last 30 days on a waitlist, newest first.
#[utoipa::path(get, path = "/api/v1/waitlists/{id}/events", tag = "waitlist",
    params(("id" = WaitlistId, Path), PageQuery), responses((status = OK, body = List<EventView>)))]
async fn list_events(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<EventView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = events::list(&app.table, id.as_str(), page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(EventView::from).into()))
}

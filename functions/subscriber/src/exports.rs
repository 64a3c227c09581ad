//! CSV exports. A request starts the export, the jobs function writes the file, and a pre-signed link downloads it.

use accounts::entities::AuditEntry;
use api::{App, Committed, PathId, Post, Principal, Problem, Query, existing, problems, respond};
use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use files::Bucket;
use jiff::SignedDuration;
use table::{Answer, Commit};
use waitlists::{
    entities::{Export, ExportStatus},
    exports,
    id::{ExportId, WaitlistId},
};

use crate::dto::{ExportRequest, ExportView, OfWaitlist};

/// Time after which the bucket deletes an export's file; the same as in the lifecycle rules in
/// `infra/storage.yaml`.
const FILE_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Starts an export of a waitlist's subscribers as CSV.
///
/// The file is written after the response. `GET /api/v1/exports/{id}` returns the status and the download link.
#[utoipa::path(post, path = "/api/v1/exports", tag = "subscriber", request_body = ExportRequest,
    responses((status = ACCEPTED, body = ExportView)))]
pub async fn start(
    State(app): State<App>,
    principal: Principal,
    post: Post<ExportRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let (commit, answer) = begin(&app, &principal, &post.body.waitlist_id).await?;
    match post.commit(&app, commit, &answer).await? {
        Committed::Fresh => Ok(respond(answer)),
        Committed::Before(before) => Ok(respond(before)),
    }
}

/// Starts the same export with a GET request, for a link in an admin console.
#[utoipa::path(get, path = "/api/v1/subscribers/export", tag = "subscriber", params(OfWaitlist),
    responses((status = ACCEPTED, body = ExportView)))]
pub async fn start_by_get(
    State(app): State<App>,
    principal: Principal,
    Query(of): Query<OfWaitlist>,
) -> Result<Response, Problem> {
    let (commit, answer) = begin(&app, &principal, &of.waitlist_id).await?;
    commit.apply(&app.table).await?;
    Ok(respond(answer))
}

/// Creates a running export, the commit that starts it, and the 202 that responds with it.
async fn begin(app: &App, principal: &Principal, waitlist: &WaitlistId) -> Result<(Commit, Answer), Problem> {
    let account = &principal.account_id;
    existing(waitlists::read(&app.table, account, waitlist).await?, "waitlist")?;
    let now = app.now();
    let id = ExportId::new(now);
    let export = Export {
        object: format!("exports/{account}/{id}.csv"),
        id,
        account_id: account.clone(),
        waitlist_id: waitlist.clone(),
        status: ExportStatus::Running,
        rows: 0,
        created_at: now,
        completed_at: None,
        rev: 1,
    };
    let location = Some(format!("/api/v1/exports/{}", export.id));
    let audit = AuditEntry::new(account, &principal.id, "export.started", export.id.as_str(), now);
    let commit = exports::start(&export, &audit);
    let body = serde_json::to_string(&ExportView::new(export, None))?;
    Ok((commit, Answer { status: StatusCode::ACCEPTED.as_u16(), body, location }))
}

/// Returns the status of an export, with a download link if the export is completed.
#[utoipa::path(get, path = "/api/v1/exports/{id}", tag = "subscriber",
    params(("id" = ExportId, Path)), responses((status = OK, body = ExportView)))]
pub async fn get(
    State(app): State<App>,
    Extension(bucket): Extension<Bucket>,
    principal: Principal,
    PathId(id): PathId<ExportId>,
) -> Result<Response, Problem> {
    let export = exports::read(&app.table, &id)
        .await?
        .filter(|export| export.account_id == principal.account_id)
        .ok_or(problems::NOT_FOUND)?;
    // A lifecycle rule of the bucket deletes the file after this time.
    let export = match export.created_at + FILE_LIFETIME < app.now() {
        true => Export { status: ExportStatus::Expired, ..export },
        false => export,
    };
    let url = match export.status {
        ExportStatus::Completed => {
            let link = bucket.download_link(&export.object, &format!("{id}.csv")).await;
            Some(link.map_err(Problem::unexpected)?)
        }
        ExportStatus::Running | ExportStatus::Expired => None,
    };
    let private = [(header::CACHE_CONTROL, "no-store")];
    Ok((private, axum::Json(ExportView::new(export, url))).into_response())
}

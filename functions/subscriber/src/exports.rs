//! CSV exports: started here, written by the jobs function, fetched by a pre-signed link.

use std::time::Duration;

use api::{App, Committed, PathId, Post, Principal, Problem, ProblemKind, Query, StartError, respond};
use aws_sdk_s3::presigning::PresigningConfig;
use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::id::{ExportId, WaitlistId};
use jiff::SignedDuration;
use store::{
    Answer, Commit,
    entities::{AuditEntry, Export, ExportStatus},
    exports,
};

use crate::dto::{ExportRequest, ExportView, OfWaitlist};

/// See the lifecycle of the bucket in `infra/storage.yaml`.
const FILE_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);
const LINK_LIFETIME: Duration = Duration::from_secs(600);

/// The bucket that exports lie in.
#[derive(Clone)]
pub struct Files {
    client: aws_sdk_s3::Client,
    bucket: String,
}

impl Files {
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        // Path style when the endpoint is not Amazon's: a bucket is no host name there.
        let client = aws::client!(aws_sdk_s3, env, "S3", force_path_style = env.endpoint("S3").is_some())?;
        Ok(Self { client, bucket: env.require("BUCKET_NAME")?.to_owned() })
    }

    async fn link(&self, export: &Export) -> Result<String, Problem> {
        let signing = PresigningConfig::expires_in(LINK_LIFETIME).map_err(Problem::unexpected)?;
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(&export.object)
            .response_content_type("text/csv; charset=utf-8")
            .response_content_disposition(format!("attachment; filename=\"{}.csv\"", export.id))
            .presigned(signing)
            .await
            .map_err(Problem::unexpected)?;
        Ok(request.uri().to_owned())
    }
}

/// Starts an export of a waitlist's subscribers as CSV.
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

/// Starts the same export: for a link in an admin console.
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

async fn begin(app: &App, principal: &Principal, waitlist: &WaitlistId) -> Result<(Commit, Answer), Problem> {
    let account = &principal.account_id;
    app.waitlist(account, waitlist).await?;
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

/// How far an export is, and where its file is to be had.
#[utoipa::path(get, path = "/api/v1/exports/{id}", tag = "subscriber",
    params(("id" = ExportId, Path)), responses((status = OK, body = ExportView)))]
pub async fn get(
    State(app): State<App>,
    Extension(files): Extension<Files>,
    principal: Principal,
    PathId(id): PathId<ExportId>,
) -> Result<Response, Problem> {
    let export = exports::read(&app.table, &id)
        .await?
        .filter(|export| export.account_id == principal.account_id)
        .ok_or(ProblemKind::NotFound)?;
    // A rule of the bucket deletes the file then.
    let export = match export.created_at + FILE_LIFETIME < app.now() {
        true => Export { status: ExportStatus::Expired, ..export },
        false => export,
    };
    let url = match export.status {
        ExportStatus::Completed => Some(files.link(&export).await?),
        ExportStatus::Running | ExportStatus::Expired => None,
    };
    let private = [(header::CACHE_CONTROL, "no-store")];
    Ok((private, axum::Json(ExportView::new(export, url))).into_response())
}

//! Routes of imports. This function announces an import; the caller uploads the file to the bucket; the code-import
//! function loads the file.

use std::collections::BTreeMap;

use accounts::entities::AuditEntry;
use api::{
    App, Committed, List, PageQuery, PathId, Post, Principal, Problem, Query, created, problems,
    rate_limited, respond,
};
use axum::{
    Extension,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use codes::{
    code_pool::Closed,
    entities::Import,
    id::{CodePoolId, ImportId},
    imports,
};
use files::{Bucket, CSV, UPLOAD_LIFETIME};
use serde::Deserialize;
use table::Answer;
use utoipa::ToSchema;

use crate::{
    dto::{ImportView, UploadView},
    pools::own,
};

/// Empty object: an import has no settings.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImport {}

/// Announces an import of codes.
///
/// Upload the CSV file with a `PUT` to `upload_url`, which is valid for 15 minutes. The import starts automatically
/// after the upload. A link imports one file: a further file is not loaded and appears as a failed import.
#[utoipa::path(post, path = "/api/v1/code-pools/{id}/imports", tag = "code-distribution",
    params(("id" = CodePoolId, Path)), request_body = NewImport, responses((status = CREATED, body = UploadView)))]
pub async fn announce(
    State(app): State<App>,
    Extension(bucket): Extension<Bucket>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
    post: Post<NewImport>,
) -> Result<Response, Problem> {
    let pool = own(&app, &principal.account_id, &id).await?;
    let account = accounts::read(&app.table, &principal.account_id).await?;
    let (account, _) = account.ok_or(problems::NOT_FOUND)?;
    let verdict = app.limit(&account.id, "upload", "account", account.limits.uploads_per_minute).await?;
    if let Some(answer) = post.answered(&app).await? {
        let answer = with_link(&bucket, &id, answer).await?;
        return Ok(rate_limited(respond(answer), Some(verdict)));
    }
    let now = app.now();
    if pool.closed(now) == Some(Closed::Completed) {
        return Err(codes::problems::CODE_POOL_COMPLETED.into());
    }
    let import_id = ImportId::new(now);
    let import = Import::new(import_id.clone(), &account.id, &id, object_of(&id, &import_id), now);
    let audit = AuditEntry::new(&account.id, &principal.id, "import.announced", import_id.as_str(), now);
    let view = UploadView {
        id: import_id.clone(),
        upload_url: None,
        headers: BTreeMap::from([("content-type".to_owned(), CSV.to_owned())]),
        expires_at: now + UPLOAD_LIFETIME,
    };
    let answer = created(format!("/api/v1/code-pools/{id}/imports/{import_id}"), &view)?;
    let answer = match post.commit(&app, imports::announce(&import, &audit), &answer).await? {
        Committed::Fresh => answer,
        Committed::Before(before) => before,
    };
    Ok(rate_limited(respond(with_link(&bucket, &id, answer).await?), Some(verdict)))
}

/// Returns the key in the bucket under which the file of an announced import is expected.
fn object_of(pool: &CodePoolId, import: &ImportId) -> String {
    format!("imports/{pool}/{import}.csv")
}

/// Adds a new upload link to the answer. The stored answer does not contain the link, because the link is a secret.
async fn with_link(bucket: &Bucket, pool: &CodePoolId, answer: Answer) -> Result<Answer, Problem> {
    let mut view: UploadView = serde_json::from_str(&answer.body)?;
    let link = bucket.upload_link(&object_of(pool, &view.id)).await.map_err(Problem::unexpected)?;
    view.upload_url = Some(link);
    Ok(Answer { body: serde_json::to_string(&view)?, ..answer })
}

/// Lists the imports of a code pool.
///
/// The list includes imports of files that were copied directly into the bucket. Announced imports come oldest first.
#[utoipa::path(get, path = "/api/v1/code-pools/{id}/imports", tag = "code-distribution",
    params(("id" = CodePoolId, Path), PageQuery), responses((status = OK, body = List<ImportView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<ImportView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = imports::list(&app.table, &id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(|import| ImportView::new(import, None)).into()))
}

/// Returns an import with its progress and the link to its report.
#[utoipa::path(get, path = "/api/v1/code-pools/{id}/imports/{import_id}", tag = "code-distribution",
    params(("id" = CodePoolId, Path), ("import_id" = ImportId, Path)), responses((status = OK, body = ImportView)))]
pub async fn get(
    State(app): State<App>,
    Extension(bucket): Extension<Bucket>,
    principal: Principal,
    Path((id, import_id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let missing = || Problem::from(problems::NOT_FOUND);
    let id: CodePoolId = id.parse().map_err(|_| missing())?;
    let import_id: ImportId = import_id.parse().map_err(|_| missing())?;
    own(&app, &principal.account_id, &id).await?;
    let import = imports::read(&app.table, &id, &import_id).await?.ok_or_else(missing)?;
    let report = match &import.report {
        Some(key) => {
            let name = format!("{import_id}-report.csv");
            Some(bucket.download_link(key, &name).await.map_err(Problem::unexpected)?)
        }
        None => None,
    };
    let private = [(header::CACHE_CONTROL, "no-store")];
    Ok((private, axum::Json(ImportView::new(import, report))).into_response())
}

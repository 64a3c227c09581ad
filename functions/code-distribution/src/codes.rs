//! Routes of codes for the account that owns them. Codes are masked, except in a reveal.

use accounts::entities::AuditEntry;
use api::{App, List, PageQuery, PathId, Post, Principal, Problem, Query, existing, respond, retried};
use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use codes::{
    Placed,
    claim::{Archived, Code},
    code_pool::PromoCode,
    id::{CodeId, CodePoolId},
};
use domain::id::AccountId;
use files::Bucket;
use table::Answer;

use crate::{
    dto::{CodeStatus, CodeView, RevealedCode},
    pools,
};

/// Lists the codes of a pool, masked, in an arbitrary order.
#[utoipa::path(get, path = "/api/v1/code-pools/{id}/codes", tag = "code-distribution",
    params(("id" = CodePoolId, Path), PageQuery), responses((status = OK, body = List<CodeView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<CodeView>>, Problem> {
    pools::own(&app, &principal.account_id, &id).await?;
    let found = codes::list(&app.table, &id, page.cursor()?, page.limit()?).await?;
    let now = app.now();
    Ok(axum::Json(found.map(|(code, stock)| CodeView::of(code, stock.as_ref(), now)).into()))
}

async fn own(app: &App, account: &AccountId, id: &CodeId) -> Result<Placed, Problem> {
    let found = codes::read(&app.table, account, id).await?;
    existing(found, "code")
}

/// Returns one code, masked.
#[utoipa::path(get, path = "/api/v1/codes/{id}", tag = "code-distribution",
    params(("id" = CodeId, Path)), responses((status = OK, body = CodeView)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodeId>,
) -> Result<axum::Json<CodeView>, Problem> {
    let (code, stock) = own(&app, &principal.account_id, &id).await?;
    Ok(axum::Json(CodeView::of(code, stock.as_ref(), app.now())))
}

/// Returns the text of a code: from the item, or from the file in the bucket to which the code was archived.
pub async fn text_of(
    bucket: &Bucket,
    text: Option<&PromoCode>,
    archived: Option<&Archived>,
) -> Result<PromoCode, Problem> {
    match (text, archived) {
        (Some(text), _) => Ok(text.clone()),
        (None, Some(Archived { object, offset, length })) => {
            let line = bucket.read(object, *offset, *length).await.map_err(Problem::unexpected)?;
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_slice());
            let row = reader.records().next().transpose().map_err(Problem::unexpected)?.unwrap_or_default();
            let cell = row.get(0).unwrap_or_default().to_owned();
            domain::text::stored(|| PromoCode::try_from(cell)).map_err(Problem::unexpected)
        }
        (None, None) => Err(Problem::unexpected("a code without its text")),
    }
}

/// Reveals a code in full.
///
/// The audit log records the caller and the code's id.
#[utoipa::path(post, path = "/api/v1/codes/{id}/reveal", tag = "code-distribution",
    params(("id" = CodeId, Path)), responses((status = OK, body = RevealedCode)))]
pub async fn reveal(
    State(app): State<App>,
    Extension(bucket): Extension<Bucket>,
    principal: Principal,
    PathId(id): PathId<CodeId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    let answered = post.answered(&app).await?.is_some();
    let (code, _) = own(&app, &principal.account_id, &id).await?;
    let text = text_of(&bucket, code.code.as_ref(), code.archived.as_ref()).await?;
    if !answered {
        let audit = audit(&app, &principal, "code.revealed", &code);
        // The answer stored for replays does not contain the code.
        let kept = Answer { status: StatusCode::OK.as_u16(), body: "{}".to_owned(), location: None };
        post.commit(&app, codes::reveal(&audit), &kept).await?;
    }
    let private = [(header::CACHE_CONTROL, "no-store")];
    Ok((private, axum::Json(RevealedCode { id: code.id, code: text })).into_response())
}

fn audit(app: &App, principal: &Principal, action: &str, code: &Code) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, code.id.as_str(), app.now())
}

/// Marks a claimed code as redeemed.
///
/// A code can be redeemed once. A code that is not claimed, or is already redeemed, is refused (409).
#[utoipa::path(post, path = "/api/v1/codes/{id}/redeem", tag = "code-distribution",
    params(("id" = CodeId, Path)), responses((status = OK, body = CodeView)))]
pub async fn redeem(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodeId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let now = app.now();
    retried(|| async {
        let (code, stock) = own(&app, &principal.account_id, &id).await?;
        match CodeStatus::of(&code, stock.as_ref(), now) {
            CodeStatus::Claimed => {}
            CodeStatus::Redeemed => {
                // The same request may have been sent twice at the same time: return the answer of the other one.
                let before = post.answered(&app).await?;
                return before.map(respond).ok_or_else(|| codes::problems::CODE_REDEEMED.into());
            }
            _ => return Err(codes::problems::CODE_NOT_CLAIMED.into()),
        }
        let audit = audit(&app, &principal, "code.redeemed", &code);
        let (redeemed, commit) = codes::redeem(&code, &audit, now);
        let body = serde_json::to_string(&CodeView::of(redeemed, None, now))?;
        let answer = Answer { status: StatusCode::OK.as_u16(), body, location: None };
        let committed = post.commit(&app, commit, &answer).await?;
        Ok(respond(committed.answer_or(answer)))
    })
    .await
}

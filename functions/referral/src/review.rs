//! Fraud review: listing referrals, and revoking or restoring their credits.

use api::{
    App, List, PageQuery, PathId, Post, Principal, Problem, Query, existing, problems, respond, retried,
};
use axum::{extract::State, http::StatusCode, response::Response};
use table::Answer;
use waitlists::{
    id::ReferralId,
    referrals::{self, Review},
    subscribers,
};

use crate::dto::{ReferralFilter, ReferralView};

/// Lists the referrals of a waitlist, oldest first.
#[utoipa::path(get, path = "/api/v1/referrals", tag = "referral", params(ReferralFilter),
    responses((status = OK, body = List<ReferralView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(filter): Query<ReferralFilter>,
) -> Result<axum::Json<List<ReferralView>>, Problem> {
    let page = PageQuery { cursor: filter.cursor, limit: filter.limit };
    existing(waitlists::read(&app.table, &principal.account_id, &filter.waitlist_id).await?, "waitlist")?;
    let found =
        referrals::list(&app.table, &filter.waitlist_id, filter.flagged, page.cursor()?, page.limit()?)
            .await?;
    Ok(axum::Json(found.map(ReferralView::from).into()))
}

/// Revokes the credit of a referral.
///
/// The referrer loses the places that the credit gave, and the rewards whose tiers are no longer reached.
#[utoipa::path(post, path = "/api/v1/referrals/{id}/revoke", tag = "referral",
    params(("id" = ReferralId, Path)), responses((status = OK, body = ReferralView)))]
pub async fn revoke(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ReferralId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    review(&app, &principal, &id, &post, Review::Revoke).await
}

/// Restores a revoked credit.
///
/// The referrer regains the places that the credit gave, and the rewards whose tiers are reached again.
#[utoipa::path(post, path = "/api/v1/referrals/{id}/restore", tag = "referral",
    params(("id" = ReferralId, Path)), responses((status = OK, body = ReferralView)))]
pub async fn restore(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ReferralId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    review(&app, &principal, &id, &post, Review::Restore).await
}

/// Revokes or restores a credit. Retries if another request changed the referral or its referrer.
async fn review(
    app: &App,
    principal: &Principal,
    id: &ReferralId,
    post: &Post<serde_json::Value>,
    review: Review,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(app).await? {
        return Ok(respond(answer));
    }
    retried(|| async {
        let referral = subscribers::referral(&app.table, id)
            .await?
            .filter(|referral| referral.account_id == principal.account_id)
            .ok_or(problems::NOT_FOUND)?;
        let Some((after, commit)) =
            referrals::review(&app.table, &referral, review, &principal.id, app.now()).await?
        else {
            // The same request may have been sent twice at the same time, and the other copy changed the status.
            if let Some(answer) = post.answered(app).await? {
                return Ok(respond(answer));
            }
            return Err(waitlists::problems::REFERRAL_NOT_REVIEWABLE.into());
        };
        let body = serde_json::to_string(&ReferralView::from(after))?;
        let answer = Answer { status: StatusCode::OK.as_u16(), body, location: None };
        let committed = post.commit(app, commit, &answer).await?;
        Ok(respond(committed.answer_or(answer)))
    })
    .await
}

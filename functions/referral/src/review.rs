//! Fraud review: people decide what becomes of a suspicious referral.

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

/// The referrals of a waitlist, oldest first.
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

/// Takes a credit back: the position and the rewards that hung on it go with it.
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

/// Gives a credit back that was taken, with its position and rewards.
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
            // Perhaps by this very request, sent twice at once.
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

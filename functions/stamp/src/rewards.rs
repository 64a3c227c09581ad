//! Routes of card rewards. A reward can be redeemed once, and a redemption is final.

use api::{App, List, PathId, Post, Principal, Problem, existing, respond, retried};
use axum::{extract::State, http::StatusCode, response::Response};
use domain::id::CustomerId;
use stamps::{id::CardRewardId, stamp::CardRewardStatus};
use table::Answer;

use crate::{customers, dto::CardRewardView};

/// Lists a customer's card rewards in all programs, newest first.
#[utoipa::path(get, path = "/api/v1/customers/{id}/rewards", tag = "stamp", params(("id" = CustomerId, Path)),
    responses((status = OK, body = List<CardRewardView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CustomerId>,
) -> Result<axum::Json<List<CardRewardView>>, Problem> {
    customers::own(&app, &principal, &id).await?;
    let now = app.now();
    let rewards = stamps::rewards(&app.table, &id).await?;
    Ok(axum::Json(List::whole(rewards.into_iter().map(|reward| CardRewardView::of(reward, now)))))
}

/// Redeems a card reward.
///
/// A redemption is final. A reward that was redeemed or withdrawn before is refused (409), an expired one too (410).
#[utoipa::path(post, path = "/api/v1/rewards/{id}/redeem", tag = "stamp", params(("id" = CardRewardId, Path)),
    responses((status = OK, body = CardRewardView)))]
pub async fn redeem(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CardRewardId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let now = app.now();
    retried(|| async {
        let reward = stamps::reward(&app.table, &principal.account_id, &id).await?;
        let reward = existing(reward, "reward")?;
        match reward.status {
            CardRewardStatus::Issued => {}
            CardRewardStatus::Redeemed => {
                // The same request may have been sent twice at the same time: return the answer of the other one.
                let before = post.answered(&app).await?;
                return before.map(respond).ok_or_else(|| stamps::problems::REWARD_REDEEMED.into());
            }
            CardRewardStatus::Withdrawn => return Err(stamps::problems::REWARD_WITHDRAWN.into()),
        }
        if reward.expires_at.is_some_and(|at| at <= now) {
            return Err(stamps::problems::REWARD_EXPIRED.into());
        }
        let (redeemed, commit) = stamps::redeem(&reward, now);
        let body = serde_json::to_string(&CardRewardView::of(redeemed, now))?;
        let answer = Answer { status: StatusCode::OK.as_u16(), body, location: None };
        let committed = post.commit(&app, commit, &answer).await?;
        Ok(respond(committed.answer_or(answer)))
    })
    .await
}

//! Votes. Each subscriber has one vote per feature.

use api::{
    App, Client, List, PageQuery, PathId, Post, Principal, Problem, Query, acting_subscriber,
    claimed_subscriber, existing, problems, rate_limited, require_origin, respond, retried,
    verified_subscriber,
};
use axum::{extract::State, http::StatusCode, response::Response};
use domain::{id::SubscriberId, rate::Verdict};
use features::{Ballot, id::FeatureId};
use futures_util::future::OptionFuture;
use waitlists::subscriber::SubscriberStatus;

use crate::{
    dto::{VoteView, VoterView},
    features::own,
};

/// Maximum number of votes and withdrawals per subscriber and minute.
const TURNS_PER_MINUTE: u64 = 30;

/// Reads the ballot: everything that a vote or a comment depends on.
///
/// # Errors
/// If the feature and the subscriber do not belong to the same waitlist of the account, if the waitlist does not
/// allow the origin of the request, if the subscriber is not verified, or if the feature is being deleted.
pub async fn ballot_of(
    app: &App,
    principal: &Principal,
    client: &Client,
    feature: &FeatureId,
    subscriber: &SubscriberId,
) -> Result<Ballot, Problem> {
    let found = features::ballot(&app.table, feature, subscriber).await?;
    admitted(app, principal, client, found).await
}

/// Checks a ballot that was read; see [`ballot_of`].
async fn admitted(
    app: &App,
    principal: &Principal,
    client: &Client,
    found: Option<Ballot>,
) -> Result<Ballot, Problem> {
    let own = found.filter(|ballot| {
        ballot.feature.account_id == principal.account_id
            && ballot.feature.waitlist_id == ballot.subscriber.waitlist_id
    });
    let ballot =
        own.ok_or_else(|| Problem::because(problems::NOT_FOUND, "The waitlist has no such feature."))?;
    let waitlist = existing(
        waitlists::read(&app.table, &principal.account_id, &ballot.feature.waitlist_id).await?,
        "waitlist",
    )?;
    require_origin(&waitlist.settings.allowed_origins, &client.headers)?;
    if ballot.subscriber.status == SubscriberStatus::Pending {
        return Err(waitlists::problems::NOT_VERIFIED.into());
    }
    if ballot.feature.deleting {
        return Err(features::problems::FEATURE_DELETING.into());
    }
    Ok(ballot)
}

/// Returns the owner of the request's `X-Subscriber-Token`.
///
/// If the token is missing or invalid, a feature that does not exist or belongs to another account is reported as
/// not found rather than the token as refused.
pub async fn voter(
    app: &App,
    principal: &Principal,
    client: &Client,
    feature: &FeatureId,
) -> Result<SubscriberId, Problem> {
    let voter = acting_subscriber(app, principal, client).await;
    known_feature(app, principal, feature, voter).await
}

/// Reports a feature that does not exist or belongs to another account as not found, if the voter was refused.
async fn known_feature(
    app: &App,
    principal: &Principal,
    feature: &FeatureId,
    voter: Result<SubscriberId, Problem>,
) -> Result<SubscriberId, Problem> {
    match voter {
        Ok(voter) => Ok(voter),
        Err(refused) => own(app, &principal.account_id, feature).await.and(Err(refused)),
    }
}

/// Counts a vote or a withdrawal against the subscriber's rate limit.
async fn limit(app: &App, principal: &Principal, voter: &SubscriberId) -> Result<Verdict, Problem> {
    app.limit(&principal.account_id, "votes", voter.as_str(), TURNS_PER_MINUTE).await
}

/// Casts the vote of a subscriber for a feature.
///
/// The voter is the owner of the `X-Subscriber-Token`, whose address must be verified. Voting again changes
/// nothing. A vote for a merged feature counts for the feature into which it was merged. A subscriber may vote or
/// withdraw a vote at most 30 times per minute.
#[utoipa::path(post, path = "/api/v1/features/{id}/vote", tag = "feature-vote",
    params(("id" = FeatureId, Path), ("X-Subscriber-Token" = String, Header)),
    request_body = Object, responses((status = OK, body = VoteView)))]
pub async fn cast(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    client: Client,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    // The ballot of the claimed subscriber is read in one call with the key that verifies the token. Nothing of it is
    // shown or written before the verification has succeeded.
    let claimed = claimed_subscriber(&client);
    let lookup = features::ballot_items(&principal.account_id, &id, claimed.as_ref());
    let ((signing, items), answered) = post.look_up(&app, lookup).await?;
    if let Some(answer) = answered? {
        return Ok(respond(answer));
    }
    let voter = verified_subscriber(signing.as_ref(), &client, app.now());
    let voter = known_feature(&app, &principal, &id, voter).await?;
    let ballot = async {
        let ballot = OptionFuture::from(items.map(|items| items.ballot(&app.table))).await.transpose()?;
        admitted(&app, &principal, &client, ballot.flatten()).await
    };
    let (verdict, ballot) = tokio::join!(limit(&app, &principal, &voter), ballot);
    let verdict = verdict?;
    let mut first = Some(ballot);
    let voted = retried(|| {
        let first = first.take();
        async {
            let ballot = match first {
                Some(ballot) => ballot?,
                None => ballot_of(&app, &principal, &client, &id, &voter).await?,
            };
            if !ballot.feature.settings.status.is_open() {
                return Err(features::problems::FEATURE_CLOSED.into());
            }
            let view = VoteView { feature_id: ballot.feature.id.clone(), voted: true };
            let body = serde_json::to_string(&view)?;
            let answer = table::Answer { status: StatusCode::OK.as_u16(), body, location: None };
            let committed = post.commit(&app, ballot.cast(app.now()), &answer).await?;
            Ok(respond(committed.answer_or(answer)))
        }
    });
    Ok(rate_limited(voted.await?, Some(verdict)))
}

/// Withdraws the vote of a subscriber for a feature.
///
/// The voter is the owner of the `X-Subscriber-Token`. If there is no vote, nothing changes. A subscriber may vote
/// or withdraw a vote at most 30 times per minute.
#[utoipa::path(delete, path = "/api/v1/features/{id}/vote", tag = "feature-vote",
    params(("id" = FeatureId, Path), ("X-Subscriber-Token" = String, Header)),
    responses((status = OK, body = VoteView)))]
pub async fn take_back(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    client: Client,
) -> Result<axum::Json<VoteView>, Problem> {
    let voter = voter(&app, &principal, &client, &id).await?;
    limit(&app, &principal, &voter).await?;
    retried(|| async {
        let ballot = ballot_of(&app, &principal, &client, &id, &voter).await?;
        let view = VoteView { feature_id: ballot.feature.id.clone(), voted: false };
        let Some(commit) = ballot.take_back(app.now()) else { return Ok(axum::Json(view)) };
        commit.apply(&app.table).await?;
        Ok(axum::Json(view))
    })
    .await
}

/// Lists the subscribers who vote for a feature, in no particular order.
#[utoipa::path(get, path = "/api/v1/features/{id}/votes", tag = "feature-vote",
    params(("id" = FeatureId, Path), PageQuery), responses((status = OK, body = List<VoterView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<VoterView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = features::voters(&app.table, &id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(VoterView::from).into()))
}

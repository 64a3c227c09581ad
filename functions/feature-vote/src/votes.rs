//! Votes: one subscriber, one vote for each feature.

use api::{
    App, Client, List, PageQuery, PathId, Post, Principal, Problem, Query, acting_subscriber,
    claimed_subscriber, existing, problems, rate_limited, require_origin, respond, retried,
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

/// Votes cast and taken back, of one subscriber.
const TURNS_PER_MINUTE: u64 = 30;

/// All that a vote or a comment depends on; refused unless feature and subscriber are of one waitlist, which lets the
/// caller's page in, and the subscriber is verified.
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

/// Whoever acts; what another account has does not exist for anybody.
pub async fn voter(
    app: &App,
    principal: &Principal,
    client: &Client,
    feature: &FeatureId,
) -> Result<SubscriberId, Problem> {
    match acting_subscriber(app, principal, client).await {
        Ok(subscriber) => Ok(subscriber),
        Err(refused) => own(app, &principal.account_id, feature).await.and(Err(refused)),
    }
}

async fn limit(app: &App, principal: &Principal, voter: &SubscriberId) -> Result<Verdict, Problem> {
    app.limit(&principal.account_id, "votes", voter.as_str(), TURNS_PER_MINUTE).await
}

/// Votes for a feature, for the owner of the `X-Subscriber-Token`. Voting again changes nothing. A vote for a feature
/// that was merged is one for the other.
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
    // Read before it is known who votes: what is shown and done waits for that.
    let claimed = claimed_subscriber(&client);
    let read = OptionFuture::from(claimed.as_ref().map(|claimed| features::ballot(&app.table, &id, claimed)));
    let (answered, voter, read) =
        tokio::join!(post.answered(&app), voter(&app, &principal, &client, &id), read);
    if let Some(answer) = answered? {
        return Ok(respond(answer));
    }
    let voter = voter?;
    let found = read.transpose()?.flatten();
    let (verdict, ballot) =
        tokio::join!(limit(&app, &principal, &voter), admitted(&app, &principal, &client, found));
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

/// Takes a vote back, for the owner of the `X-Subscriber-Token`. Without a vote it changes nothing.
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

/// Who votes for a feature, in no particular order.
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

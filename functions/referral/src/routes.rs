//! Routes of the referral family.

use api::{
    Access, App, Client, List, PageQuery, PathId, Post, Principal, Problem, Query, Routes, created, existing,
    problems, rate_limited, require_origin, require_subscriber, respond, routes,
};
use axum::{extract::State, response::Response};
use domain::id::{AccountId, SubscriberId};
use waitlists::{
    entities::Click,
    id::{ClickId, WaitlistId},
    referral_code::ReferralCode,
    referrals::{self, ClickContext},
    subscriber::Subscriber,
    subscribers,
};

use crate::{
    dto::{ClickRequest, ClickView, Leader, LedgerView, NextTier, ReferralStats, RewardView},
    review,
};

const READ: Access = Access::Secret(waitlists::REFERRALS.read());
const WRITE: Access = Access::Secret(waitlists::REFERRALS.write());
const PUBLIC: Access = Access::Publishable(waitlists::REFERRALS.read());

/// Returns the routes of this function, with the access that each route requires.
pub fn routes() -> Routes {
    Routes::new()
        .route(Access::Publishable(waitlists::REFERRALS.write()), routes!(click))
        .route(READ, routes!(review::list))
        .route(PUBLIC, routes!(stats))
        .route(PUBLIC, routes!(rewards))
        .route(READ, routes!(ledger))
        .route(WRITE, routes!(review::revoke))
        .route(WRITE, routes!(review::restore))
        .route(PUBLIC, routes!(leaderboard))
}

/// Reads a subscriber of the account. A subscriber of another account is not found.
async fn own_subscriber(app: &App, account: &AccountId, id: &SubscriberId) -> Result<Subscriber, Problem> {
    let found = subscribers::read(&app.table, account, id).await?;
    found.map(|found| found.subscriber).ok_or_else(|| problems::NOT_FOUND.into())
}

/// Counts a visit through a referral link.
///
/// With a publishable key, visits are rate-limited per IP address.
#[utoipa::path(post, path = "/api/v1/referrals", tag = "referral", request_body = ClickRequest,
    responses((status = CREATED, body = ClickView)))]
async fn click(
    State(app): State<App>,
    principal: Principal,
    client: Client,
    post: Post<ClickRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let now = app.now();
    let code = ReferralCode::try_from(post.body.referral_code.clone()).ok();
    let context = referrals::click_context(&app.table, &principal.account_id, code.as_ref()).await?;
    let ClickContext { owner, account, signing } = context.ok_or(problems::NOT_FOUND)?;
    // A server that reports visits sends all requests from one address: no limit per address.
    let verdict = match principal.is_publishable() {
        true => {
            let caller = signing.signing_key.pseudonym("ip", &client.line());
            let limit = account.limits.clicks_per_ip_per_minute;
            Some(app.limit(&account.id, "click", &caller, limit).await?)
        }
        false => None,
    };
    let owner = owner.filter(|owner| owner.account_id == principal.account_id);
    let id = ClickId::new(now);
    let view = ClickView { id: id.clone(), tracked: owner.is_some() };
    let answer = created(format!("/api/v1/referrals/{id}"), &view)?;
    let commit = match owner {
        Some(owner) => referrals::click(&Click {
            id,
            waitlist_id: owner.waitlist_id,
            referrer_id: owner.subscriber_id,
            source: post.body.source.clone(),
            at: now,
        }),
        None => referrals::click_of_nobody(),
    };
    let answer = post.commit(&app, commit, &answer).await?.answer_or(answer);
    Ok(rate_limited(respond(answer), verdict))
}

/// Returns the referral statistics of a subscriber.
///
/// With a publishable key, the subscriber's own token is required in `X-Subscriber-Token`.
#[utoipa::path(get, path = "/api/v1/referrals/{id}", tag = "referral",
    params(("id" = SubscriberId, Path, description = "The referrer"), ("X-Subscriber-Token" = Option<String>, Header)),
    responses((status = OK, body = ReferralStats)))]
async fn stats(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<SubscriberId>,
    client: Client,
) -> Result<axum::Json<ReferralStats>, Problem> {
    require_subscriber(&app, &principal, &client, &id).await?;
    let subscriber = own_subscriber(&app, &principal.account_id, &id).await?;
    let waitlist = existing(
        waitlists::read(&app.table, &principal.account_id, &subscriber.waitlist_id).await?,
        "waitlist",
    )?;
    let clicks = referrals::clicks(&app.table, &id).await?;
    let tiers = waitlist.settings.reward_tiers.iter();
    let next_tier = tiers
        .into_iter()
        .find(|tier| tier.referrals > subscriber.referrals)
        .map(|tier| NextTier { name: tier.name.clone(), missing: tier.referrals - subscriber.referrals });
    Ok(axum::Json(ReferralStats {
        referral_url: waitlist.referral_url(app.public_url(), &subscriber.referral_code),
        subscriber_id: id,
        referral_code: subscriber.referral_code,
        clicks,
        referrals: subscriber.referrals,
        places: subscriber.places,
        next_tier,
    }))
}

/// Lists the rewards of a subscriber, one for each tier that the subscriber has reached.
///
/// With a publishable key, the subscriber's own token is required in `X-Subscriber-Token`.
#[utoipa::path(get, path = "/api/v1/referrals/{id}/rewards", tag = "referral",
    params(("id" = SubscriberId, Path, description = "The referrer"), ("X-Subscriber-Token" = Option<String>, Header)),
    responses((status = OK, body = List<RewardView>)))]
async fn rewards(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<SubscriberId>,
    client: Client,
) -> Result<axum::Json<List<RewardView>>, Problem> {
    require_subscriber(&app, &principal, &client, &id).await?;
    own_subscriber(&app, &principal.account_id, &id).await?;
    let rewards = referrals::rewards(&app.table, &id).await?;
    Ok(axum::Json(List { data: rewards.into_iter().map(RewardView::from).collect(), next_cursor: None }))
}

/// Lists all changes of a subscriber's referral credits, oldest first.
#[utoipa::path(get, path = "/api/v1/referrals/{id}/ledger", tag = "referral",
    params(("id" = SubscriberId, Path, description = "The referrer"), PageQuery),
    responses((status = OK, body = List<LedgerView>)))]
async fn ledger(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<SubscriberId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<LedgerView>>, Problem> {
    own_subscriber(&app, &principal.account_id, &id).await?;
    let entries = referrals::ledger(&app.table, &id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(entries.map(LedgerView::from).into()))
}

/// Lists the subscribers with the most credited referrals, most first.
///
/// Names are shortened and email addresses are masked. The leaderboard has one page: `cursor` is refused.
#[utoipa::path(get, path = "/api/v1/waitlists/{id}/leaderboard", tag = "referral",
    params(("id" = WaitlistId, Path), PageQuery), responses((status = OK, body = List<Leader>)))]
async fn leaderboard(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    Query(page): Query<PageQuery>,
    client: Client,
) -> Result<axum::Json<List<Leader>>, Problem> {
    if page.cursor.is_some() {
        return Err(Problem::field("cursor", "is not supported: the leaderboard has one page"));
    }
    let limit = page.limit()?;
    let waitlist = existing(waitlists::read(&app.table, &principal.account_id, &id).await?, "waitlist")?;
    require_origin(&waitlist.settings.allowed_origins, &client.headers)?;
    let leaders = referrals::leaderboard(&app.table, &id, limit).await?;
    Ok(axum::Json(List { data: Leader::ranked(&leaders), next_cursor: None }))
}

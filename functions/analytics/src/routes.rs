//! Routes of the analytics family.

use api::{Access, App, PathId, Principal, Problem, Query, Routes, existing, problems, routes};
use axum::{extract::State, response::Response};
use codes::{code_pools, id::CodePoolId};
use domain::id::{CampaignId, ProgramId};
use features::{feature::demand_index, id::FeatureId};
use projection::rollups;
use stamps::programs;
use waitlists::id::WaitlistId;

use crate::{
    dto::{
        CampaignAnalytics, CodePoolAnalytics, FeatureAnalytics, FeatureNow, FunnelAnalytics, ProgramActivity,
        ProgramAnalytics, ProgramNow, ReferralActivity, ReferralAnalytics, ReferralsNow, WaitlistActivity,
        WaitlistAnalytics, funnel, rate, sources,
    },
    programs::Visitors,
    range::{RangeQuery, Timeline},
};

const READ: Access = Access::Secret(projection::ANALYTICS.read());

/// Returns the routes of this function, with the access that each route requires.
pub fn routes() -> Routes {
    Routes::new()
        .route(READ, routes!(waitlist))
        .route(READ, routes!(feature))
        .route(READ, routes!(referrals))
        .route(READ, routes!(code_pool))
        .route(READ, routes!(program))
        .route(READ, routes!(campaign))
        .route(READ, routes!(account))
}

/// Returns the activity of a waitlist: sign-ups, the share of referrals, and traffic sources.
#[utoipa::path(get, path = "/api/v1/analytics/waitlists/{id}", tag = "analytics",
    params(("id" = WaitlistId, Path), RangeQuery), responses((status = OK, body = WaitlistAnalytics)))]
async fn waitlist(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    Query(range): Query<RangeQuery>,
) -> Result<Response, Problem> {
    let asked = range.asked(&app, &principal).await?;
    let waitlist = existing(waitlists::read(&app.table, &principal.account_id, &id).await?, "waitlist")?;
    let activity = rollups::of_topic(&app.table, waitlist.id.as_str(), &asked.series).await?;
    let counts = waitlists::counts(&app.table, &id).await?;
    let sources = sources(&activity.total());
    let timeline: Timeline<WaitlistActivity> = asked.timeline(activity);
    let view = WaitlistAnalytics {
        referral_share: rate(timeline.totals.referred, timeline.totals.joined),
        viral_coefficient: rate(counts.referrals, counts.members()),
        timeline,
        now: counts.into(),
        sources,
    };
    Ok(asked.answer(view))
}

/// Returns the votes and comments of a feature, with its demand index.
#[utoipa::path(get, path = "/api/v1/analytics/features/{id}", tag = "analytics",
    params(("id" = FeatureId, Path), RangeQuery), responses((status = OK, body = FeatureAnalytics)))]
async fn feature(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    Query(range): Query<RangeQuery>,
) -> Result<Response, Problem> {
    let asked = range.asked(&app, &principal).await?;
    let missing = || Problem::because(problems::NOT_FOUND, "There is no such feature.");
    let feature = features::read(&app.table, &principal.account_id, &id).await?.ok_or_else(missing)?;
    let tally = features::tally(&app.table, &id).await?.ok_or_else(missing)?;
    let members = waitlists::counts(&app.table, &feature.waitlist_id).await?.members();
    let activity = rollups::of_topic(&app.table, id.as_str(), &asked.series).await?;
    let votes = u64::try_from(tally.votes).unwrap_or_default();
    let now = FeatureNow {
        votes: tally.votes,
        comments: tally.comments,
        demand_index: demand_index(votes, members),
    };
    let view = FeatureAnalytics { timeline: asked.timeline(activity), now };
    Ok(asked.answer(view))
}

/// Returns the activity of a waitlist's referrals: visits, joins, credits and rewards.
#[utoipa::path(get, path = "/api/v1/analytics/referrals/{id}", tag = "analytics",
    params(("id" = WaitlistId, Path, description = "The waitlist"), RangeQuery),
    responses((status = OK, body = ReferralAnalytics)))]
async fn referrals(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    Query(range): Query<RangeQuery>,
) -> Result<Response, Problem> {
    let asked = range.asked(&app, &principal).await?;
    existing(waitlists::read(&app.table, &principal.account_id, &id).await?, "waitlist")?;
    let activity = rollups::of_topic(&app.table, id.as_str(), &asked.series).await?;
    let now = ReferralsNow { credited: waitlists::counts(&app.table, &id).await?.referrals };
    let timeline: Timeline<ReferralActivity> = asked.timeline(activity);
    let conversion = rate(timeline.totals.referred, timeline.totals.clicked);
    Ok(asked.answer(ReferralAnalytics { timeline, conversion, now }))
}

/// Returns the activity of a code pool: claims, redemptions and imports.
#[utoipa::path(get, path = "/api/v1/analytics/code-pools/{id}", tag = "analytics",
    params(("id" = CodePoolId, Path), RangeQuery), responses((status = OK, body = CodePoolAnalytics)))]
async fn code_pool(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
    Query(range): Query<RangeQuery>,
) -> Result<Response, Problem> {
    let asked = range.asked(&app, &principal).await?;
    let missing = || Problem::because(problems::NOT_FOUND, "There is no such code pool.");
    code_pools::read(&app.table, &principal.account_id, &id).await?.ok_or_else(missing)?;
    let stats = code_pools::stats(&app.table, &id).await?.ok_or_else(missing)?;
    let activity = rollups::of_topic(&app.table, id.as_str(), &asked.series).await?;
    let redemption_rate = rate(stats.redeemed, stats.claimed);
    let timeline = asked.timeline(activity);
    Ok(asked.answer(CodePoolAnalytics { timeline, now: stats.into(), redemption_rate }))
}

/// Returns the activity of a stamp program: visits, stamps and rewards, active and at-risk customers, months and
/// cohorts.
#[utoipa::path(get, path = "/api/v1/analytics/programs/{id}", tag = "analytics",
    params(("id" = ProgramId, Path), RangeQuery), responses((status = OK, body = ProgramAnalytics)))]
async fn program(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ProgramId>,
    Query(range): Query<RangeQuery>,
) -> Result<Response, Problem> {
    let asked = range.asked(&app, &principal).await?;
    let found = programs::read(&app.table, &principal.account_id, &id).await?;
    existing(found, "program")?;
    let stats = programs::stats(&app.table, &id).await?;
    let months = programs::months(&app.table, &id).await?;
    let activity = rollups::of_topic(&app.table, id.as_str(), &asked.series).await?;
    let visitors = Visitors::new(&months, app.now());
    let view = ProgramAnalytics {
        timeline: asked.timeline::<ProgramActivity>(activity),
        now: ProgramNow {
            customers: stats.customers,
            active: visitors.active(),
            at_risk: visitors.at_risk(),
        },
        months: visitors.months(),
        cohorts: visitors.cohorts(),
    };
    Ok(asked.answer(view))
}

/// Returns the activity of a campaign's messages, up to the redemption of their discount codes.
#[utoipa::path(get, path = "/api/v1/analytics/campaigns/{id}", tag = "analytics",
    params(("id" = CampaignId, Path), RangeQuery), responses((status = OK, body = CampaignAnalytics)))]
async fn campaign(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    Query(range): Query<RangeQuery>,
) -> Result<Response, Problem> {
    let asked = range.asked(&app, &principal).await?;
    let found = campaigns::read(&app.table, &principal.account_id, &id).await?;
    existing(found, "campaign")?;
    let stats = campaigns::stats(&app.table, &id).await?;
    let activity = rollups::of_topic(&app.table, id.as_str(), &asked.series).await?;
    let view = CampaignAnalytics { timeline: asked.timeline(activity), now: stats.into() };
    Ok(asked.answer(view))
}

/// Returns the funnel of the account, from the visit to the redemption, over all its waitlists, code pools and
/// programs.
#[utoipa::path(get, path = "/api/v1/analytics/funnel", tag = "analytics", params(RangeQuery),
    responses((status = OK, body = FunnelAnalytics)))]
async fn account(
    State(app): State<App>,
    principal: Principal,
    Query(range): Query<RangeQuery>,
) -> Result<Response, Problem> {
    let asked = range.asked(&app, &principal).await?;
    let activity = rollups::of_account(&app.table, &principal.account_id, &asked.series).await?;
    let timeline = asked.timeline(activity);
    let funnel = funnel(&timeline.totals);
    Ok(asked.answer(FunnelAnalytics { timeline, funnel }))
}

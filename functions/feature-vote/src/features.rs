//! Creating, reading, changing, merging and deleting features.

use accounts::entities::AuditEntry;
use api::{
    App, Client, IfMatch, Json, List, PageQuery, PathId, Post, Principal, Problem, Query, acting_subscriber,
    created, etag, existing, merge_patch, problems, require_origin, respond,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::id::AccountId;
use families::EventView;
use features::{
    Listed,
    feature::{Feature, FeatureSettings},
    id::FeatureId,
};
use projection::events;
use table::CommitError;
use waitlists::id::WaitlistId;

use crate::dto::{FeatureFilter, FeatureRequest, FeatureView, MergeRequest};

/// Reads a feature of the account. A feature of another account is not found.
pub async fn own(app: &App, account: &AccountId, id: &FeatureId) -> Result<Feature, Problem> {
    let found = features::read(&app.table, account, id).await?;
    // The item of a merged feature stays in the table after its deletion, because votes still resolve through it.
    // It is not shown any more.
    let shown = found.filter(|feature| !feature.deleting || feature.merged_into.is_none());
    existing(shown, "feature")
}

/// Refuses changes to a feature that was merged or is being deleted.
fn require_kept(feature: &Feature) -> Result<(), Problem> {
    match &feature.merged_into {
        _ if feature.deleting => Err(features::problems::FEATURE_DELETING.into()),
        Some(target) => Err(Problem::because(
            features::problems::FEATURE_MERGED,
            format!("The feature was merged into {target}."),
        )),
        None => Ok(()),
    }
}

/// Returns the number of verified members of a waitlist.
async fn members(app: &App, waitlist: &WaitlistId) -> Result<u64, Problem> {
    Ok(waitlists::counts(&app.table, waitlist).await?.members())
}

/// Reads the numbers of a feature and returns its view.
async fn shown(app: &App, feature: Feature) -> Result<FeatureView, Problem> {
    let members = members(app, &feature.waitlist_id).await?;
    let counted = features::batch(&app.table, std::slice::from_ref(&feature.id)).await?;
    let tally = counted.into_iter().next().map(|listed| listed.tally);
    let tally = tally.unwrap_or_else(|| features::feature::FeatureTally::new(&feature));
    Ok(FeatureView::of(Listed { feature, tally }, members, None))
}

fn audit(app: &App, principal: &Principal, action: &str, id: &FeatureId) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, id.as_str(), app.now())
}

/// Creates a feature that the subscribers of a waitlist may vote for.
#[utoipa::path(post, path = "/api/v1/features", tag = "feature-vote", request_body = FeatureRequest,
    responses((status = CREATED, body = FeatureView)))]
pub async fn create(
    State(app): State<App>,
    principal: Principal,
    post: Post<FeatureRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let waitlist = existing(
        waitlists::read(&app.table, &principal.account_id, &post.body.waitlist_id).await?,
        "waitlist",
    )?;
    if waitlist.deleting {
        return Err(waitlists::problems::WAITLIST_DELETING.into());
    }
    let feature = Feature::new(principal.account_id.clone(), waitlist.id, post.body.settings(), app.now());
    let commit = features::create(&feature, &audit(&app, &principal, "feature.created", &feature.id));
    let (location, rev) = (format!("/api/v1/features/{}", feature.id), feature.rev);
    let tally = features::feature::FeatureTally::new(&feature);
    let answer = created(location, &FeatureView::of(Listed { feature, tally }, 0, None))?;
    let committed = post.commit(&app, commit, &answer).await?;
    Ok((etag(rev), respond(committed.answer_or(answer))).into_response())
}

/// Lists the features of a waitlist, by votes or newest first.
///
/// Features that were merged or are being deleted are left out. With an `X-Subscriber-Token`, each feature shows
/// whether the subscriber votes for it. A page may be short or empty although more pages follow.
#[utoipa::path(get, path = "/api/v1/features", tag = "feature-vote",
    params(FeatureFilter, ("X-Subscriber-Token" = Option<String>, Header)),
    responses((status = OK, body = List<FeatureView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(filter): Query<FeatureFilter>,
    client: Client,
) -> Result<axum::Json<List<FeatureView>>, Problem> {
    let page = PageQuery { cursor: filter.cursor, limit: filter.limit };
    let (cursor, limit) = (page.cursor()?, page.limit()?);
    let waitlist =
        existing(waitlists::read(&app.table, &principal.account_id, &filter.waitlist_id).await?, "waitlist")?;
    if principal.is_publishable() {
        require_origin(&waitlist.settings.allowed_origins, &client.headers)?;
    }
    let order = filter.sort.unwrap_or_default().into();
    let found = features::list(&app.table, &waitlist.id, order, filter.status, cursor, limit).await?;
    let members = members(&app, &waitlist.id).await?;
    let voted = match client.header("x-subscriber-token") {
        None => None,
        Some(_) => {
            let voter = acting_subscriber(&app, &principal, &client).await?;
            let ids: Vec<_> = found.data.iter().map(|listed| listed.feature.id.clone()).collect();
            Some(features::voted(&app.table, &voter, &ids).await?)
        }
    };
    let view = |listed: Listed| {
        let voted = voted.as_ref().map(|voted| voted.contains(&listed.feature.id));
        FeatureView::of(listed, members, voted)
    };
    Ok(axum::Json(found.map(view).into()))
}

/// Returns a feature with its votes and comments.
#[utoipa::path(get, path = "/api/v1/features/{id}", tag = "feature-vote", params(("id" = FeatureId, Path)),
    responses((status = OK, body = FeatureView)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    client: Client,
) -> Result<Response, Problem> {
    let feature = own(&app, &principal.account_id, &id).await?;
    if principal.is_publishable() {
        let waitlist = existing(
            waitlists::read(&app.table, &principal.account_id, &feature.waitlist_id).await?,
            "waitlist",
        )?;
        require_origin(&waitlist.settings.allowed_origins, &client.headers)?;
    }
    let rev = feature.rev;
    Ok((etag(rev), axum::Json(shown(&app, feature).await?)).into_response())
}

/// Changes the title, description or status of a feature (RFC 7396 merge patch).
#[utoipa::path(patch, path = "/api/v1/features/{id}", tag = "feature-vote",
    params(("id" = FeatureId, Path), ("If-Match" = String, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = FeatureView)))]
pub async fn patch(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    seen: IfMatch,
    Json(patch): Json<serde_json::Value>,
) -> Result<Response, Problem> {
    let old = own(&app, &principal.account_id, &id).await?;
    seen.check(old.rev)?;
    require_kept(&old)?;
    let settings: FeatureSettings = merge_patch(&old.settings, &patch)?;
    let new = Feature { settings, ..old.next(app.now()) };
    let audit = audit(&app, &principal, "feature.updated", &id);
    match features::update(&new, old.rev, &audit).apply(&app.table).await {
        Ok(()) => Ok((etag(new.rev), axum::Json(shown(&app, new).await?)).into_response()),
        Err(CommitError::Condition(_)) => Err(problems::PRECONDITION_FAILED.into()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a feature with its votes and comments.
///
/// The deletion continues after the response. The feature has `deleting: true` until the deletion is complete, and
/// is not found afterwards. A merged feature is no longer found as soon as its deletion has begun.
#[utoipa::path(delete, path = "/api/v1/features/{id}", tag = "feature-vote",
    params(("id" = FeatureId, Path)), responses((status = ACCEPTED)))]
pub async fn delete(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    seen: Option<IfMatch>,
) -> Result<Response, Problem> {
    let feature = own(&app, &principal.account_id, &id).await?;
    if let Some(seen) = seen {
        seen.check(feature.rev)?;
    }
    let audit = audit(&app, &principal, "feature.deleted", &id);
    features::begin_delete(&app.table, &feature, &audit, app.now()).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/features/{id}"))]).into_response())
}

/// Merges a feature into another one of the same waitlist.
///
/// The votes move to the other feature after the response. A subscriber who votes for both features has one vote
/// there. The merged feature keeps its comments and can still be read, but is no longer listed.
#[utoipa::path(post, path = "/api/v1/features/{id}/merge", tag = "feature-vote", params(("id" = FeatureId, Path)),
    request_body = MergeRequest, responses((status = ACCEPTED, body = FeatureView)))]
pub async fn merge(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    post: Post<MergeRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let source = own(&app, &principal.account_id, &id).await?;
    require_kept(&source)?;
    let target = features::read(&app.table, &principal.account_id, &post.body.into).await?;
    let target = target.filter(|target| target.waitlist_id == source.waitlist_id && target.id != source.id);
    let target =
        target.ok_or_else(|| Problem::field("into", "is not another feature of the same waitlist"))?;
    require_kept(&target)?;
    let now = app.now();
    let merged = source.merged(target.id.clone(), now);
    let audit = audit(&app, &principal, "feature.merged", &id);
    let commit = features::begin_merge(&merged, &target, &audit, now);
    let body = serde_json::to_string(&shown(&app, merged).await?)?;
    let location = Some(format!("/api/v1/features/{id}"));
    let answer = table::Answer { status: StatusCode::ACCEPTED.as_u16(), body, location };
    let committed = post.commit(&app, commit, &answer).await?;
    Ok(respond(committed.answer_or(answer)))
}

/// Lists the events of the last 30 days of a feature, newest first.
#[utoipa::path(get, path = "/api/v1/features/{id}/events", tag = "feature-vote",
    params(("id" = FeatureId, Path), PageQuery), responses((status = OK, body = List<EventView>)))]
pub async fn events(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<FeatureId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<EventView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = events::list(&app.table, id.as_str(), page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(EventView::from).into()))
}

//! Webhook endpoints and their deliveries: who is told of the account's events, and what they were told.

use std::sync::Arc;

use accounts::entities::AuditEntry;
use api::{
    App, Committed, IfMatch, Json, List, PageQuery, PathId, Post, Principal, Problem, Query, created, etag,
    existing, merge_patch, problems, rate_limited, respond,
};
use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use domain::{
    id::{AccountId, WebhookEndpointId},
    network::Networks,
};
use families::EventType;
use jiff::{SignedDuration, Timestamp};
use table::{Answer, CommitError};
use webhooks::{
    id::DeliveryId,
    webhook::{Delivery, DisabledReason, EndpointStatus, EndpointUrl, MAX_ENDPOINTS, WebhookEndpoint},
};

use crate::dto::{DeliveryView, EndpointRequest, EndpointSettings, EndpointView, Rotation};

/// A delivery that was asked for and has not been made by then is asked for again.
const ASKED_WITHIN: SignedDuration = SignedDuration::from_mins(15);

/// Additions of endpoints at once of which each is told what came of it; more of them may have to come again.
const ADDED_AT_ONCE: u32 = 40;
/// Tests of an endpoint within a minute: its URL may be somebody else's.
const TESTS_PER_MINUTE: u64 = 20;
/// Replays to an endpoint within a minute.
const REPLAYS_PER_MINUTE: u64 = 300;

/// The account's endpoints, oldest first.
#[utoipa::path(get, path = "/api/v1/webhook-endpoints", tag = "webhooks",
    responses((status = OK, body = List<EndpointView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
) -> Result<axum::Json<List<EndpointView>>, Problem> {
    let found = webhooks::endpoints(&app.table, &principal.account_id).await?;
    Ok(axum::Json(List::whole(found.into_iter().map(EndpointView::from))))
}

/// Adds an endpoint, which is told of what happens from now on. The answer is the only place where its secret is ever
/// shown: a repetition with the same Idempotency-Key gives the endpoint without it.
#[utoipa::path(post, path = "/api/v1/webhook-endpoints", tag = "webhooks", request_body = EndpointRequest,
    responses((status = CREATED, body = EndpointView)))]
pub async fn create(
    State(app): State<App>,
    Extension(networks): Extension<Arc<Networks>>,
    principal: Principal,
    post: Post<EndpointRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let EndpointRequest { url, description, event_types } = &post.body;
    let url = allowed(url, &networks)?;
    let wanted = EventType::in_order(event_types.clone().unwrap_or_default());
    let account = principal.account_id.clone();
    let endpoint = WebhookEndpoint::new(account, url, description.clone(), wanted, app.now());
    let location = format!("/api/v1/webhook-endpoints/{}", endpoint.id);
    let remembered = created(location.clone(), &EndpointView::from(endpoint.clone()))?;
    match add(&app, &principal, &post, &endpoint, &remembered).await? {
        Committed::Before(answer) => Ok(respond(answer)),
        Committed::Fresh => {
            let answer = created(location, &EndpointView::with_secret(endpoint.clone()))?;
            Ok((etag(endpoint.rev), respond(answer)).into_response())
        }
    }
}

/// Adds an endpoint to those that the account has, as long as there are not too many.
async fn add(
    app: &App,
    principal: &Principal,
    post: &Post<EndpointRequest>,
    endpoint: &WebhookEndpoint,
    remembered: &Answer,
) -> Result<Committed, Problem> {
    let audit = audit(app, principal, "created", &endpoint.id);
    let mut attempt = 0;
    loop {
        let fence = webhooks::fence(&app.table, &principal.account_id).await?;
        if webhooks::endpoints(&app.table, &principal.account_id).await?.len() >= MAX_ENDPOINTS {
            let detail = format!("An account has at most {MAX_ENDPOINTS}.");
            return Err(Problem::because(webhooks::problems::TOO_MANY_ENDPOINTS, detail));
        }
        let commit = webhooks::create(endpoint, fence.as_ref(), &audit);
        match post.commit(app, commit, remembered).await {
            // Another was added meanwhile: perhaps it was the last.
            Err(problem) if problem.is(webhooks::is_fenced) && attempt < ADDED_AT_ONCE => {
                attempt += 1;
                table::back_off(attempt.min(3)).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// An endpoint, without its secret.
#[utoipa::path(get, path = "/api/v1/webhook-endpoints/{id}", tag = "webhooks",
    params(("id" = WebhookEndpointId, Path)), responses((status = OK, body = EndpointView)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WebhookEndpointId>,
) -> Result<Response, Problem> {
    let endpoint = own(&app, &principal.account_id, &id).await?;
    Ok((etag(endpoint.rev), axum::Json(EndpointView::from(endpoint))).into_response())
}

/// Changes URL, description, event types or status (RFC 7396 merge patch). Enabled again, an endpoint is told of what
/// happens from then on; what it missed can be replayed as far as it was tried.
#[utoipa::path(patch, path = "/api/v1/webhook-endpoints/{id}", tag = "webhooks",
    params(("id" = WebhookEndpointId, Path), ("If-Match" = String, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = EndpointView)))]
pub async fn patch(
    State(app): State<App>,
    Extension(networks): Extension<Arc<Networks>>,
    principal: Principal,
    PathId(id): PathId<WebhookEndpointId>,
    seen: IfMatch,
    Json(patch): Json<serde_json::Value>,
) -> Result<Response, Problem> {
    let old = own(&app, &principal.account_id, &id).await?;
    seen.check(old.rev)?;
    let EndpointSettings { url, description, event_types, status } =
        merge_patch(&EndpointSettings::of(&old), &patch)?;
    let event_types = EventType::in_order(event_types);
    let disabled_reason = match status {
        EndpointStatus::Enabled => None,
        EndpointStatus::Disabled => Some(old.disabled_reason.unwrap_or(DisabledReason::Requested)),
    };
    let url = allowed(&url, &networks)?;
    let new =
        WebhookEndpoint { url, description, event_types, status, disabled_reason, ..old.next(app.now()) };
    let audit = audit(&app, &principal, "updated", &id);
    match webhooks::update(&new, old.rev, &audit).apply(&app.table).await {
        Ok(()) => Ok((etag(new.rev), axum::Json(EndpointView::from(new))).into_response()),
        Err(CommitError::Condition(_)) => Err(problems::PRECONDITION_FAILED.into()),
        Err(error) => Err(error.into()),
    }
}

/// Removes an endpoint: it is told of nothing more.
#[utoipa::path(delete, path = "/api/v1/webhook-endpoints/{id}", tag = "webhooks",
    params(("id" = WebhookEndpointId, Path)), responses((status = NO_CONTENT)))]
pub async fn delete(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WebhookEndpointId>,
    seen: Option<IfMatch>,
) -> Result<StatusCode, Problem> {
    let endpoint = own(&app, &principal.account_id, &id).await?;
    if let Some(seen) = seen {
        seen.check(endpoint.rev)?;
    }
    webhooks::delete(&endpoint, &audit(&app, &principal, "deleted", &id)).apply(&app.table).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new secret in place of the old one. For a while messages are signed with both, so that a receiver can
/// change over whenever it likes. The new one is shown in this answer only.
#[utoipa::path(post, path = "/api/v1/webhook-endpoints/{id}/rotate-secret", tag = "webhooks",
    params(("id" = WebhookEndpointId, Path)), request_body = Rotation,
    responses((status = OK, body = EndpointView)))]
pub async fn rotate_secret(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WebhookEndpointId>,
    post: Post<Rotation>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let overlap = post.body.overlap()?;
    let old = own(&app, &principal.account_id, &id).await?;
    let new = old.rotated(overlap, app.now());
    let commit = webhooks::update(&new, old.rev, &audit(&app, &principal, "secret_rotated", &id));
    let answer = |view: EndpointView| {
        Ok::<_, Problem>(Answer { status: 200, body: serde_json::to_string(&view)?, location: None })
    };
    match post.commit(&app, commit, &answer(EndpointView::from(new.clone()))?).await? {
        Committed::Before(answer) => Ok(respond(answer)),
        Committed::Fresh => Ok(respond(answer(EndpointView::with_secret(new))?)),
    }
}

/// Sends the endpoint a message of the type `webhook.test`, to see what comes of it; 20 a minute at most.
#[utoipa::path(post, path = "/api/v1/webhook-endpoints/{id}/test", tag = "webhooks",
    params(("id" = WebhookEndpointId, Path)), responses((status = ACCEPTED, body = DeliveryView)))]
pub async fn test(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WebhookEndpointId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let endpoint = own_enabled(&app, &principal.account_id, &id).await?;
    let verdict = app.limit(&principal.account_id, "webhook-test", id.as_str(), TESTS_PER_MINUTE).await?;
    let now = app.now();
    let message = webhooks::test_message(&id, now);
    let delivery = Delivery::new(&endpoint.id, endpoint.account_id, message, now);
    let asked = ask(&app, &principal, &post, delivery.queued(now + ASKED_WITHIN, now), "tested", now).await?;
    Ok(rate_limited(asked, Some(verdict)))
}

/// What the endpoint was told in the last 30 days, newest first, and what came of it.
#[utoipa::path(get, path = "/api/v1/webhook-endpoints/{id}/deliveries", tag = "webhooks",
    params(("id" = WebhookEndpointId, Path), PageQuery),
    responses((status = OK, body = List<DeliveryView>)))]
pub async fn deliveries(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WebhookEndpointId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<DeliveryView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = webhooks::deliveries(&app.table, &id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(DeliveryView::from).into()))
}

/// One delivery, with its latest attempts.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "webhooks", params(("id" = DeliveryId, Path)),
    responses((status = OK, body = DeliveryView)))]
pub async fn delivery(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<DeliveryId>,
) -> Result<axum::Json<DeliveryView>, Problem> {
    Ok(axum::Json(own_delivery(&app, &principal.account_id, &id).await?.into()))
}

/// Sends the message once more, with the same id, as if for the first time: it is tried until it is taken. 300 a minute at
/// most for each endpoint.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/replay", tag = "webhooks",
    params(("id" = DeliveryId, Path)), responses((status = ACCEPTED, body = DeliveryView)))]
pub async fn replay(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<DeliveryId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let endpoint = own_enabled(&app, &principal.account_id, &id.endpoint()).await?.id;
    let account = &principal.account_id;
    let verdict = app.limit(account, "webhook-replay", endpoint.as_str(), REPLAYS_PER_MINUTE).await?;
    let delivery = own_delivery(&app, &principal.account_id, &id).await?;
    let now = app.now();
    let asked =
        ask(&app, &principal, &post, delivery.replayed(now + ASKED_WITHIN, now), "replayed", now).await?;
    Ok(rate_limited(asked, Some(verdict)))
}

/// Has a delivery made, of which this is the next revision.
async fn ask<T>(
    app: &App,
    principal: &Principal,
    post: &Post<T>,
    delivery: Delivery,
    action: &str,
    now: Timestamp,
) -> Result<Response, Problem> {
    let endpoint = delivery.id.endpoint();
    let commit = webhooks::ask(&delivery, &audit(app, principal, action, &endpoint), now);
    let location = Some(format!("/api/v1/deliveries/{}", delivery.id));
    let body = serde_json::to_string(&DeliveryView::from(delivery))?;
    let answer = Answer { status: StatusCode::ACCEPTED.as_u16(), body, location };
    let committed = post.commit(app, commit, &answer).await?;
    Ok(respond(committed.answer_or(answer)))
}

/// An endpoint of the account: another account's does not exist.
async fn own(app: &App, account: &AccountId, id: &WebhookEndpointId) -> Result<WebhookEndpoint, Problem> {
    let found = webhooks::endpoint(&app.table, account, id).await?;
    existing(found, "webhook endpoint")
}

async fn own_enabled(
    app: &App,
    account: &AccountId,
    id: &WebhookEndpointId,
) -> Result<WebhookEndpoint, Problem> {
    let endpoint = own(app, account, id).await?;
    if endpoint.is_enabled() { Ok(endpoint) } else { Err(webhooks::problems::ENDPOINT_DISABLED.into()) }
}

/// A delivery of the account, to an endpoint that it still has.
async fn own_delivery(app: &App, account: &AccountId, id: &DeliveryId) -> Result<Delivery, Problem> {
    own(app, account, &id.endpoint()).await?;
    let found = webhooks::delivery(&app.table, id).await?;
    existing(found, "delivery")
}

fn allowed(url: &str, networks: &Networks) -> Result<EndpointUrl, Problem> {
    EndpointUrl::parse(url, networks).map_err(|invalid| Problem::invalid("url", &invalid))
}

fn audit(app: &App, principal: &Principal, action: &str, id: &WebhookEndpointId) -> AuditEntry {
    let action = format!("webhook_endpoint.{action}");
    AuditEntry::new(&principal.account_id, &principal.id, &action, id.as_str(), app.now())
}

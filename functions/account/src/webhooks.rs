//! Webhook endpoints of an account, and the deliveries to them.

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

/// Time after which a requested delivery is queued again if no attempt has been made.
const ASKED_WITHIN: SignedDuration = SignedDuration::from_mins(15);

/// Maximum number of retries of an addition that lost a race against another addition to the same account. With
/// more additions at the same time, some callers get 409 and have to repeat the request.
const ADDED_AT_ONCE: u32 = 40;
/// Maximum number of tests of one endpoint per minute. The limit protects the server at the URL, which may belong
/// to somebody else.
const TESTS_PER_MINUTE: u64 = 20;
/// Maximum number of replays to one endpoint per minute.
const REPLAYS_PER_MINUTE: u64 = 300;

/// Lists the webhook endpoints of the account, oldest first.
#[utoipa::path(get, path = "/api/v1/webhook-endpoints", tag = "webhooks",
    responses((status = OK, body = List<EndpointView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
) -> Result<axum::Json<List<EndpointView>>, Problem> {
    let found = webhooks::endpoints(&app.table, &principal.account_id).await?;
    Ok(axum::Json(List::whole(found.into_iter().map(EndpointView::from))))
}

/// Adds a webhook endpoint.
///
/// The endpoint receives the events that happen from now on. Only this response contains the secret. A repeated
/// request with the same `Idempotency-Key` returns the endpoint without the secret. An account has at most 20
/// endpoints.
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

/// Commits a new endpoint unless the account already has [`MAX_ENDPOINTS`].
///
/// The commit is conditional on the fence that was read before the endpoints were counted. If another endpoint was
/// added in between, the condition fails and the count is repeated.
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
            let detail = format!("An account has at most {MAX_ENDPOINTS} webhook endpoints.");
            return Err(Problem::because(webhooks::problems::TOO_MANY_ENDPOINTS, detail));
        }
        let commit = webhooks::create(endpoint, fence.as_ref(), &audit);
        match post.commit(app, commit, remembered).await {
            // Another endpoint was added since the fence was read: count again.
            Err(problem) if problem.is(webhooks::is_fenced) && attempt < ADDED_AT_ONCE => {
                attempt += 1;
                table::back_off(attempt.min(3)).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Returns a webhook endpoint without its secret.
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

/// Changes the URL, description, event types or status of a webhook endpoint (RFC 7396 merge patch).
///
/// A disabled endpoint receives no events. After it is enabled again, the endpoint receives the events that happen
/// from then on. Earlier deliveries that were attempted can be replayed.
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

/// Removes a webhook endpoint. The endpoint receives no further messages.
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

/// Replaces the secret of a webhook endpoint with a new one.
///
/// For `overlap_seconds`, messages are signed with both secrets, so that the receiver can switch without losing
/// messages. Only this response contains the new secret.
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

/// Sends a message of type `webhook.test` to the endpoint.
///
/// The message is sent after the response. `GET /api/v1/deliveries/{id}` shows the result. At most 20 tests per
/// minute and endpoint are allowed.
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

/// Lists the deliveries to an endpoint in the last 30 days, newest first, with their latest attempts.
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

/// Returns a delivery with its latest attempts.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "webhooks", params(("id" = DeliveryId, Path)),
    responses((status = OK, body = DeliveryView)))]
pub async fn delivery(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<DeliveryId>,
) -> Result<axum::Json<DeliveryView>, Problem> {
    Ok(axum::Json(own_delivery(&app, &principal.account_id, &id).await?.into()))
}

/// Sends the message of a delivery again.
///
/// The message keeps its id. It is retried like a new message until the endpoint accepts it or the retries end. At
/// most 300 replays per minute and endpoint are allowed.
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

/// Commits the next revision of a delivery together with the job that makes an attempt, and responds with 202.
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

/// Reads an endpoint of the account. An endpoint of another account is not found.
async fn own(app: &App, account: &AccountId, id: &WebhookEndpointId) -> Result<WebhookEndpoint, Problem> {
    let found = webhooks::endpoint(&app.table, account, id).await?;
    existing(found, "webhook endpoint")
}

/// Reads an endpoint of the account, which must be enabled.
async fn own_enabled(
    app: &App,
    account: &AccountId,
    id: &WebhookEndpointId,
) -> Result<WebhookEndpoint, Problem> {
    let endpoint = own(app, account, id).await?;
    if endpoint.is_enabled() { Ok(endpoint) } else { Err(webhooks::problems::ENDPOINT_DISABLED.into()) }
}

/// Reads a delivery to an endpoint that the account still has.
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

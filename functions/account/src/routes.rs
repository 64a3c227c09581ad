//! Routes of the account family.

use accounts::entities::{Account, AuditEntry};
use api::{Access, App, Json, List, PageQuery, Principal, Problem, Query, Routes, problems, routes};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use domain::id::AccountId;

use crate::{
    dto::{AccountPatch, AccountView, AuditView, Health},
    keys, members, webhooks,
};

const READ: Access = Access::Secret(accounts::ACCOUNT.read());
const WRITE: Access = Access::Secret(accounts::ACCOUNT.write());
const WEBHOOKS_READ: Access = Access::Secret(::webhooks::WEBHOOKS.read());
const WEBHOOKS_WRITE: Access = Access::Secret(::webhooks::WEBHOOKS.write());

/// Returns the routes of this function, with the access that each route requires.
pub fn routes() -> Routes {
    Routes::new()
        .route(Access::Public, routes!(live))
        .route(Access::Public, routes!(ready))
        .route(Access::Public, routes!(openapi))
        .route(READ, routes!(get_account))
        .route(WRITE, routes!(patch_account))
        .route(READ, routes!(members::list))
        .route(WRITE, routes!(members::create))
        .route(WRITE, routes!(members::update, members::delete))
        .route(READ, routes!(keys::list))
        .route(WRITE, routes!(keys::create))
        .route(WRITE, routes!(keys::rotate))
        .route(WRITE, routes!(keys::revoke))
        .route(READ, routes!(audit_log))
        .route(WEBHOOKS_READ, routes!(webhooks::list))
        .route(WEBHOOKS_WRITE, routes!(webhooks::create))
        .route(WEBHOOKS_READ, routes!(webhooks::get))
        .route(WEBHOOKS_WRITE, routes!(webhooks::patch, webhooks::delete))
        .route(WEBHOOKS_WRITE, routes!(webhooks::rotate_secret))
        .route(WEBHOOKS_WRITE, routes!(webhooks::test))
        .route(WEBHOOKS_READ, routes!(webhooks::deliveries))
        .route(WEBHOOKS_READ, routes!(webhooks::delivery))
        .route(WEBHOOKS_WRITE, routes!(webhooks::replay))
}

/// Checks that the process is running.
#[utoipa::path(get, path = "/api/v1/health/live", tag = "platform",
    responses((status = OK, body = Health)))]
async fn live() -> axum::Json<Health> {
    axum::Json(Health { status: "ok" })
}

/// Checks that the process is running and the table is reachable. Returns 503 if the table is not reachable.
#[utoipa::path(get, path = "/api/v1/health/ready", tag = "platform",
    responses((status = OK, body = Health)))]
async fn ready(State(app): State<App>) -> Result<axum::Json<Health>, Problem> {
    app.table.ping().await.map_err(|error| {
        tracing::error!(cause = %error, "readiness check failed");
        problems::UNAVAILABLE
    })?;
    Ok(axum::Json(Health { status: "ok" }))
}

/// Returns this OpenAPI document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "platform",
    responses((status = OK, body = Object, content_type = "application/json")))]
async fn openapi() -> Response {
    // A test generates this file and compares it with the routes of all families.
    let document = include_str!("../../../docs/openapi.json");
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")], document)
        .into_response()
}

async fn own_account(app: &App, id: &AccountId) -> Result<Account, Problem> {
    let found = accounts::read(&app.table, id).await?;
    found.map(|(account, _)| account).ok_or_else(|| problems::NOT_FOUND.into())
}

/// Returns the account to which the credentials belong.
#[utoipa::path(get, path = "/api/v1/account", tag = "account", responses((status = OK, body = AccountView)))]
async fn get_account(
    State(app): State<App>,
    principal: Principal,
) -> Result<axum::Json<AccountView>, Problem> {
    Ok(axum::Json(own_account(&app, &principal.account_id).await?.into()))
}

/// Changes the name or the rate limits of the account.
#[utoipa::path(patch, path = "/api/v1/account", tag = "account", request_body = AccountPatch,
    responses((status = OK, body = AccountView)))]
async fn patch_account(
    State(app): State<App>,
    principal: Principal,
    Json(patch): Json<AccountPatch>,
) -> Result<axum::Json<AccountView>, Problem> {
    let account = own_account(&app, &principal.account_id).await?;
    let rev = account.rev;
    let mut changed = Account { rev: rev + 1, ..account };
    if let Some(name) = patch.name {
        changed.name = name;
    }
    if let Some(limits) = patch.limits {
        let fields = [
            (
                "joins_per_ip_per_minute",
                limits.joins_per_ip_per_minute,
                &mut changed.limits.joins_per_ip_per_minute,
            ),
            (
                "clicks_per_ip_per_minute",
                limits.clicks_per_ip_per_minute,
                &mut changed.limits.clicks_per_ip_per_minute,
            ),
            (
                "claims_per_ip_per_minute",
                limits.claims_per_ip_per_minute,
                &mut changed.limits.claims_per_ip_per_minute,
            ),
            ("uploads_per_minute", limits.uploads_per_minute, &mut changed.limits.uploads_per_minute),
            ("analytics_per_minute", limits.analytics_per_minute, &mut changed.limits.analytics_per_minute),
        ];
        for (name, wanted, limit) in fields {
            match wanted {
                Some(value @ 1..=1_000_000) => *limit = value,
                Some(_) => return Err(Problem::field(format!("limits.{name}"), "is not 1–1,000,000")),
                None => {}
            }
        }
    }
    let audit =
        AuditEntry::new(&changed.id, &principal.id, "account.updated", changed.id.as_str(), app.now());
    accounts::update(&app.table, &changed, rev, &audit).await?;
    Ok(axum::Json(changed.into()))
}

/// Lists the audit log of the account, newest entry first.
#[utoipa::path(get, path = "/api/v1/audit-log", tag = "account", params(PageQuery),
    responses((status = OK, body = List<AuditView>)))]
async fn audit_log(
    State(app): State<App>,
    principal: Principal,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<AuditView>>, Problem> {
    let entries =
        accounts::audit_log(&app.table, &principal.account_id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(entries.map(AuditView::from).into()))
}

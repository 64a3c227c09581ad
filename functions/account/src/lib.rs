//! The account family: the account, its members, API keys and audit log, its webhook endpoints with their
//! deliveries, the health checks and the OpenAPI document.
//!
//! Access patterns: `account.*`, `key.*`, `audit.list`, `webhook.*`, `delivery.list`, `delivery.read`,
//! `delivery.ask`, `health.ping`.

mod dto;
mod keys;
mod members;
mod routes;
mod webhooks;

use std::sync::Arc;

use api::{App, StartError};
use axum::{Extension, Router};
use domain::network::Networks;

pub use routes::routes;

/// Builds the router from the environment variables.
///
/// # Errors
/// If an environment variable is missing or invalid.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    let networks = Arc::new(env.parse::<Networks>("WEBHOOK_NETWORKS")?);
    Ok(routes().into_router(App::from_env(env)?).layer(Extension(networks)))
}

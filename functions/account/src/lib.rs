//! The account family: the account itself, its members, its API keys, its audit log, its webhook endpoints and what
//! they were told, and what the platform says of itself (health, OpenAPI).
//!
//! Access patterns: `account.*`, `key.*`, `audit.list`, `webhook.*`, `delivery.list`, `delivery.read`, `delivery.ask`,
//! `health.ping`.

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

/// # Errors
/// When a variable is missing, or unfit.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    let networks = Arc::new(env.parse::<Networks>("WEBHOOK_NETWORKS")?);
    Ok(routes().into_router(App::from_env(env)?).layer(Extension(networks)))
}

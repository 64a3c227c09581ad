//! The account family: the account itself, its members, its API keys, its audit
//! log, and what the platform says of itself (health, OpenAPI).
//!
//! Access patterns: `account.*`, `key.*`, `audit.list`, `health.ping`.

mod dto;
mod keys;
mod members;
mod routes;

use api::{App, StartError};
use axum::Router;

pub use routes::routes;

/// # Errors
/// When a variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

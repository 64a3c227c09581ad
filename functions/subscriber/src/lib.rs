//! The subscriber family: joining, verifying, positions, invitations, erasure, exports.
//!
//! Access patterns: `subscriber.*`, `line.*`, `export.*`.

mod dto;
mod exports;
mod join;
mod links;
mod manage;
mod pages;
mod routes;

use api::{App, StartError};
use axum::Router;

pub use routes::routes;

/// Builds the router from the environment variables.
///
/// # Errors
/// If an environment variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    let bucket = files::Bucket::from_env(env)?;
    Ok(routes().into_router(App::from_env(env)?).layer(axum::Extension(bucket)))
}

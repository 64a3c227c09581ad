//! The feature-vote family: features, the votes for them, and comments.
//!
//! Access patterns: `feature.*`, `vote.*`, `comment.*`, `waitlist.read`, `waitlist.stats`, `subscriber.find`.

mod comments;
mod dto;
mod features;
mod routes;
mod votes;

use api::{App, StartError};
use axum::Router;

pub use routes::routes;

/// Builds the router from the environment variables.
///
/// # Errors
/// If an environment variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

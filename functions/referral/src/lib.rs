//! The referral family: visits through referral links, statistics, leaderboard, rewards and fraud review.
//!
//! Access patterns: `referral.*`.

mod dto;
mod review;
mod routes;

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

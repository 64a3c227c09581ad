//! The referral family: clicks, statistics, leaderboard, rewards, fraud review.
//!
//! Access patterns: `referral.*`.

mod dto;
mod review;
mod routes;

use api::{App, StartError};
use axum::Router;

pub use routes::routes;

/// # Errors
/// When a variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

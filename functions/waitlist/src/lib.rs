//! The waitlist family: waitlists, their public part for web pages, and their events.
//!
//! Access patterns: `waitlist.*`, `event.list`.

mod dto;
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

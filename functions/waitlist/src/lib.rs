//! The waitlist family: waitlists themselves, what a page needs of them, and
//! what happened on them.
//!
//! Access patterns: `waitlist.*`, `event.list`.

mod dto;
mod routes;

use api::{App, StartError};
use axum::Router;

pub use routes::routes;

/// # Errors
/// When a variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

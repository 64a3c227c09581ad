//! The analytics family: activity by the hour or the day of a time zone, and current numbers.
//!
//! All numbers are read from the roll-ups and counters that the projector writes. This function counts nothing
//! itself.
//!
//! Access patterns: `rollup.*`, `program.months`, and the item with its counters of each family.

mod dto;
mod programs;
mod range;
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

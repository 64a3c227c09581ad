//! The analytics family: what happened, by the hour or the day of a time zone, and how things stand.
//!
//! Everything is read from what the projector counted: nothing is counted here.
//!
//! Access patterns: `rollup.*`, `program.months`, and one item and its numbers of each family.

mod dto;
mod programs;
mod range;
mod routes;

use api::{App, StartError};
use axum::Router;

pub use routes::routes;

/// # Errors
/// When a variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

//! Stamp family: programs, customers, cards, stamps and card rewards.
//!
//! Only members and servers with a secret key give stamps and redeem rewards. A page with a publishable key may enrol
//! customers; its answer does not tell whether a customer is already enrolled.
//!
//! Access patterns: `program.*`, `customer.*`, `stamp.*`, `card-reward.*`, `event.list`, `rate.count`.

mod customers;
mod dto;
mod programs;
mod rewards;
mod routes;
mod stamps;

use api::{App, StartError};
use axum::Router;

pub use routes::routes;

/// Builds the router of the stamp family.
///
/// # Errors
/// When an environment variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

//! The stamp family: programs, the customers that collect, their cards, stamps and rewards.
//!
//! Who holds the till gives stamps and redeems rewards: staff, or a server with a secret key. A page may enrol
//! customers, and learns nothing about those who are enrolled already.
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

/// # Errors
/// When a variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

//! The campaign family: message campaigns, what became of their messages, and what providers say of them.
//!
//! Settings and states are changed here; the campaign scheduler makes the messages, the message sender sends
//! them. Twilio's callbacks carry a signature instead of a key, which their handler verifies.
//!
//! Access patterns: `campaign.*`, `send.*`, `twilio.*`, `customer.consent`, `customer.by-phone`, `event.list`.

mod campaigns;
mod dto;
mod hooks;
mod providers;
mod routes;

use api::{App, StartError};
use axum::Router;

pub use routes::routes;

/// # Errors
/// When a variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

//! Campaign family: campaigns, their messages, the Twilio account, and callbacks of Twilio.
//!
//! The function changes settings and states. The campaign scheduler creates the messages, and the message sender
//! sends them. Callbacks of Twilio carry a signature instead of a key; the handler of the callback verifies the
//! signature.
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

/// Builds the router of the campaign family.
///
/// # Errors
/// When an environment variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    Ok(routes().into_router(App::from_env(env)?))
}

//! Rules of Groundswell as pure types and functions.
//!
//! The crate does not depend on AWS, HTTP or the clock: a rule takes the current time as an argument. A constructor
//! validates its value, so every value that exists is valid.

pub mod consent;
pub mod country;
pub mod email;
pub mod event;
pub mod id;
pub mod money;
pub mod network;
mod number;
pub mod phone;
pub mod problem;
pub mod rate;
pub mod scope;
pub mod secret;
pub mod series;
pub mod text;
pub mod token;

/// Reason why a value was refused, in words that may be shown to the caller.
///
/// The text never repeats the value, which may be personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

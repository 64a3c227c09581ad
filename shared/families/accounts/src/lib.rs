//! Accounts: their members, API keys, signing keys, settings and audit log.

pub mod api_key;
pub mod entities;
pub mod patterns;
mod store;

pub use store::*;

/// What it brings.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "accounts",
    patterns: patterns::ALL,
    projections: &[],
    jobs: &[],
    forget: None,
};

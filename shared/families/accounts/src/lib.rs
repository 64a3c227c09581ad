//! The accounts family: accounts with their members, API keys, signing keys, limits and audit log.

use domain::scope::Area;

pub mod api_key;
pub mod entities;
pub mod id;
pub mod patterns;
pub mod problems;
mod store;

pub use store::*;

/// API area of the account, its members and its API keys.
pub const ACCOUNT: Area = Area { name: "account", staff: None };

projection::family! {
    name: "accounts",
    areas: [ACCOUNT],
    problems: problems::ALL,
    patterns: patterns::ALL,
    asks: [
        (&table::patterns::PING, &["account"]),
        (&table::patterns::IDEMPOTENCY, &["account"]),
        (&table::patterns::RATE, &["account"]),
    ],
}

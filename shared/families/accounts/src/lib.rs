//! Accounts: their members, API keys, signing keys, settings and audit log.

use domain::scope::Area;

pub mod api_key;
pub mod entities;
pub mod id;
pub mod patterns;
pub mod problems;
mod store;

pub use store::*;

/// The account, its members and its keys.
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

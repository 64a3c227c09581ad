//! Promo codes: pools, imports, stock, claims and the archive.

use domain::scope::{Action, Area};

pub mod archive;
pub mod choice;
pub mod claim;
pub mod claiming;
pub mod claims;
pub mod code_pool;
pub mod code_pools;
pub mod entities;
pub mod events;
pub mod id;
pub mod imports;
pub mod jobs;
pub mod patterns;
pub mod problems;
pub mod projection;
mod store;

pub use store::*;

/// Area of the API for code pools, codes and claims.
pub const CODES: Area = Area { name: "codes", staff: Some(Action::Read) };

::projection::family! {
    name: "codes",
    areas: [CODES],
    problems: problems::ALL,
    events: events::ALL,
    projections: [projection::Change],
    jobs: jobs::JOBS,
    runners: jobs::RUNNERS,
    patterns: patterns::ALL,
    asks: [
        (&table::patterns::IDEMPOTENCY, &["code-distribution"]),
        (&table::patterns::RATE, &["code-distribution"]),
        (&::projection::patterns::EVENTS, &["code-distribution"]),
        (&accounts::patterns::ACCOUNT, &["code-distribution", "code-import"]),
    ],
}

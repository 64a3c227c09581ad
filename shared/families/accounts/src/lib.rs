//! Accounts: their members, API keys, signing keys, settings and audit log.

pub mod api_key;
pub mod entities;
pub mod patterns;
mod store;

pub use store::*;

/// What it tells of.
pub static EVENTS: &[domain::event::EventKind] = &[];

/// What follows from changes of its items, in the order in which it follows within a lane.
pub static PROJECTIONS: &[::projection::Projection] = &[];

/// Its jobs, and who does them.
pub static JOBS: &[::projection::job::Jobs] = &[];

/// How the jobs function does its part of them.
pub static RUNNERS: &[::projection::job::Runner] = &[];

/// What it does about things of other families that are gone.
pub static FORGET: Option<::projection::job::Forget> = None;

/// What it says of itself.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "accounts",
    patterns: patterns::ALL,
    asks: &[
        (&table::patterns::PING, &["account"]),
        (&table::patterns::IDEMPOTENCY, &["account"]),
        (&table::patterns::RATE, &["account"]),
    ],
};

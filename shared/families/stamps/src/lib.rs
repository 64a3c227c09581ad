//! Stamp programs, their customers, cards, stamps and rewards.

use domain::scope::{Action, Area};

pub mod customer;
pub mod customers;
pub mod entities;
pub mod events;
pub mod id;
pub mod jobs;
pub mod patterns;
pub mod problems;
pub mod programs;
pub mod projection;
pub mod stamp;
mod store;
pub mod tasks;

pub use store::*;

/// Area of the API for programs and customers.
pub const STAMPS: Area = Area { name: "stamps", staff: Some(Action::Read) };
/// Area of the API for the till: giving stamps and redeeming rewards.
pub const TILL: Area = Area { name: "till", staff: Some(Action::Write) };

::projection::family! {
    name: "stamps",
    areas: [STAMPS, TILL],
    problems: problems::ALL,
    events: events::ALL,
    projections: [projection::Change],
    jobs: jobs::JOBS,
    runners: jobs::RUNNERS,
    patterns: patterns::ALL,
    asks: [
        (&table::patterns::IDEMPOTENCY, &["stamp"]),
        (&table::patterns::RATE, &["stamp"]),
        (&::projection::patterns::EVENTS, &["stamp"]),
        (&accounts::patterns::ACCOUNT, &["stamp"]),
    ],
}

//! Message campaigns: audiences, messages and what became of them.

pub mod campaign;
pub mod entities;
pub mod events;
pub mod jobs;
pub mod keyword;
pub mod patterns;
pub mod projection;
pub mod sends;
mod store;
pub mod tasks;
pub mod twilio;
pub mod twilio_accounts;

pub use store::*;

/// What it tells of.
pub static EVENTS: &[domain::event::EventKind] = events::ALL;

/// What follows from changes of its items, in the order in which it follows within a lane.
pub static PROJECTIONS: &[::projection::Projection] = &[
    ::projection::Projection::of::<projection::Redemption>(),
    ::projection::Projection::of::<projection::Change>(),
];

/// Its jobs, and who does them.
pub static JOBS: &[::projection::job::Jobs] = jobs::JOBS;

/// How the jobs function does its part of them.
pub static RUNNERS: &[::projection::job::Runner] = jobs::RUNNERS;

/// What it does about things of other families that are gone.
pub static FORGET: Option<::projection::job::Forget> = None;

/// What it says of itself.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "campaigns",
    patterns: patterns::ALL,
    asks: &[
        (&table::patterns::IDEMPOTENCY, &["campaign"]),
        (&table::patterns::RATE, &["campaign"]),
        (&::projection::patterns::EVENTS, &["campaign"]),
        (&accounts::patterns::ACCOUNT, &["campaign"]),
    ],
};

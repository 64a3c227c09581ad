//! Features, the votes for them and comments.

pub mod comments;
pub mod entities;
pub mod events;
pub mod feature;
pub mod jobs;
pub mod patterns;
pub mod projection;
mod store;

pub use store::*;

/// What it tells of.
pub static EVENTS: &[domain::event::EventKind] = events::ALL;

/// What follows from changes of its items, in the order in which it follows within a lane.
pub static PROJECTIONS: &[::projection::Projection] = &[::projection::Projection::of::<projection::Change>()];

/// Its jobs, and who does them.
pub static JOBS: &[::projection::job::Jobs] = jobs::JOBS;

/// How the jobs function does its part of them.
pub static RUNNERS: &[::projection::job::Runner] = jobs::RUNNERS;

/// What it does about things of other families that are gone.
pub static FORGET: Option<::projection::job::Forget> = Some(jobs::forget);

/// What it says of itself.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "features",
    patterns: patterns::ALL,
    asks: &[
        (&table::patterns::IDEMPOTENCY, &["feature-vote"]),
        (&table::patterns::RATE, &["feature-vote"]),
        (&::projection::patterns::EVENTS, &["feature-vote"]),
        (&accounts::patterns::ACCOUNT, &["feature-vote"]),
    ],
};

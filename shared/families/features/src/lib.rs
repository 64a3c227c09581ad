//! The features family: features, votes for features and comments on features.

use domain::scope::{Action, Area};

pub mod comments;
pub mod entities;
pub mod events;
pub mod feature;
pub mod id;
pub mod jobs;
pub mod patterns;
pub mod problems;
pub mod projection;
mod store;

pub use store::*;

/// API area of features, votes and comments.
pub const FEATURES: Area = Area { name: "features", staff: Some(Action::Read) };

::projection::family! {
    name: "features",
    areas: [FEATURES],
    problems: problems::ALL,
    events: events::ALL,
    projections: [projection::Change],
    jobs: jobs::JOBS,
    runners: jobs::RUNNERS,
    forget: jobs::forget,
    patterns: patterns::ALL,
    asks: [
        (&table::patterns::IDEMPOTENCY, &["feature-vote"]),
        (&table::patterns::RATE, &["feature-vote"]),
        (&::projection::patterns::EVENTS, &["feature-vote"]),
        (&accounts::patterns::ACCOUNT, &["feature-vote"]),
    ],
}

//! Webhook endpoints, and what each is told.

use domain::scope::{Action, Area};

pub mod entities;
pub mod id;
pub mod jobs;
pub mod patterns;
pub mod problems;
pub mod projection;
mod store;
pub mod tasks;
pub mod webhook;

pub use store::*;

/// Endpoints that are told of events, and what they were told.
pub const WEBHOOKS: Area = Area { name: "webhooks", staff: Some(Action::Read) };

::projection::family! {
    name: "webhooks",
    areas: [WEBHOOKS],
    problems: problems::ALL,
    projections: [projection::Happened],
    jobs: jobs::JOBS,
    patterns: patterns::ALL,
}

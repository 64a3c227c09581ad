//! Webhook endpoints, and the deliveries of events to them.

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

/// Area of the API for webhook endpoints and their deliveries.
pub const WEBHOOKS: Area = Area { name: "webhooks", staff: Some(Action::Read) };

::projection::family! {
    name: "webhooks",
    areas: [WEBHOOKS],
    problems: problems::ALL,
    projections: [projection::Happened],
    jobs: jobs::JOBS,
    patterns: patterns::ALL,
}

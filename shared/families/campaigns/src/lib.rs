//! Message campaigns: audiences, messages and their outcomes.

use domain::scope::{Action, Area};

pub mod campaign;
pub mod entities;
pub mod events;
pub mod jobs;
pub mod keyword;
pub mod patterns;
pub mod problems;
pub mod projection;
pub mod sends;
mod store;
pub mod tasks;
pub mod twilio;
pub mod twilio_accounts;

pub use store::*;

/// Area of the API for campaigns and messaging providers.
pub const CAMPAIGNS: Area = Area { name: "campaigns", staff: Some(Action::Read) };

::projection::family! {
    name: "campaigns",
    areas: [CAMPAIGNS],
    problems: problems::ALL,
    events: events::ALL,
    projections: [projection::Redemption, projection::Change],
    jobs: jobs::JOBS,
    runners: jobs::RUNNERS,
    patterns: patterns::ALL,
    asks: [
        (&table::patterns::IDEMPOTENCY, &["campaign"]),
        (&table::patterns::RATE, &["campaign"]),
        (&::projection::patterns::EVENTS, &["campaign"]),
        (&accounts::patterns::ACCOUNT, &["campaign"]),
    ],
}

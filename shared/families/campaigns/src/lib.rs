//! Message campaigns: audiences, messages and what became of them.

pub mod campaign;
pub mod entities;
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

/// What it brings.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "campaigns",
    patterns: patterns::ALL,
    projections: &[
        ::projection::Projection::of::<projection::Redemption>(),
        ::projection::Projection::of::<projection::Change>(),
    ],
    jobs: jobs::JOBS,
    forget: None,
};

//! Webhook endpoints, and what each is told.

pub mod entities;
pub mod jobs;
pub mod patterns;
pub mod projection;
mod store;
pub mod tasks;
pub mod webhook;

pub use store::*;

/// What it brings.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "webhooks",
    patterns: patterns::ALL,
    projections: &[::projection::Projection::of::<projection::Happened>()],
    jobs: jobs::JOBS,
    forget: None,
};

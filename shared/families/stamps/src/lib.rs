//! Stamp programs, their customers, cards, stamps and rewards.

pub mod customer;
pub mod customers;
pub mod entities;
pub mod jobs;
pub mod patterns;
pub mod programs;
pub mod projection;
pub mod stamp;
mod store;
pub mod tasks;

pub use store::*;

/// What it brings.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "stamps",
    patterns: patterns::ALL,
    projections: &[::projection::Projection::of::<projection::Change>()],
    jobs: jobs::JOBS,
    forget: None,
};

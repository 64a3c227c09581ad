//! Webhook endpoints, and what each is told.

pub mod entities;
pub mod jobs;
pub mod patterns;
pub mod projection;
mod store;
pub mod tasks;
pub mod webhook;

pub use store::*;

/// What it tells of.
pub static EVENTS: &[domain::event::EventKind] = &[];

/// What follows from changes of its items, in the order in which it follows within a lane.
pub static PROJECTIONS: &[::projection::Projection] =
    &[::projection::Projection::of::<projection::Happened>()];

/// Its jobs, and who does them.
pub static JOBS: &[::projection::job::Jobs] = jobs::JOBS;

/// How the jobs function does its part of them.
pub static RUNNERS: &[::projection::job::Runner] = &[];

/// What it does about things of other families that are gone.
pub static FORGET: Option<::projection::job::Forget> = None;

/// What it says of itself.
pub static FAMILY: ::projection::Family =
    ::projection::Family { name: "webhooks", patterns: patterns::ALL, asks: &[] };

//! Waitlists, subscribers and referrals: one family, which changes together.

pub mod counted;
pub mod entities;
pub mod erasure;
pub mod events;
pub mod export_file;
pub mod exports;
pub mod fraud;
pub mod jobs;
pub mod line;
pub mod patterns;
pub mod positions;
pub mod projection;
pub mod referral_code;
pub mod referrals;
pub mod seats;
mod store;
pub mod subscriber;
pub mod subscribers;
pub mod waitlist;

pub use store::*;

/// What it tells of.
pub static EVENTS: &[domain::event::EventKind] = events::ALL;

/// What follows from changes of its items, in the order in which it follows within a lane.
pub static PROJECTIONS: &[::projection::Projection] = &[
    ::projection::Projection::of::<projection::Confirmed>(),
    ::projection::Projection::of::<projection::Change>(),
    ::projection::Projection::of::<projection::Visit>(),
];

/// Its jobs, and who does them.
pub static JOBS: &[::projection::job::Jobs] = jobs::JOBS;

/// How the jobs function does its part of them.
pub static RUNNERS: &[::projection::job::Runner] = jobs::RUNNERS;

/// What it does about things of other families that are gone.
pub static FORGET: Option<::projection::job::Forget> = None;

/// What it says of itself.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "waitlists",
    patterns: patterns::ALL,
    asks: &[
        (&table::patterns::IDEMPOTENCY, &["referral", "subscriber", "waitlist"]),
        (&table::patterns::RATE, &["referral", "subscriber"]),
        (&::projection::patterns::EVENTS, &["waitlist"]),
        (&accounts::patterns::ACCOUNT, &["referral", "subscriber"]),
    ],
};

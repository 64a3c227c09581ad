//! Waitlists, subscribers and referrals: one family, which changes together.

pub mod entities;
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

/// What it brings.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "waitlists",
    patterns: patterns::ALL,
    projections: &[
        ::projection::Projection::of::<projection::Confirmed>(),
        ::projection::Projection::of::<projection::Change>(),
        ::projection::Projection::of::<projection::Visit>(),
    ],
    jobs: jobs::JOBS,
    forget: None,
};

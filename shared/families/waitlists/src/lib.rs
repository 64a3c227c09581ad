//! The waitlists family: waitlists, their subscribers and the referrals between subscribers. They are one family
//! because most changes touch more than one of them.

use domain::scope::{Action, Area};

pub mod counted;
pub mod entities;
pub mod erasure;
pub mod events;
pub mod export_file;
pub mod exports;
pub mod fraud;
pub mod id;
pub mod jobs;
pub mod line;
pub mod patterns;
pub mod positions;
pub mod problems;
pub mod projection;
pub mod referral_code;
pub mod referrals;
pub mod seats;
mod store;
pub mod subscriber;
pub mod subscribers;
pub mod waitlist;

pub use store::*;

pub const WAITLISTS: Area = Area { name: "waitlists", staff: Some(Action::Read) };
pub const SUBSCRIBERS: Area = Area { name: "subscribers", staff: Some(Action::Read) };
pub const REFERRALS: Area = Area { name: "referrals", staff: Some(Action::Read) };

::projection::family! {
    name: "waitlists",
    areas: [WAITLISTS, SUBSCRIBERS, REFERRALS],
    problems: problems::ALL,
    events: events::ALL,
    projections: [projection::Confirmed, projection::Change, projection::Visit],
    jobs: jobs::JOBS,
    runners: jobs::RUNNERS,
    patterns: patterns::ALL,
    asks: [
        (&table::patterns::IDEMPOTENCY, &["referral", "subscriber", "waitlist"]),
        (&table::patterns::RATE, &["referral", "subscriber"]),
        (&::projection::patterns::EVENTS, &["waitlist"]),
        (&accounts::patterns::ACCOUNT, &["referral", "subscriber"]),
    ],
}

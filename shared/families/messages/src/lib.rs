//! What the message sender needs whatever it sends: mails that are sent at least once, and the pace of senders.

pub mod entities;
pub mod mails;
pub mod patterns;
pub mod senders;
pub mod tasks;

/// What it tells of.
pub static EVENTS: &[domain::event::EventKind] = &[];

/// What follows from changes of its items, in the order in which it follows within a lane.
pub static PROJECTIONS: &[::projection::Projection] = &[];

/// Its jobs, and who does them.
pub static JOBS: &[::projection::job::Jobs] = &[];

/// How the jobs function does its part of them.
pub static RUNNERS: &[::projection::job::Runner] = &[];

/// What it does about things of other families that are gone.
pub static FORGET: Option<::projection::job::Forget> = None;

/// What it says of itself.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "messages",
    patterns: patterns::ALL,
    asks: &[
        (&table::patterns::RATE, &["message-sender"]),
        (&accounts::patterns::ACCOUNT, &["message-sender"]),
    ],
};

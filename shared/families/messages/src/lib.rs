//! What the message sender needs whatever it sends: mails that are sent at least once, and the pace of senders.

pub mod entities;
pub mod mails;
pub mod patterns;
pub mod senders;
pub mod tasks;

/// What it brings.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "messages",
    patterns: patterns::ALL,
    projections: &[],
    jobs: &[],
    forget: None,
};

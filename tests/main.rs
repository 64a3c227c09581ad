//! The scenarios: what the platform promises, over HTTP, against the running thing.

#![expect(clippy::unwrap_used, reason = "a panic is how a scenario reports")]

mod access;
mod account;
mod analytics;
mod campaigns;
mod capacity;
mod claims;
mod codes;
mod costs;
mod document;
mod events;
mod features;
mod files;
mod histories;
mod imports;
mod input;
mod layout;
mod mails;
mod positions;
mod process;
mod records;
mod referral;
mod seats;
mod stamps;
mod subscriber;
mod template;
mod timing;
mod waitlist;
mod webhooks;

//! The scenarios: what the platform promises, over HTTP, against the running thing.

mod access;
mod account;
mod costs;
mod document;
mod input;
mod positions;
mod referral;
mod subscriber;
mod waitlist;

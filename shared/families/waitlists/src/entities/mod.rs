//! Table items of the family: keys, indexes and expiry of waitlists, subscribers and referrals.

mod export;
pub(crate) mod referral;
pub(crate) mod subscriber;
mod task;
mod waitlist;

pub use export::*;
pub use referral::*;
pub use subscriber::*;
pub use task::*;
pub use waitlist::*;

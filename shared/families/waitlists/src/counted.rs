//! What is counted of a waitlist besides its events, and the names of the counters.

use std::collections::HashMap;

use crate::subscriber::SubscriberStatus;

/// Subscribers who joined through a referral.
pub const REFERRED: &str = "referred";
/// Subscribers who got into line: by confirming their address, or at once where that isn't asked for.
pub const ENTERED: &str = "entered";
/// Visits through a referral link.
pub const CLICKED: &str = "clicked";

/// Name of the counter of the subscribers with this status.
pub(crate) fn counter_of(status: SubscriberStatus) -> &'static str {
    match status {
        SubscriberStatus::Pending => "pending",
        SubscriberStatus::Active => "active",
        SubscriberStatus::Invited => "invited",
        SubscriberStatus::Converted => "converted",
    }
}

/// Name of the counter of the members who have a seat.
pub(crate) const SEATED: &str = "seated";

/// How many have entered the line and were not erased, by the counters of a waitlist.
pub(crate) fn members(stats: &HashMap<String, i64>) -> i64 {
    let statuses = SubscriberStatus::ALL.into_iter().filter(|status| *status != SubscriberStatus::Pending);
    statuses.filter_map(|status| stats.get(counter_of(status))).sum()
}

//! Names of a waitlist's counters, and of the measures that are counted without an event.

use std::collections::HashMap;

use crate::subscriber::SubscriberStatus;

/// Measure: subscribers who joined through a referral.
pub const REFERRED: &str = "referred";
/// Measure: subscribers who entered the line. A subscriber enters by confirming the address, or by joining if the
/// waitlist requires no confirmation.
pub const ENTERED: &str = "entered";
/// Measure: visits through a referral link.
pub const CLICKED: &str = "clicked";

/// Returns the name of the counter of subscribers with this status.
pub(crate) fn counter_of(status: SubscriberStatus) -> &'static str {
    match status {
        SubscriberStatus::Pending => "pending",
        SubscriberStatus::Active => "active",
        SubscriberStatus::Invited => "invited",
        SubscriberStatus::Converted => "converted",
    }
}

/// Name of the counter of members who hold a seat.
pub(crate) const SEATED: &str = "seated";

/// Returns the number of members according to a waitlist's counters. A member is a subscriber who has entered the
/// line and was not erased.
pub(crate) fn members(stats: &HashMap<String, i64>) -> i64 {
    let statuses = SubscriberStatus::ALL.into_iter().filter(|status| *status != SubscriberStatus::Pending);
    statuses.filter_map(|status| stats.get(counter_of(status))).sum()
}

//! The ids of stamps and rewards; those of one customer sort in the order of time. A program's and a customer's are in
//! `domain::id`.

use domain::id::{self, CustomerId};
use jiff::Timestamp;

domain::ids_within! {
    /// The stamps of one visit.
    StampId = "stamp", CustomerId customer;
    /// What a full card is good for.
    CardRewardId = "crw", CustomerId customer;
}

impl StampId {
    /// A new id of a visit at this time.
    pub fn new(customer: &CustomerId, at: Timestamp) -> Self {
        Self::within(customer, &id::fresh(at))
    }
}

impl CardRewardId {
    /// A new id of a card that was filled at this time.
    pub fn new(customer: &CustomerId, at: Timestamp) -> Self {
        Self::within(customer, &id::fresh(at))
    }
}

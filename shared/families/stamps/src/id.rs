//! Ids of stamps and card rewards. The ids of one customer sort in the order of time. The ids of programs and
//! customers are in `domain::id`.

use domain::id::{self, CustomerId};
use jiff::Timestamp;

domain::ids_within! {
    /// Id of the stamps of one visit.
    StampId = "stamp", CustomerId customer;
    /// Id of a card reward: the reward for a full card.
    CardRewardId = "crw", CustomerId customer;
}

impl StampId {
    /// Returns a new id for a visit at this time.
    pub fn new(customer: &CustomerId, at: Timestamp) -> Self {
        Self::within(customer, &id::fresh(at))
    }
}

impl CardRewardId {
    /// Returns a new id for the reward of a card that was filled at this time.
    pub fn new(customer: &CustomerId, at: Timestamp) -> Self {
        Self::within(customer, &id::fresh(at))
    }
}

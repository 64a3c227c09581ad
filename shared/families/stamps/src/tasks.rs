//! What the campaign scheduler hears of.

use domain::id::{CustomerId, ProgramId};
use serde::{Deserialize, Serialize};

/// The variable with the address of the campaign scheduler's queue.
pub const QUEUE: &str = "CAMPAIGN_TASKS_QUEUE_URL";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    Milestone(MilestoneReached),
}

/// A customer has come so often, for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MilestoneReached {
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub visits: u64,
}

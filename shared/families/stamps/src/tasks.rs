//! Tasks that the stamps family sends to the campaign scheduler.

use domain::id::{CustomerId, ProgramId};
use serde::{Deserialize, Serialize};

/// Environment variable with the URL of the campaign scheduler's queue.
pub const QUEUE: &str = "CAMPAIGN_TASKS_QUEUE_URL";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    Milestone(MilestoneReached),
}

/// First time that a customer reaches this number of visits in a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MilestoneReached {
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub visits: u64,
}

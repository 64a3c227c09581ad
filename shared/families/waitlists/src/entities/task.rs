//! Tasks of the family's jobs.

use crate::id::{ExportId, WaitlistId};
use domain::id::SubscriberId;
use serde::{Deserialize, Serialize};

/// Task of a job: work that takes longer than a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Writes the file of an export.
    ExportSubscribers { export_id: ExportId },
    /// Deletes a waitlist with its subscribers.
    DeleteWaitlist { waitlist_id: WaitlistId },
    /// Deletes the files of a waitlist's exports, because a subscriber was erased.
    PurgeExports { waitlist_id: WaitlistId },
    /// Makes the other families remove their data about an erased subscriber, such as votes and comments.
    Silence { subscriber_id: SubscriberId },
}

//! What jobs are asked for.

use crate::id::{ExportId, WaitlistId};
use domain::id::SubscriberId;
use serde::{Deserialize, Serialize};

/// Work that outlasts a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    ExportSubscribers {
        export_id: ExportId,
    },
    DeleteWaitlist {
        waitlist_id: WaitlistId,
    },
    /// Somebody was erased: no export may keep them.
    PurgeExports {
        waitlist_id: WaitlistId,
    },
    /// Somebody was erased: no other family may keep what they did.
    Silence {
        subscriber_id: SubscriberId,
    },
}

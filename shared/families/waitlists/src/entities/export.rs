//! Exports of a waitlist's subscribers.

use crate::id::{ExportId, WaitlistId};
use domain::id::AccountId;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, join, keys::GSI1};

/// Status of an export.
///
/// - `running`: the file is being written.
/// - `completed`: the file can be downloaded.
/// - `expired`: the file was deleted. Files are deleted 7 days after the export was started, and when a subscriber
///   of the waitlist is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportStatus {
    /// The file is being written.
    Running,
    /// The file can be downloaded.
    Completed,
    /// The file is deleted, because a subscriber of the waitlist was erased or the file's 7 days are over.
    Expired,
}

/// An export of a waitlist's subscribers as a CSV file. The file is kept for 7 days, the item for 30 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub id: ExportId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub status: ExportStatus,
    pub rows: u64,
    /// Key of the file in the S3 bucket.
    pub object: String,
    pub created_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub rev: u64,
}

impl Export {
    pub fn key_of(id: &ExportId) -> Key {
        Key::new(&["EXPORT", id.as_str()], &["META"])
    }

    pub fn list_partition(waitlist: &WaitlistId) -> String {
        join(&["WLEXPORTS", waitlist.as_str()])
    }
}

impl Entity for Export {
    const TYPE: &'static str = "export";
    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        vec![IndexKey {
            index: GSI1,
            pk: Self::list_partition(&self.waitlist_id),
            sk: self.id.as_str().to_owned(),
        }]
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.created_at + (30 * 24).hours())
    }
}

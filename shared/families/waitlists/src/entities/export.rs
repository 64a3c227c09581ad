//! Exports of a waitlist's subscribers.

use crate::id::{ExportId, WaitlistId};
use domain::id::AccountId;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, join, keys::GSI1};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportStatus {
    Running,
    Completed,
    /// Somebody in it was erased, or its file's time is over.
    Expired,
}

/// A CSV of a waitlist's subscribers; the file is kept 7 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub id: ExportId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub status: ExportStatus,
    pub rows: u64,
    /// The file's key in the bucket.
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

//! Writes that only take time.

use domain::secret;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::{Entity, keys::Key};

/// An item that nobody reads; kept an hour.
///
/// A request about something that is there already writes fillers in place of what it would have made, where the time
/// that it takes must not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filler {
    pub id: String,
    pub at: Timestamp,
}

impl Filler {
    /// One with an id of its own.
    pub fn random() -> Self {
        Self { id: secret::encode(&secret::random::<16>()), at: Timestamp::now() }
    }
}

impl Entity for Filler {
    const TYPE: &'static str = "filler";
    fn key(&self) -> Key {
        Key::new(&["FILLER", &self.id], &["META"])
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + 1.hour())
    }
}

//! Filler items, which make a response take longer.

use domain::secret;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::{Entity, keys::Key};

/// Item that nothing reads. Expires after one hour.
///
/// If the object that a request would create exists already, the request writes fillers instead. The response time
/// then does not reveal that the object exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filler {
    pub id: String,
    pub at: Timestamp,
}

impl Filler {
    /// Returns a filler with a random id.
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

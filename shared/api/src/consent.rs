//! Consent as front ends capture it.

use domain::{consent::Consent, text::Line};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A yes or no, or with the words agreed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected true, false, or {\"granted\": bool, \"text\": string}")]
pub enum ConsentInput {
    Granted(bool),
    Worded {
        granted: bool,
        #[serde(default)]
        text: Option<Line>,
    },
}

impl ConsentInput {
    /// What would have to be said to get this consent.
    pub fn of(consent: &Consent) -> Self {
        match consent.text.clone() {
            None => Self::Granted(consent.granted),
            text => Self::Worded { granted: consent.granted, text },
        }
    }

    pub fn at(&self, at: Timestamp) -> Consent {
        match self {
            Self::Granted(granted) => Consent { granted: *granted, text: None, at },
            Self::Worded { granted, text } => Consent { granted: *granted, text: text.clone(), at },
        }
    }
}

//! Consent in the form in which front ends send it.

use domain::{consent::Consent, text::Line};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Consent of a subscriber: `true` or `false`, or an object that adds the text that the subscriber agreed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected true, false, or {\"granted\": bool, \"text\": string}")]
pub enum ConsentInput {
    /// Whether the subscriber agrees.
    Granted(bool),
    /// Consent with the text that it refers to.
    Worded {
        /// Whether the subscriber agrees.
        granted: bool,
        /// Text that the subscriber agreed to, or its version.
        #[serde(default)]
        text: Option<Line>,
    },
}

impl ConsentInput {
    /// Returns the input that leads to this consent.
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

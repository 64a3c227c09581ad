//! Consent to mail and messages.

use jiff::Timestamp;

use crate::text::Line;

/// What the subscriber agreed to, and when.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Consent {
    /// Whether mail beyond what joining needs may be sent.
    pub granted: bool,
    /// The words that were agreed to, or their version.
    pub text: Option<Line>,
    pub at: Timestamp,
}

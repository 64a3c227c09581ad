//! Consent to mails and messages.

use jiff::Timestamp;

use crate::text::Line;

/// Consent that a subscriber gave or refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Consent {
    /// True if the subscriber may receive mails other than those needed for joining.
    pub granted: bool,
    /// Text that the subscriber agreed to, or its version.
    pub text: Option<Line>,
    /// Time at which the subscriber agreed or refused.
    pub at: Timestamp,
}

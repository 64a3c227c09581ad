//! Reasons why a caller is not authenticated.

use api::ProblemKind;
use table::TableError;

/// Reason why a caller is not authenticated.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{}", .0.title())]
    Problem(ProblemKind),
    #[error(transparent)]
    Store(#[from] TableError),
    /// The public keys of the issuer cannot be fetched.
    #[error("the issuer is out of reach: {0}")]
    Issuer(String),
}

impl From<ProblemKind> for Refusal {
    fn from(kind: ProblemKind) -> Self {
        Self::Problem(kind)
    }
}

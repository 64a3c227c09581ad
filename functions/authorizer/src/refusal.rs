//! Why somebody is not let in.

use api::ProblemKind;
use table::TableError;

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{}", .0.title())]
    Problem(ProblemKind),
    #[error(transparent)]
    Store(#[from] TableError),
    /// The issuer's keys can't be had.
    #[error("the issuer is out of reach: {0}")]
    Issuer(String),
}

impl From<ProblemKind> for Refusal {
    fn from(kind: ProblemKind) -> Self {
        Self::Problem(kind)
    }
}

//! `ETag` and `If-Match`: a caller can't overwrite a revision that it has not read.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderName, header, request::Parts},
};

use crate::{Problem, problems};

/// Returns the `ETag` header for a revision.
pub fn etag(rev: u64) -> [(HeaderName, String); 1] {
    [(header::ETAG, format!("\"{rev}\""))]
}

/// `If-Match` header. Required where a handler extracts it without `Option`.
pub struct IfMatch(String);

impl IfMatch {
    /// Checks that the header names this revision, or `*`.
    ///
    /// # Errors
    /// [`problems::PRECONDITION_FAILED`] if it names other revisions only.
    pub fn check(&self, rev: u64) -> Result<(), Problem> {
        let current = format!("\"{rev}\"");
        let seen = self.0.split(',').map(str::trim).any(|tag| tag == "*" || tag == current);
        if seen { Ok(()) } else { Err(problems::PRECONDITION_FAILED.into()) }
    }
}

/// Reads the header where it is optional.
impl<S: Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        let header = parts.headers.get(header::IF_MATCH);
        Ok(header.map(|value| Self(value.to_str().unwrap_or_default().to_owned())))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default()) {
            Some(text) => Ok(Self(text.to_owned())),
            None => Err(Problem::because(
                problems::PRECONDITION_REQUIRED,
                "Send the ETag that you read as If-Match.",
            )),
        }
    }
}

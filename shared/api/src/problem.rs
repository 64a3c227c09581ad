//! RFC 9457 problems: the errors that callers see.
//!
//! Each [`ProblemKind`] has a page in `docs/problems/`, and the `type` of a problem is the URL of that page. The
//! public text is separate from the cause. The cause is logged once, here, and never sent.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
pub use domain::problem::ProblemKind;
use domain::{Invalid, rate::Verdict};
use jiff::Timestamp;
use serde::Serialize;
use table::{CommitError, TableError};
use utoipa::ToSchema;

use crate::{limits, problems, request_id};

/// A field, parameter or header that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field in the body (`reward_tiers[0].name`), or name of the parameter or header. Empty for the
    /// body as a whole.
    pub path: String,
    /// Reason for the refusal, in words.
    pub detail: String,
}

/// Error that is returned to the caller.
#[derive(Debug)]
pub struct Problem {
    pub kind: ProblemKind,
    /// Public text that explains this occurrence of the problem.
    pub detail: Option<String>,
    pub errors: Vec<FieldError>,
    /// State of the rate limit that refused the request.
    pub rate: Option<Box<Verdict>>,
    /// Time from which the same request can succeed.
    pub retry_at: Option<Timestamp>,
    /// True if nothing was written because another writer changed the same items at the same time.
    pub(crate) contended: bool,
    /// Cause of the error. Logged, never sent.
    pub(crate) cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Error in the format of RFC 9457 (`application/problem+json`). Every error response has this body.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// URL of the page that describes this kind of problem. Programs tell problems apart by this URL.
    #[serde(rename = "type")]
    kind: String,
    /// Short summary of the kind of problem. For people; the text may change.
    title: String,
    /// HTTP status code of the response.
    status: u16,
    /// Explanation of this occurrence of the problem. For people; the text may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Fields, parameters or headers that were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// Time from which the same request can succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<Timestamp>,
    /// Id that identifies the request in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self {
            kind,
            detail: None,
            errors: Vec::new(),
            rate: None,
            retry_at: None,
            contended: false,
            cause: None,
        }
    }
}

impl Problem {
    pub fn because(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..kind.into() }
    }

    /// Returns a problem that tells the caller from which time the same request can succeed.
    pub fn until(kind: ProblemKind, at: Timestamp) -> Self {
        Self {
            retry_at: Some(at),
            ..Self::because(kind, format!("The same request can succeed from {at} on."))
        }
    }

    /// Turns a conflict with other writers into [`problems::UNAVAILABLE`], for callers that retry by themselves,
    /// such as tills and providers. Returns other problems unchanged.
    pub fn or_unavailable(self) -> Self {
        if self.contended { problems::UNAVAILABLE.into() } else { self }
    }

    /// Returns the problem for a conflict with another writer. Nothing was written, and [`retried`](crate::retried)
    /// makes another attempt.
    pub fn contended() -> Self {
        Self { contended: true, ..problems::CONFLICT.into() }
    }

    /// Returns the problem for a refused field, parameter or header.
    pub fn field(path: impl Into<String>, detail: impl Into<String>) -> Self {
        let error = FieldError { path: path.into(), detail: detail.into() };
        Self {
            detail: Some(format!("{} {}", error.path, error.detail).trim_start().to_owned()),
            errors: vec![error],
            ..problems::VALIDATION_FAILED.into()
        }
    }

    pub fn invalid(path: &str, invalid: &Invalid) -> Self {
        Self::field(path, invalid.to_string())
    }

    /// Returns the problem for an unexpected failure. The cause is logged and not shown.
    pub fn unexpected(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::internal(problems::INTERNAL_ERROR, cause)
    }

    fn internal(kind: ProblemKind, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..kind.into() }
    }
}

impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Unavailable { .. } | TableError::Unknown { .. } => {
                Self::internal(problems::UNAVAILABLE, error)
            }
            _ => Self::internal(problems::INTERNAL_ERROR, error),
        }
    }
}

impl From<CommitError> for Problem {
    /// Converts a failed condition that the handler does not expect into a conflict: another writer was faster.
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Condition(_) => Self::contended(),
            CommitError::Table(error) => error.into(),
        }
    }
}

impl From<serde_json::Error> for Problem {
    /// Converts a failure to write a response. The extractors handle failures to read a body.
    fn from(error: serde_json::Error) -> Self {
        Self::internal(problems::INTERNAL_ERROR, error)
    }
}

/// Marks the response to a problem, so that the layers around the handler know the kind of the problem.
#[derive(Clone, Copy)]
pub(crate) struct IsProblem(pub ProblemKind);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(cause) = &self.cause {
            let chain = std::iter::successors(Some(cause.as_ref() as &dyn std::error::Error), |e| e.source())
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(": ");
            tracing::error!(problem = self.kind.slug(), cause = chain, "request failed");
        }
        let body = ProblemBody {
            kind: self.kind.uri(),
            title: self.kind.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            errors: self.errors,
            retry_at: self.retry_at,
            request_id: request_id::current(),
        };
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(at) = self.retry_at {
            let seconds = at.as_second().saturating_sub(Timestamp::now().as_second()).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.rate {
            Some(verdict) => limits::rate_headers(headers, &verdict),
            None if status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            None => {}
        }
        response.extensions_mut().insert(IsProblem(self.kind));
        response
    }
}

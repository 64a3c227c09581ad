//! RFC 9457 problems: every error that a caller sees.
//!
//! A [`ProblemKind`] is a page in `docs/problems/`; its `type` is the page's
//! address. The public text is separate from the cause, which is logged once,
//! here, and never sent.

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

/// A field that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where in the body (`reward_tiers[0].name`), or the name of a parameter or header.
    pub path: String,
    pub detail: String,
}

/// An error on its way to the caller.
#[derive(Debug)]
pub struct Problem {
    pub kind: ProblemKind,
    /// Public.
    pub detail: Option<String>,
    pub errors: Vec<FieldError>,
    /// Where the limit of a refused request stands.
    pub rate: Option<Box<Verdict>>,
    /// When the same request will be taken.
    pub retry_at: Option<Timestamp>,
    /// Whether nothing was written because somebody else changed the same at the same time.
    pub(crate) contended: bool,
    /// For the log only.
    pub(crate) cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// The problem's page.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// When the same request will be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<Timestamp>,
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

    /// Says when the same request will be taken.
    pub fn until(kind: ProblemKind, at: Timestamp) -> Self {
        Self { retry_at: Some(at), ..Self::because(kind, format!("Possible again at {at}.")) }
    }

    /// What is said to a machine that asks again by itself, a till or a provider, when others keep changing the same.
    pub fn or_unavailable(self) -> Self {
        if self.contended { problems::UNAVAILABLE.into() } else { self }
    }

    /// Somebody else changed the same at the same time, and nothing was written: [`retried`](crate::retried) tries again.
    pub fn contended() -> Self {
        Self { contended: true, ..problems::CONFLICT.into() }
    }

    /// A refused field, parameter or header.
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

    /// Something failed that should not have: logged, not shown.
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
    /// A condition that the handler did not look for means that somebody else was faster.
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Condition(_) => Self::contended(),
            CommitError::Table(error) => error.into(),
        }
    }
}

impl From<serde_json::Error> for Problem {
    /// Writing an answer failed: reading a body is the extractors' business.
    fn from(error: serde_json::Error) -> Self {
        Self::internal(problems::INTERNAL_ERROR, error)
    }
}

/// Marks a response whose body the outermost layer completes with the request's id.
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

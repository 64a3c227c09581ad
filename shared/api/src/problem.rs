//! RFC 9457 problems: every error that a caller sees.
//!
//! A [`ProblemKind`] is a page in `docs/problems/`; its `type` is the page's
//! address. The public text is separate from the cause, which is logged once,
//! here, and never sent.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{Invalid, rate::Verdict};
use jiff::Timestamp;
use serde::Serialize;
use table::{CommitError, TableError};
use utoipa::ToSchema;

use crate::{limits, request_id};

/// Where the pages are published.
const BASE: &str = "https://groundswell.dev/problems/";

macro_rules! kinds {
    ($($name:ident $slug:literal $status:ident $title:literal;)*) => {
        /// What went wrong, as a caller may act on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind { $($name),* }

        impl ProblemKind {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug),* }
            }

            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

kinds! {
    BadRequest "bad-request" BAD_REQUEST "Bad request";
    MalformedJson "malformed-json" BAD_REQUEST "The body is not JSON";
    ValidationFailed "validation-failed" UNPROCESSABLE_ENTITY "A field is invalid";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "The body must be application/json";
    PayloadTooLarge "payload-too-large" PAYLOAD_TOO_LARGE "The body is too large";
    Unauthorized "unauthorized" UNAUTHORIZED "Authentication required";
    InvalidApiKey "invalid-api-key" UNAUTHORIZED "The API key is not valid";
    RevokedApiKey "revoked-api-key" UNAUTHORIZED "The API key has been revoked";
    InvalidToken "invalid-token" UNAUTHORIZED "The token is not valid";
    ExpiredToken "expired-token" UNAUTHORIZED "The token has expired";
    NotAMember "not-a-member" UNAUTHORIZED "The token's owner is no member of an account";
    AccountRequired "account-required" UNAUTHORIZED "Say which account to act for";
    InsufficientScope "insufficient-scope" FORBIDDEN "The credentials do not allow this";
    SecretKeyRequired "secret-key-required" FORBIDDEN "A publishable key is not enough";
    SubscriberTokenRequired "subscriber-token-required" FORBIDDEN "The subscriber's own token is needed";
    ServerOnly "server-only" FORBIDDEN "Only a server may do this here";
    OriginNotAllowed "origin-not-allowed" FORBIDDEN "Pages of this origin may not call";
    NotFound "not-found" NOT_FOUND "Not found";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The path has no such method";
    Conflict "conflict" CONFLICT "Somebody else changed it at the same time";
    SlugTaken "slug-taken" CONFLICT "The slug is taken";
    MemberExists "member-exists" CONFLICT "The address is a member already";
    LastOwner "last-owner" CONFLICT "An account needs an owner";
    KeyNotActive "key-not-active" CONFLICT "The key is not active";
    WaitlistNotOpen "waitlist-not-open" CONFLICT "The waitlist takes nobody at present";
    WaitlistFull "waitlist-full" CONFLICT "The waitlist is full";
    WaitlistDeleting "waitlist-deleting" CONFLICT "The waitlist is being deleted";
    NotInLine "not-in-line" CONFLICT "The subscriber is not in line";
    NotVerified "not-verified" FORBIDDEN "The subscriber's address is not verified";
    FeatureClosed "feature-closed" CONFLICT "Nobody votes on the feature any more";
    FeatureMerged "feature-merged" CONFLICT "The feature was merged into another one";
    FeatureDeleting "feature-deleting" CONFLICT "The feature is being deleted";
    ReferralNotReviewable "referral-not-reviewable" CONFLICT "The referral's status does not allow this";
    CodePoolPaused "code-pool-paused" CONFLICT "The code pool is paused";
    CodePoolCompleted "code-pool-completed" GONE "The code pool has ended";
    CodePoolExpired "code-pool-expired" GONE "The code pool has expired";
    CodePoolDeleting "code-pool-deleting" CONFLICT "The code pool is being deleted";
    CodesExhausted "codes-exhausted" CONFLICT "No code is left";
    WrongPlatform "wrong-platform" CONFLICT "The code pool is for another platform";
    ReservationLapsed "reservation-lapsed" CONFLICT "The reservation is over";
    ClaimConfirmed "claim-confirmed" CONFLICT "The claim is final";
    CodeNotClaimed "code-not-claimed" CONFLICT "Nobody has claimed the code";
    CodeRedeemed "code-redeemed" CONFLICT "The code has been redeemed before";
    ProgramPaused "program-paused" CONFLICT "The program is paused";
    ProgramDeleting "program-deleting" CONFLICT "The program is being deleted";
    NotEnrolled "not-enrolled" CONFLICT "The customer has no card of this program";
    PhoneTaken "phone-taken" CONFLICT "Another customer has this number";
    CampaignActive "campaign-active" CONFLICT "The campaign is active";
    CampaignNotActive "campaign-not-active" CONFLICT "The campaign is not active";
    CampaignDeleting "campaign-deleting" CONFLICT "The campaign is being deleted";
    NoSender "no-sender" CONFLICT "Nobody sends over this channel";
    EndpointDisabled "endpoint-disabled" CONFLICT "The webhook endpoint is disabled";
    TooManyEndpoints "too-many-endpoints" CONFLICT "The account has no room for more webhook endpoints";
    SignatureInvalid "signature-invalid" FORBIDDEN "The signature does not fit";
    StampTokenUsed "stamp-token-used" CONFLICT "The customer's code was used before";
    StampSpent "stamp-spent" CONFLICT "What the stamps were given for is redeemed";
    RewardRedeemed "reward-redeemed" CONFLICT "The reward was redeemed before";
    RewardWithdrawn "reward-withdrawn" CONFLICT "The reward was taken back";
    StampTokenExpired "stamp-token-expired" GONE "The customer's code has expired";
    RewardExpired "reward-expired" GONE "The reward has expired";
    CountryNotServed "country-not-served" UNPROCESSABLE_ENTITY "Numbers of this country are not served";
    StampTimeRefused "stamp-time-refused" UNPROCESSABLE_ENTITY "The time of the stamp is not possible";
    StampCooldown "stamp-cooldown" TOO_MANY_REQUESTS "The last visit was a moment ago";
    IdempotencyKeyReused "idempotency-key-reused" UNPROCESSABLE_ENTITY "The Idempotency-Key belongs to another request";
    DisposableEmail "disposable-email" UNPROCESSABLE_ENTITY "Throw-away addresses are not accepted";
    PreconditionFailed "precondition-failed" PRECONDITION_FAILED "It has changed since it was read";
    PreconditionRequired "precondition-required" PRECONDITION_REQUIRED "If-Match is required";
    RateLimited "rate-limited" TOO_MANY_REQUESTS "Too many requests";
    InternalError "internal-error" INTERNAL_SERVER_ERROR "Internal error";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "Try again in a moment";
}

impl ProblemKind {
    /// The address of the kind's page.
    pub fn uri(self) -> String {
        format!("{BASE}{}", self.slug())
    }

    pub fn because(self, detail: impl Into<String>) -> Problem {
        Problem { detail: Some(detail.into()), ..Problem::from(self) }
    }

    /// Says when the same request will be taken.
    pub fn until(self, at: Timestamp) -> Problem {
        Problem { retry_at: Some(at), ..self.because(format!("Possible again at {at}.")) }
    }
}

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
    /// What is said to a machine that asks again by itself, a till or a provider, when others keep changing the same.
    pub fn or_unavailable(self) -> Self {
        if self.contended { ProblemKind::Unavailable.into() } else { self }
    }

    /// Somebody else changed the same at the same time, and nothing was written: [`retried`](crate::retried) tries again.
    pub fn contended() -> Self {
        Self { contended: true, ..ProblemKind::Conflict.into() }
    }

    /// A refused field, parameter or header.
    pub fn field(path: impl Into<String>, detail: impl Into<String>) -> Self {
        let error = FieldError { path: path.into(), detail: detail.into() };
        Self {
            detail: Some(format!("{} {}", error.path, error.detail).trim_start().to_owned()),
            errors: vec![error],
            ..ProblemKind::ValidationFailed.into()
        }
    }

    pub fn invalid(path: &str, invalid: &Invalid) -> Self {
        Self::field(path, invalid.to_string())
    }

    /// Something failed that should not have: logged, not shown.
    pub fn unexpected(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::internal(ProblemKind::InternalError, cause)
    }

    fn internal(kind: ProblemKind, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..kind.into() }
    }
}

impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Unavailable { .. } | TableError::Unknown { .. } => {
                Self::internal(ProblemKind::Unavailable, error)
            }
            _ => Self::internal(ProblemKind::InternalError, error),
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
        Self::internal(ProblemKind::InternalError, error)
    }
}

/// Marks a response whose body the outermost layer completes with the request's id.
#[derive(Clone, Copy)]
pub(crate) struct IsProblem(pub ProblemKind);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_its_page_and_each_page_its_problem() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/problems");
        let mut pages: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        pages.sort();
        let mut kinds: Vec<_> = ProblemKind::ALL.iter().map(|kind| format!("{}.md", kind.slug())).collect();
        kinds.sort();
        assert_eq!(pages, kinds);
        for kind in ProblemKind::ALL {
            let page = std::fs::read_to_string(format!("{folder}/{}.md", kind.slug())).unwrap();
            let heading = format!("# {}\n\n`{}` · {}\n", kind.title(), kind.uri(), kind.status().as_u16());
            assert!(page.starts_with(&heading), "{} should begin with:\n{heading}", kind.slug());
        }
    }
}

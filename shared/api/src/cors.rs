//! CORS: which pages may read our answers.
//!
//! A preflight carries no key, so it is answered for every origin; credentials
//! travel in headers, never in cookies. The request itself is then held against
//! the allowed origins of the waitlist or code pool, and the answer to a page that is not
//! among them carries no permission to be read.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::text::AllowedOrigins;

use crate::{Problem, problem::IsProblem, problems};

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, If-Match, X-Account-Id, X-Api-Key, X-Subscriber-Token",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag, Location, RateLimit, RateLimit-Policy, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, \
     X-RateLimit-Reset, X-Request-Id",
);

/// Answers preflights and lets pages read answers.
pub(crate) async fn cors(request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    if request.method() == Method::OPTIONS {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        allow(headers, origin);
        return response;
    }
    let mut response = next.run(request).await;
    let refused = response
        .extensions()
        .get::<IsProblem>()
        .is_some_and(|problem| problem.0 == problems::ORIGIN_NOT_ALLOWED);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    allow(headers, origin.filter(|_| !refused));
    response
}

fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

/// Refuses a page that is not among those allowed. Where none is named, all pages are
/// allowed, and a request without an origin is from no page.
///
/// # Errors
/// [`problems::ORIGIN_NOT_ALLOWED`].
pub fn require_origin(allowed: &AllowedOrigins, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let mut allowed = allowed.iter().peekable();
    if allowed.peek().is_none() || allowed.any(|allowed| allowed.as_str().as_bytes() == origin.as_bytes()) {
        return Ok(());
    }
    Err(problems::ORIGIN_NOT_ALLOWED.into())
}

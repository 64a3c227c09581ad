//! CORS: origins whose pages may read responses.
//!
//! A preflight carries no API key, so every origin gets the same response. Credentials travel in headers, never in
//! cookies. The handler then checks the origin of the request against the allowed origins of the waitlist, code
//! pool or stamp program. A response to a page of another origin has no `Access-Control-Allow-Origin`, so the page
//! can't read it.

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

/// Answers preflights, and adds the headers that let pages read responses.
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

/// Checks the origin of a request. An empty list allows all origins. A request without an `Origin` header does not
/// come from a page and is allowed.
///
/// # Errors
/// [`problems::ORIGIN_NOT_ALLOWED`] if the origin is not on the list.
pub fn require_origin(allowed: &AllowedOrigins, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let mut allowed = allowed.iter().peekable();
    if allowed.peek().is_none() || allowed.any(|allowed| allowed.as_str().as_bytes() == origin.as_bytes()) {
        return Ok(());
    }
    Err(problems::ORIGIN_NOT_ALLOWED.into())
}

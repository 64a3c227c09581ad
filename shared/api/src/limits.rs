//! Response headers with the state of a rate limit.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use domain::rate::Verdict;

/// Sets `RateLimit` and `RateLimit-Policy` (IETF draft), `X-RateLimit-*`, and `Retry-After` for a refused request.
pub(crate) fn rate_headers(headers: &mut HeaderMap, verdict: &Verdict) {
    let Verdict { allowed, limit, remaining, reset, retry_after } = verdict;
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("ratelimit-policy", format!("\"minute\";q={limit};w=60"));
    set("ratelimit", format!("\"minute\";r={remaining};t={reset}"));
    set("x-ratelimit-limit", limit.to_string());
    set("x-ratelimit-remaining", remaining.to_string());
    set("x-ratelimit-reset", reset.to_string());
    if !allowed {
        set("retry-after", retry_after.to_string());
    }
}

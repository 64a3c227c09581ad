//! Structured logs, one line a request, with nothing personal in it.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing_subscriber::EnvFilter;

use crate::{extract, problem::IsProblem};

tokio::task_local! {
    static REQUEST_ID: Option<String>;
}

/// The id of the request being served.
pub(crate) fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok().flatten()
}

/// Writes logs as JSON lines to the standard output, at the level of `LOG_LEVEL`
/// (default `info`). The SDK stays quiet: its debug output shows requests.
pub fn init(level: Option<&str>) {
    let filter = EnvFilter::try_new(format!("warn,{}", own_crates(level.unwrap_or("info"))))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    // A second initialisation in one process (tests) changes nothing.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .without_time()
        .try_init();
}

fn own_crates(level: &str) -> String {
    [
        "account",
        "api",
        "authorizer",
        "code_distribution",
        "code_import",
        "groundswell",
        "jobs",
        "message_sender",
        "projector",
        "referral",
        "store",
        "subscriber",
        "waitlist",
    ]
    .map(|name| format!("{name}={level}"))
    .join(",")
}

/// Logs the request by its route, never by its path or query, and sends back its id.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let id = extract::request_id(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let started = std::time::Instant::now();
    let mut response = REQUEST_ID.scope(id.clone(), next.run(request)).await;
    tracing::info!(
        request_id = id,
        %method,
        route,
        status = response.status().as_u16(),
        problem = response.extensions().get::<IsProblem>().map(|problem| problem.0.slug()),
        micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        "served"
    );
    if let Some(id) = id.and_then(|id| HeaderValue::try_from(id).ok()) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

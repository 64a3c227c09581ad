//! Structured logs, one line a request, with nothing personal in it.

use aws::Env;
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::{
    extract,
    metrics::{self, Unit},
    problem::IsProblem,
};

tokio::task_local! {
    static REQUEST_ID: Option<String>;
}

/// The id of the request being served.
pub(crate) fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok().flatten()
}

/// Writes logs as JSON lines to the standard output, at the level of `LOG_LEVEL`
/// (default `info`), each with Lambda's request id and trace. The SDK stays quiet: its
/// debug output shows requests.
pub fn init(env: &Env) {
    metrics::init(env);
    let level = env.get("LOG_LEVEL").unwrap_or("info");
    let filter = EnvFilter::try_new(format!("warn,lambda_runtime::layers=info,{}", own_crates(level)))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    // A second initialisation in one process (tests) changes nothing.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
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
    let (status, elapsed) = (response.status(), started.elapsed());
    tracing::info!(
        request_id = id,
        %method,
        route,
        status = status.as_u16(),
        problem = response.extensions().get::<IsProblem>().map(|problem| problem.0.slug()),
        micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "served"
    );
    let measured = [
        ("HandlerDuration", Unit::Milliseconds, elapsed.as_secs_f64() * 1000.0),
        ("ServerErrors", Unit::Count, f64::from(u8::from(status.is_server_error()))),
    ];
    metrics::record(&measured, &[("route", json!(route)), ("method", json!(method.as_str()))]);
    if let Some(id) = id.and_then(|id| HeaderValue::try_from(id).ok()) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

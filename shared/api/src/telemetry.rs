//! Structured logs: one line per request, without personal data.

use std::fmt;

use aws::Env;
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use serde_json::json;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

use crate::{
    metrics::{self, Unit},
    problem::IsProblem,
    request_id,
};

/// Writes logs as JSON lines to the standard output, at the level of `LOG_LEVEL` (default `info`), each with
/// Lambda's request id and trace. The SDK logs warnings and errors only, because its debug output contains
/// requests.
///
/// Each line names the function and its version. All functions write to one log group, and a canary deployment is
/// judged by the errors of the new version alone.
pub fn init(env: &Env) {
    metrics::init(env);
    let level = env.get("LOG_LEVEL").unwrap_or("info");
    let filter = EnvFilter::try_new(format!("warn,lambda_runtime::layers=info,{}", own_crates(level)))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    // A second initialisation in one process (tests) has no effect.
    let _ = tracing_subscriber::fmt()
        .event_format(Signed::of(env))
        .fmt_fields(JsonFields::new())
        .with_env_filter(filter)
        .try_init();
}

/// Format of a log line: JSON that begins with the name and the version of the function. The timestamp is required:
/// Lambda gives a line without one the level `INFO`, whatever level the line names.
struct Signed {
    signature: String,
    format: Format<Json>,
}

impl Signed {
    fn of(env: &Env) -> Self {
        let variable = |name| serde_json::Value::from(env.get(name).unwrap_or_default());
        let (name, version) = (variable("AWS_LAMBDA_FUNCTION_NAME"), variable("AWS_LAMBDA_FUNCTION_VERSION"));
        Self {
            signature: format!(r#"{{"function":{name},"version":{version},"#),
            format: tracing_subscriber::fmt::format().json().flatten_event(true).with_span_list(false),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Signed
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        to.write_str(&self.signature)?;
        to.write_str(line.strip_prefix('{').unwrap_or(&line))
    }
}

/// Returns a filter that sets the log level of the product's own crates.
pub fn own_crates(level: &str) -> String {
    env!("OWN_CRATES").split(',').map(|name| format!("{name}={level}")).collect::<Vec<_>>().join(",")
}

/// Logs the request with its route, never with its path or query, and returns the request id in a header.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let id = request_id::of(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let started = std::time::Instant::now();
    let mut response = request_id::REQUEST_ID.scope(id.clone(), next.run(request)).await;
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

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// Writer that keeps the output.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_says_which_version_of_which_function_wrote_it() {
        let variables =
            [("AWS_LAMBDA_FUNCTION_NAME", "groundswell-dev-jobs"), ("AWS_LAMBDA_FUNCTION_VERSION", "7")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env = Env::new(HashMap::from(variables), aws::plain_http_client());
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Signed::of(&env))
            .fmt_fields(JsonFields::new())
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(cause = "a \"reason\"", "job failed")
        });
        let line: serde_json::Value = serde_json::from_slice(&kept.0.lock().unwrap()).unwrap();
        // The metric filter in `infra/monitoring.yaml` matches these three fields.
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["function"], "groundswell-dev-jobs");
        assert_eq!(line["version"], "7");
        assert_eq!((&line["message"], &line["cause"]), (&"job failed".into(), &"a \"reason\"".into()));
        // Lambda requires this field.
        line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }

    #[test]
    fn each_crate_logs_at_the_level_that_is_asked_for() {
        let asked = own_crates("debug");
        for name in ["api", "waitlists", "message_sender", "groundswell"] {
            assert!(asked.split(',').any(|filter| filter == format!("{name}=debug")), "{name}: {asked}");
        }
        assert!(!asked.contains("aws="), "the SDK logs what is sent: {asked}");
    }
}

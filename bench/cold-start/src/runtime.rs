//! Lambda Runtime API for one process. Hands out the same event as often as the driver allows, and measures the
//! time of each answer.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::AbortHandle,
};

use crate::{
    Failure,
    process::{self, Usage},
};

/// Result of one event.
pub struct Outcome {
    pub handed_at: Instant,
    pub answered_at: Instant,
    /// Resources that the process had used at its answer.
    pub usage: Option<Usage>,
    /// Answer of the function, or its error.
    pub answer: Result<Bytes, Bytes>,
}

struct State {
    event: Bytes,
    /// Permits for events that may be handed out.
    allowed: Semaphore,
    handed_at: Mutex<Instant>,
    count: AtomicU64,
    /// Process id; 0 until it is known.
    pid: AtomicU64,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

/// Running server. Stops when dropped.
pub struct Runtime {
    pub address: SocketAddr,
    state: Arc<State>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    task: AbortHandle,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runtime {
    /// Starts the server.
    ///
    /// # Errors
    /// Fails if no port is free.
    pub async fn start(event: Bytes) -> Result<Self, Failure> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let (sender, outcomes) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            event,
            allowed: Semaphore::new(0),
            handed_at: Mutex::new(Instant::now()),
            count: AtomicU64::new(0),
            pid: AtomicU64::new(0),
            outcomes: sender,
        });
        let task = tokio::spawn(accept(listener, state.clone())).abort_handle();
        Ok(Self { address, state, outcomes, task })
    }

    /// Sets the process whose resources are measured.
    pub fn watch(&self, pid: u32) {
        self.state.pid.store(pid.into(), Ordering::Relaxed);
    }

    /// Allows the process to get the event once more.
    pub fn allow(&self) {
        self.state.allowed.add_permits(1);
    }

    /// Waits for the process's next result.
    pub async fn outcome(&mut self) -> Option<Outcome> {
        self.outcomes.recv().await
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &state));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, state: &State) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let path = path.strip_prefix("/2018-06-01/runtime/").unwrap_or_default();
    match (request.method(), path.rsplit('/').next()) {
        (&Method::GET, Some("next")) => Ok(next(state).await),
        (&Method::POST, Some(kind @ ("response" | "error"))) => {
            let kind = kind.to_owned();
            let body = request.into_body().collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let answered_at = Instant::now();
            let pid = u32::try_from(state.pid.load(Ordering::Relaxed)).unwrap_or_default();
            let outcome = Outcome {
                handed_at: *state.handed_at.lock().unwrap_or_else(PoisonError::into_inner),
                answered_at,
                usage: process::usage(pid).ok(),
                answer: if kind == "response" { Ok(body) } else { Err(body) },
            };
            // The receiver may be gone while the process is being stopped.
            let _ = state.outcomes.send(outcome);
            let mut response = Response::new(Full::from(r#"{"status":"OK"}"#));
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
        _ => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}

async fn next(state: &State) -> Response<Full<Bytes>> {
    if let Ok(permit) = state.allowed.acquire().await {
        permit.forget();
    }
    let id = format!("8476a536-e9f4-11e8-9739-{:012x}", state.count.fetch_add(1, Ordering::Relaxed));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut response = Response::new(Full::new(state.event.clone()));
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", (now.as_millis() + 10_000).to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:123456789012:function:bench".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-6a0f0c38-3f1d5b6e7c8d9e0f1a2b3c4d;Parent=53995c3f42cd8ad8;Sampled=0".to_owned(),
        ),
    ] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    *state.handed_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    response
}

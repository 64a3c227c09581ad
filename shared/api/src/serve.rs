//! Conversion of API Gateway events to requests for the router, and of responses back.

use std::convert::Infallible;

use aws::Env;
use axum::Router;
use lambda_http::{
    Adapter, Context, LambdaEvent, RequestExt, lambda_runtime,
    request::LambdaRequest,
    tower::{Service, ServiceExt, service_fn, util::BoxCloneService},
};

use crate::{StartError, telemetry};

type LambdaService = BoxCloneService<lambda_http::Request, axum::response::Response, Infallible>;

/// Runs a family's router as a Lambda function.
///
/// # Errors
/// When the environment is incomplete, or the runtime API is unreachable.
pub async fn serve(app: fn(&Env) -> Result<Router, StartError>) -> Result<(), StartError> {
    let env = Env::from_process()?;
    telemetry::init(&env);
    let adapter = Adapter::from(service(app(&env)?)).map_request(|event: LambdaEvent<LambdaRequest>| {
        LambdaEvent::new(without_address(event.payload), event.context)
    });
    lambda_runtime::run(adapter).await.map_err(|error| StartError::Runtime(error.to_string()))
}

/// Answers one API Gateway event. Event and response are JSON. [`serve`] does the same for each event of a Lambda
/// function.
///
/// # Errors
/// When the event is not from an API Gateway REST API.
pub async fn handle(
    router: &Router,
    event: serde_json::Value,
) -> Result<serde_json::Value, serde_json::Error> {
    let request = without_address(serde_json::from_value(event)?);
    // The adapter is not `Send`, so it must not live across the await.
    let answer = Adapter::from(service(router.clone())).call(LambdaEvent::new(request, Context::default()));
    let response = match answer.await {
        Ok(response) => response,
        Err(impossible) => match impossible {},
    };
    serde_json::to_value(response)
}

/// Removes the headers with the host and the scheme of the request. No handler reads them, and the adapter panics
/// if they do not form a valid URL.
fn without_address(mut request: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV1(event) = &mut request {
        event.headers.remove(http::header::HOST);
        event.headers.remove("x-forwarded-proto");
    }
    request
}

/// Wraps the router, so that it sees the path as the caller sent it. The adapter puts the stage in front of the
/// path.
fn service(router: Router) -> LambdaService {
    service_fn(move |request: lambda_http::Request| {
        let router = router.clone();
        async move {
            let path = request.raw_http_path().to_owned();
            let (mut parts, body) = request.into_parts();
            let target = match parts.uri.query() {
                Some(query) => format!("{path}?{query}"),
                None => path,
            };
            if let Ok(uri) = target.parse() {
                parts.uri = uri;
            }
            router.oneshot(http::Request::from_parts(parts, axum::body::Body::new(body))).await
        }
    })
    .boxed_clone()
}

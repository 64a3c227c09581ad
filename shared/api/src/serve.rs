//! From API Gateway's event to the router and back.

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
/// When the environment is incomplete or the runtime's API is out of reach.
pub async fn serve(app: fn(&Env) -> Result<Router, StartError>) -> Result<(), StartError> {
    let env = Env::from_process()?;
    telemetry::init(&env);
    let adapter = Adapter::from(service(app(&env)?)).map_request(|event: LambdaEvent<LambdaRequest>| {
        LambdaEvent::new(without_address(event.payload), event.context)
    });
    lambda_runtime::run(adapter).await.map_err(|error| StartError::Runtime(error.to_string()))
}

/// Answers one API Gateway event, both as JSON: what [`serve`] does, one request at a time.
///
/// # Errors
/// When the event is not one of API Gateway's REST API.
pub async fn handle(
    router: &Router,
    event: serde_json::Value,
) -> Result<serde_json::Value, serde_json::Error> {
    let request = without_address(serde_json::from_value(event)?);
    // The adapter itself must not live across the await: it can't change threads.
    let answer = Adapter::from(service(router.clone())).call(LambdaEvent::new(request, Context::default()));
    let response = match answer.await {
        Ok(response) => response,
        Err(impossible) => match impossible {},
    };
    serde_json::to_value(response)
}

/// The event without the headers that say how the API was addressed. Nothing of ours asks for them, and the
/// adapter panics over those that no URL can be made of.
fn without_address(mut request: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV1(event) = &mut request {
        event.headers.remove(http::header::HOST);
        event.headers.remove("x-forwarded-proto");
    }
    request
}

/// The router, given the path as the caller wrote it: without the stage, which
/// the adapter puts in front.
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

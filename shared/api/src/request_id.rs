//! Request id that API Gateway assigns, for responses and logs.

use lambda_http::{RequestExt, request::RequestContext};

tokio::task_local! {
    pub(crate) static REQUEST_ID: Option<String>;
}

/// Returns the id of the current request.
pub(crate) fn current() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok().flatten()
}

/// Returns the id that API Gateway assigned to a request.
pub(crate) fn of<B>(request: &http::Request<B>) -> Option<String>
where
    http::Request<B>: RequestExt,
{
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.request_id.clone(),
        _ => None,
    }
}

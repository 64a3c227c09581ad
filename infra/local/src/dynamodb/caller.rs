//! DynamoDB calls over HTTP, without an SDK.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::Value;

use crate::{
    credentials::{ACCESS_KEY, REGION},
    error::PlatformError,
};

/// Time-out of a call; longer than any call takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn failed(reason: impl ToString) -> PlatformError {
    PlatformError::Part { part: "DynamoDB", reason: reason.to_string() }
}

/// Reason why a call failed.
#[derive(Debug)]
pub struct Refusal {
    /// Type of the exception without its namespace; empty if there was no answer.
    pub code: String,
    pub detail: String,
}

impl From<Refusal> for PlatformError {
    fn from(Refusal { code, detail }: Refusal) -> Self {
        failed(format!("{code} {detail}").trim())
    }
}

/// Client of DynamoDB and of its streams. The SDKs that the functions use include none for streams.
#[derive(Clone)]
pub struct Caller {
    http: legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>,
    endpoint: String,
}

impl Caller {
    pub fn new(endpoint: String) -> Self {
        Self { http: legacy::Client::builder(TokioExecutor::new()).build_http(), endpoint }
    }

    pub async fn call(&self, target: &str, request: Value) -> Result<Value, Refusal> {
        let unanswered =
            |detail: String| Refusal { code: String::new(), detail: format!("{target}: {detail}") };
        let scope = format!("{ACCESS_KEY}/20260101/{REGION}/dynamodb/aws4_request");
        let request = http::Request::post(&self.endpoint)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-date", "20260101T000000Z")
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"),
            )
            .body(Full::from(request.to_string()))
            .map_err(|error| unanswered(error.to_string()))?;
        let answer = async {
            let answer = self.http.request(request).await.map_err(|error| unanswered(chain(&error)))?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| unanswered(chain(&error)))?;
            let body: Value = serde_json::from_slice(&body.to_bytes())
                .map_err(|error| unanswered(format!("{status}, {error}")))?;
            if status.is_success() {
                return Ok(body);
            }
            let code = body["__type"].as_str().unwrap_or_default().rsplit('#').next().unwrap_or_default();
            Err(Refusal { code: code.to_owned(), detail: format!("{target}: {body}") })
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(unanswered("no answer".to_owned())),
        }
    }
}

/// Returns the text of an error and of its causes, which the HTTP client's own text omits.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

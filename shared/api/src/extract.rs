//! Extractors. Their rejections are problems that name the invalid field.

use std::net::IpAddr;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use domain::{Invalid, network};
use lambda_http::request::RequestContext;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Problem, problem::FieldError, problems};

/// Maximum size of a body in bytes. No request needs a larger body. The limit of API Gateway is 10 MB.
pub(crate) const MAX_BODY: usize = 256 * 1024;

/// JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = json_body(request, state).await?;
        parse(&bytes).map(Self)
    }
}

/// Reads the bytes of a body that is declared as JSON. An empty body counts as `{}`.
pub(crate) async fn json_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let content_type =
        request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence =
        content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let is_json = match essence.as_deref() {
        Some("application/json" | "application/merge-patch+json") => true,
        Some(other) => other.starts_with("application/") && other.ends_with("+json"),
        None => false,
    };
    let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let limit = MAX_BODY / 1024;
            Problem::because(problems::PAYLOAD_TOO_LARGE, format!("A body has at most {limit} KiB."))
        } else {
            Problem::because(problems::BAD_REQUEST, "The body could not be read.")
        }
    })?;
    if bytes.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    if is_json { Ok(bytes) } else { Err(problems::UNSUPPORTED_MEDIA_TYPE.into()) }
}

/// Parses a JSON object. Distinguishes invalid syntax from invalid content.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Invalid syntax anywhere in the body takes precedence over invalid content.
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|error| refused(".", &error))?;
    // Serde would also read a struct from a JSON array of its fields.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::field("", "is not a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refused(&path, error.inner())
    })
}

/// Applies a merge patch (RFC 7396) to a representation, and validates the result like a new one.
///
/// # Errors
/// A problem that names the field.
pub fn merge_patch<T: Serialize + DeserializeOwned>(
    current: &T,
    patch: &serde_json::Value,
) -> Result<T, Problem> {
    if !patch.is_object() {
        return Err(Problem::field("", "is not a JSON object"));
    }
    let mut merged = serde_json::to_value(current)?;
    json_patch::merge(&mut merged, patch);
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let path = error.path().to_string();
        refused(&path, error.inner())
    })
}

fn refused(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    // The position helps only where there is no path.
    let plain = text.split(" at line ").next().unwrap_or(&text).to_owned();
    let path = if path == "." { String::new() } else { path.to_owned() };
    match error.classify() {
        serde_json::error::Category::Data => {
            let path = match missing(&plain) {
                Some(field) if path.is_empty() => field.to_owned(),
                Some(field) if !path.ends_with(field) => format!("{path}.{field}"),
                _ => path,
            };
            Problem {
                detail: Some(format!("{path}: {plain}").trim_start_matches(": ").to_owned()),
                errors: vec![FieldError { path, detail: plain }],
                ..problems::VALIDATION_FAILED.into()
            }
        }
        _ => Problem {
            errors: vec![FieldError { path, detail: text.clone() }],
            ..Problem::because(problems::MALFORMED_JSON, text)
        },
    }
}

/// Returns the name of the missing field. Serde reports a missing field at its parent.
fn missing(error: &str) -> Option<&str> {
    error.strip_prefix("missing field `")?.strip_suffix('`')
}

/// Query string.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let deserializer = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(deserializer).map(Self).map_err(|error| {
            let path = error.path().to_string();
            let detail = error.inner().to_string();
            let path = match missing(&detail) {
                Some(field) => field.to_owned(),
                None if path == "." => "query".to_owned(),
                None => path,
            };
            Problem::field(path, detail)
        })
    }
}

/// Id in the path. A text that is not an id of this type leads to 404.
pub struct PathId<T>(pub T);

impl<T, S> FromRequestParts<S> for PathId<T>
where
    T: std::str::FromStr<Err = Invalid>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Path(text) = axum::extract::Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::from(problems::NOT_FOUND))?;
        text.parse().map(Self).map_err(|_| problems::NOT_FOUND.into())
    }
}

/// Origin of a request: its headers and the IP address of the caller.
pub struct Client {
    pub headers: HeaderMap,
    ip: Option<IpAddr>,
}

impl Client {
    /// Returns the caller's identity for rate limits: the IPv4 address, or the /64 of the IPv6 address. Callers
    /// without a known address share one identity.
    pub fn line(&self) -> String {
        self.ip.map_or_else(|| "unknown".to_owned(), network::line)
    }

    /// Returns the network of the address: /24 of IPv4, /48 of IPv6.
    pub fn network(&self) -> Option<String> {
        self.ip.map(network::coarse)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // API Gateway sets this address. The caller can forge X-Forwarded-For.
        let ip = match parts.extensions.get::<RequestContext>() {
            Some(RequestContext::ApiGatewayV1(context)) => {
                context.identity.source_ip.as_deref().and_then(|ip| ip.parse().ok())
            }
            _ => None,
        };
        Ok(Self { headers: parts.headers.clone(), ip })
    }
}

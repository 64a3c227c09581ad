//! API Gateway: converts HTTP requests to REST proxy events (payload version 1), calls the authorizer, and
//! invokes the function that the template routes the request to.
//!
//! The template's `GatewayResponses` define the error responses of the gateway itself.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::{
    functions::Functions,
    template::{Declaration, GatewayResponse, Route},
};

/// API Gateway's limit on the size of a payload.
const MAX_BODY: usize = 10 * 1024 * 1024;
/// Limit on the bytes of a payload that are read and discarded. Reading to the end lets the client receive the
/// refusal: a client that is still sending when the connection closes only sees a broken connection.
const MAX_REFUSED: usize = 8 * MAX_BODY;
const STAGE: &str = "local";

/// Path of the API with its methods.
struct Resource {
    path: String,
    segments: Vec<Segment>,
    /// Logical id of the function, and the route, by method.
    methods: BTreeMap<String, (String, Route)>,
}

enum Segment {
    Literal(String),
    Variable(String),
    /// `{proxy+}`: one or more segments.
    Greedy(String),
}

/// API gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    resources: Vec<Resource>,
    authorizer: String,
    responses: BTreeMap<String, GatewayResponse>,
    functions: Functions,
    requests: AtomicU64,
    /// Notified after each request, because the request may have written to the table.
    written: Arc<Notify>,
}

impl Gateway {
    pub fn new(declaration: &Declaration, functions: Functions, written: Arc<Notify>) -> Self {
        let mut resources: BTreeMap<String, Resource> = BTreeMap::new();
        for function in &declaration.functions {
            for route in &function.routes {
                let resource =
                    resources.entry(route.path.clone()).or_insert_with(|| Resource::new(&route.path));
                resource.methods.insert(route.method.clone(), (function.logical_id.clone(), route.clone()));
            }
        }
        Self(Arc::new(Inner {
            resources: resources.into_values().collect(),
            authorizer: declaration.authorizer.clone(),
            responses: declaration.gateway_responses.clone(),
            functions,
            requests: AtomicU64::new(0),
            written,
        }))
    }

    pub fn router(self) -> Router {
        Router::new().fallback(answer).with_state(self)
    }

    /// Returns the most specific resource for a path, and the path's parameters. A literal segment takes
    /// precedence over a variable, and a variable over `{proxy+}`.
    fn resource(&self, path: &str) -> Option<(&Resource, Map<String, Value>)> {
        let segments: Vec<_> = path.trim_start_matches('/').split('/').collect();
        self.0
            .resources
            .iter()
            .filter_map(|resource| {
                let (rank, parameters) = resource.matches(&segments)?;
                Some((rank, resource, parameters))
            })
            .min_by(|(a, ..), (b, ..)| a.cmp(b))
            .map(|(_, resource, parameters)| (resource, parameters))
    }

    /// Returns an error response of the gateway itself.
    fn error(&self, name: &str, status: StatusCode, context: &Value) -> Response {
        let fallback = if status.is_server_error() { "DEFAULT_5XX" } else { "DEFAULT_4XX" };
        let Some(declared) = self.0.responses.get(name).or_else(|| self.0.responses.get(fallback)) else {
            return (status, axum::Json(json!({ "message": name }))).into_response();
        };
        let status = declared.status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(status);
        let mut headers = HeaderMap::new();
        for (name, value) in &declared.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        (status, headers, expand(&declared.template, context)).into_response()
    }
}

impl Resource {
    fn new(path: &str) -> Self {
        let segments = path
            .trim_start_matches('/')
            .split('/')
            .map(|segment| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => match name.strip_suffix('+') {
                    Some(name) => Segment::Greedy(name.to_owned()),
                    None => Segment::Variable(name.to_owned()),
                },
                None => Segment::Literal(segment.to_owned()),
            })
            .collect();
        Self { path: path.to_owned(), segments, methods: BTreeMap::new() }
    }

    /// Returns the rank of a match and the path's parameters. A smaller rank is more specific.
    fn matches(&self, path: &[&str]) -> Option<(Vec<u8>, Map<String, Value>)> {
        let mut rank = Vec::new();
        let mut parameters = Map::new();
        let mut rest = path;
        for segment in &self.segments {
            let (first, others) = rest.split_first()?;
            match segment {
                Segment::Literal(literal) if literal == first => rank.push(0),
                Segment::Literal(_) => return None,
                Segment::Variable(_) if first.is_empty() => return None,
                Segment::Variable(name) => {
                    parameters.insert(name.clone(), json!(first));
                    rank.push(1);
                }
                Segment::Greedy(name) => {
                    parameters.insert(name.clone(), json!(rest.join("/")));
                    rank.push(2);
                    return Some((rank, parameters));
                }
            }
            rest = others;
        }
        rest.is_empty().then_some((rank, parameters))
    }
}

/// Replaces each `$context.…` in a response template by its value.
fn expand(template: &str, context: &Value) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("$context.") {
        text.push_str(&rest[..start]);
        let name = &rest[start + "$context.".len()..];
        let end =
            name.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').unwrap_or(name.len());
        let value = name[..end].split('.').fold(context, |value, part| &value[part]);
        match value {
            Value::String(value) => text.push_str(value),
            Value::Null => {}
            other => text.push_str(&other.to_string()),
        }
        rest = &name[end..];
    }
    text + rest
}

async fn answer(
    State(gateway): State<Gateway>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let id = format!("local-{:08}", gateway.0.requests.fetch_add(1, Ordering::Relaxed));
    let (parts, body) = request.into_parts();
    let mut context = json!({ "requestId": id });
    let path = parts.uri.path();
    let found = gateway.resource(path).and_then(|(resource, parameters)| {
        let method = resource.methods.get(parts.method.as_str()).or_else(|| resource.methods.get("ANY"))?;
        Some((resource, parameters, method))
    });
    let Some((resource, parameters, (function, route))) = found else {
        return gateway.error("MISSING_AUTHENTICATION_TOKEN", StatusCode::FORBIDDEN, &context);
    };
    let Some(body) = read(body).await else {
        return gateway.error("REQUEST_TOO_LARGE", StatusCode::PAYLOAD_TOO_LARGE, &context);
    };
    let mut event = event(&parts, &body, resource, parameters, peer, &id);
    if route.authorized {
        let request = authorizer_event(&event);
        let Ok(policy) = gateway.0.functions.invoke(&gateway.0.authorizer, request).await else {
            return gateway.error("AUTHORIZER_FAILURE", StatusCode::INTERNAL_SERVER_ERROR, &context);
        };
        let effect = &policy["policyDocument"]["Statement"][0]["Effect"];
        let mut principal = policy["context"].clone();
        principal["principalId"] = policy["principalId"].clone();
        if effect != "Allow" {
            context["authorizer"] = principal;
            return gateway.error("ACCESS_DENIED", StatusCode::FORBIDDEN, &context);
        }
        event["requestContext"]["authorizer"] = principal;
    }
    let response = match gateway.0.functions.invoke(function, event).await {
        Ok(response) => from_proxy(response),
        Err(error) => {
            tracing::error!(function, cause = error, "invocation failed");
            None
        }
    };
    gateway.0.written.notify_one();
    response.unwrap_or_else(|| gateway.error("INTEGRATION_FAILURE", StatusCode::BAD_GATEWAY, &context))
}

/// Reads the body. Returns `None` if the body exceeds the gateway's limit or breaks off.
async fn read(body: Body) -> Option<Bytes> {
    let mut stream = body.into_data_stream();
    let (mut kept, mut length) = (BytesMut::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.ok()?;
        length += chunk.len();
        if length > MAX_REFUSED {
            return None;
        }
        if length <= MAX_BODY {
            kept.extend_from_slice(&chunk);
        }
    }
    (length <= MAX_BODY).then(|| kept.freeze())
}

fn event(
    parts: &axum::http::request::Parts,
    body: &Bytes,
    resource: &Resource,
    parameters: Map<String, Value>,
    peer: SocketAddr,
    id: &str,
) -> Value {
    let mut headers = Map::new();
    let mut multi_headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.insert(name.to_string(), json!(value));
        multi_headers.entry(name.as_str()).or_default().push(value);
    }
    // The gateway sets these headers itself, whatever the caller sent.
    let own =
        [("host", "localhost"), ("x-forwarded-proto", "http"), ("x-forwarded-for", &peer.ip().to_string())]
            .map(|(name, value)| (name, value.to_owned()));
    for (name, value) in own {
        headers.insert(name.to_owned(), json!(value));
        multi_headers.insert(name, vec![value]);
    }
    let mut query = Map::new();
    let mut multi_query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        query.insert(name.to_string(), json!(value));
        multi_query.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    let (body, encoded) = match std::str::from_utf8(body) {
        Ok("") => (Value::Null, false),
        Ok(text) => (json!(text), false),
        Err(_) => (json!(STANDARD.encode(body)), true),
    };
    let some = |map: Map<String, Value>| if map.is_empty() { Value::Null } else { Value::Object(map) };
    json!({
        "resource": resource.path,
        "path": parts.uri.path(),
        "httpMethod": parts.method.as_str(),
        "headers": headers,
        "multiValueHeaders": multi_headers,
        "queryStringParameters": some(query),
        "multiValueQueryStringParameters": if multi_query.is_empty() { Value::Null } else { json!(multi_query) },
        "pathParameters": some(parameters),
        "stageVariables": null,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "httpMethod": parts.method.as_str(),
            "identity": {
                "sourceIp": peer.ip().to_string(),
                "userAgent": parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()),
            },
            "path": format!("/{STAGE}{}", parts.uri.path()),
            "protocol": "HTTP/1.1",
            "requestId": id,
            "resourcePath": resource.path,
            "stage": STAGE,
        },
        "body": body,
        "isBase64Encoded": encoded,
    })
}

/// Returns the event for a REQUEST authorizer: the event without its body.
fn authorizer_event(event: &Value) -> Value {
    let mut request = event.clone();
    if let Value::Object(fields) = &mut request {
        fields.remove("body");
        fields.remove("isBase64Encoded");
        let method = event["httpMethod"].as_str().unwrap_or_default();
        let path = event["path"].as_str().unwrap_or_default();
        let arn = format!("arn:aws:execute-api:us-east-1:000000000000:local/{STAGE}/{method}{path}");
        fields.insert("type".to_owned(), json!("REQUEST"));
        fields.insert("methodArn".to_owned(), json!(arn));
    }
    request
}

/// Converts the answer of a proxy integration to a response. Returns `None` if the answer is malformed, which
/// makes the gateway respond with 502.
fn from_proxy(answer: Value) -> Option<Response> {
    let status = StatusCode::from_u16(u16::try_from(answer["statusCode"].as_u64()?).ok()?).ok()?;
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &Value| {
        let name = HeaderName::try_from(name).ok()?;
        headers.append(name, HeaderValue::try_from(value.as_str()?).ok()?);
        Some(())
    };
    let multi = answer["multiValueHeaders"].as_object();
    for (name, values) in multi.into_iter().flatten() {
        for value in values.as_array()? {
            add(name, value)?;
        }
    }
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        if multi.is_none_or(|multi| !multi.contains_key(name)) {
            add(name, value)?;
        }
    }
    let text = answer["body"].as_str().unwrap_or_default();
    let body = match answer["isBase64Encoded"].as_bool() {
        Some(true) => STANDARD.decode(text).ok()?,
        _ => text.as_bytes().to_vec(),
    };
    // The server sets the length itself.
    headers.remove(header::CONTENT_LENGTH);
    Some((status, headers, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_resource_wins() {
        let paths = ["/w", "/w/{id}", "/w/{id}/{proxy+}", "/w/{id}/leaders"];
        let resources: Vec<_> = paths.iter().map(|path| Resource::new(path)).collect();
        let best = |path: &str| {
            let segments: Vec<_> = path.trim_start_matches('/').split('/').collect();
            resources
                .iter()
                .filter_map(|resource| Some((resource.matches(&segments)?.0, resource.path.as_str())))
                .min()
                .map(|(_, path)| path)
        };
        for (path, expected) in [
            ("/w", Some("/w")),
            ("/w/1", Some("/w/{id}")),
            ("/w/1/leaders", Some("/w/{id}/leaders")),
            ("/w/1/leaders/2", Some("/w/{id}/{proxy+}")),
            ("/w/", None),
            ("/", None),
        ] {
            assert_eq!(best(path), expected, "{path}");
        }
    }

    #[test]
    fn templates_are_filled_from_the_context() {
        let context = json!({ "requestId": "r1", "authorizer": { "problem_type": "t" } });
        let text = expand(
            r#"{"a":"$context.authorizer.problem_type","b":"$context.requestId","c":"$context.x"}"#,
            &context,
        );
        assert_eq!(text, r#"{"a":"t","b":"r1","c":""}"#);
    }
}

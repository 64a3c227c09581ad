//! Twilio of the local platform: accepts messages in the place of Twilio's Messages API, passes them to the
//! outbox, and makes the callbacks about them.
//!
//! Invariants:
//!
//! - A message is acknowledged only after the outbox has committed it.
//! - Any account may send, with any well-formed auth token: messages are sent nowhere, and callbacks are signed
//!   with the token that the message came with.
//! - A parameter that affects Twilio but is not implemented here is refused by name.
//! - A callback is made once. A failed callback is logged, or reported to the person who simulates it, and is not
//!   retried. If the platform is killed between an acknowledgement and its callbacks, the callbacks are never
//!   made.
//!
//! Twilio configures the address for replies by phone number. Here the address is derived from the message's
//! `StatusCallback`.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campaigns::twilio::AuthToken;
use domain::phone::Phone;
use domain::secret;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dynamodb::chain;
use crate::outbox::{Channel, Outbox, OutboxError};

const API_VERSION: &str = "2010-04-01";
const FORM: &str = "application/x-www-form-urlencoded";
const WHATSAPP: &str = "whatsapp:";
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Maximum length of a text.
const MAX_CHARACTERS: usize = 1600;
/// Time-out that Twilio applies to a webhook.
const PATIENCE: Duration = Duration::from_secs(15);

const PARAMETERS: [&str; 6] = ["To", "From", "Body", "ContentSid", "ContentVariables", "StatusCallback"];

/// Statuses that an accepted message reaches by itself.
const FOLLOWING: [Status; 2] = [Status::Sent, Status::Delivered];

/// Returns the one supported operation of Twilio, to be served at `/` of a port of its own.
pub fn router(outbox: Outbox) -> Router {
    Router::new()
        .route("/2010-04-01/Accounts/{account_sid}/Messages.json", post(create).fallback(unknown))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(outbox)
}

/// Addresses of a message, and the URL for its callbacks.
pub struct Envelope {
    pub sid: String,
    pub account_sid: String,
    pub token: AuthToken,
    pub channel: Channel,
    /// Sender and recipient without their channel's prefix.
    pub from: String,
    pub to: String,
    pub status_callback: Option<String>,
}

/// Content of a message.
pub enum Content {
    Text(String),
    Template { sid: String, variables: BTreeMap<String, String> },
}

/// Status of a message that can be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Sent,
    Delivered,
    Read,
    Failed,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

/// Reason why a callback failed.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    #[error("the callback was answered with {0}")]
    Refused(u16),
    #[error("the callback was not answered: {0}")]
    Unanswered(String),
}

impl Envelope {
    /// Reports a status of the message, if the message has a callback.
    pub async fn report(
        &self,
        caller: &Caller,
        status: Status,
        error_code: Option<&str>,
    ) -> Result<(), CallbackError> {
        let Some(url) = &self.status_callback else { return Ok(()) };
        let (from, to) = (address(self.channel, &self.from), address(self.channel, &self.named()));
        let mut parameters = vec![
            ("MessageSid", self.sid.as_str()),
            ("SmsSid", self.sid.as_str()),
            ("AccountSid", self.account_sid.as_str()),
            ("From", from.as_str()),
            ("To", to.as_str()),
            ("MessageStatus", status.name()),
            ("ApiVersion", API_VERSION),
        ];
        parameters.extend(error_code.map(|code| ("ErrorCode", code)));
        caller.post(url, &self.token, &parameters).await
    }

    /// Sends the recipient's reply to `url`, which [`inbound_url`](Self::inbound_url) returns.
    pub async fn reply(&self, caller: &Caller, url: &str, text: &str) -> Result<(), CallbackError> {
        let (from, to) = (address(self.channel, &self.named()), address(self.channel, &self.from));
        let sid = message_sid();
        let parameters = [
            ("MessageSid", sid.as_str()),
            ("SmsSid", sid.as_str()),
            ("AccountSid", self.account_sid.as_str()),
            ("From", from.as_str()),
            ("To", to.as_str()),
            ("Body", text),
            ("NumMedia", "0"),
            ("NumSegments", "1"),
            ("ApiVersion", API_VERSION),
        ];
        caller.post(url, &self.token, &parameters).await
    }

    /// Returns the recipient's number as callbacks give it. WhatsApp may give the numbers of some countries in
    /// another form than the message was sent to; here it always does.
    fn named(&self) -> String {
        let whatsapp = (self.channel == Channel::Whatsapp).then(|| Phone::try_from(self.to.clone()).ok());
        let other = whatsapp.flatten().and_then(|phone| phone.other_form());
        other.map_or_else(|| self.to.clone(), String::from)
    }

    /// Returns the URL for replies: `inbound` beside the callback's `status`, with the same `account_id`.
    pub fn inbound_url(&self) -> Option<String> {
        let uri: Uri = self.status_callback.as_deref()?.parse().ok()?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let path = uri.path().strip_suffix("/status")?;
        let mut pairs = uri.query().unwrap_or_default().split('&');
        let account = pairs.find(|pair| pair.starts_with("account_id="));
        let query = account.map(|pair| format!("?{pair}")).unwrap_or_default();
        Some(format!("{scheme}://{authority}{path}/inbound{query}"))
    }
}

/// Client for callbacks. Clones share their connections.
#[derive(Clone)]
pub struct Caller {
    plain: SharedHttpConnector,
    /// Created at the first use, because it reads the system's certificates.
    secure: Arc<OnceLock<SharedHttpConnector>>,
}

impl Default for Caller {
    fn default() -> Self {
        Self { plain: aws::web_connector("http://"), secure: Arc::default() }
    }
}

impl Caller {
    fn connector(&self, url: &str) -> SharedHttpConnector {
        if url.starts_with("http://") {
            self.plain.clone()
        } else {
            self.secure.get_or_init(|| aws::web_connector(url)).clone()
        }
    }

    async fn post(
        &self,
        url: &str,
        token: &AuthToken,
        parameters: &[(&str, &str)],
    ) -> Result<(), CallbackError> {
        let unanswered = |error: &dyn Error| CallbackError::Unanswered(chain(error));
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let parameters: Vec<(String, String)> = parameters.iter().map(owned).collect();
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| unanswered(&error))?;
        request.set_uri(url).map_err(|error| unanswered(&error))?;
        request.headers_mut().insert("content-type", FORM);
        request.headers_mut().insert("x-twilio-signature", token.sign_form(url, &parameters));
        let connector = self.connector(url);
        let answer = tokio::time::timeout(PATIENCE, connector.call(request)).await;
        let answer = answer.map_err(|error| unanswered(&error))?.map_err(|error| unanswered(&error))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(CallbackError::Refused(status.as_u16())) }
    }
}

/// Reason why a message is refused, in Twilio's terms.
enum Refusal {
    Said { status: StatusCode, code: u32, message: String },
    Outbox(OutboxError),
}

impl Refusal {
    fn bad_request(code: u32, message: impl Into<String>) -> Self {
        Self::Said { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    fn unauthenticated() -> Self {
        Self::Said { status: StatusCode::UNAUTHORIZED, code: 20003, message: "Authenticate".to_owned() }
    }
}

impl From<OutboxError> for Refusal {
    fn from(error: OutboxError) -> Self {
        Self::Outbox(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Said { status, code, message } => (status, code, message),
            Self::Outbox(error) => return error.into_response(),
        };
        let more_info = format!("https://www.twilio.com/docs/errors/{code}");
        let body = json!({
            "code": code, "message": message, "more_info": more_info, "status": status.as_u16(),
        });
        (status, Json(body)).into_response()
    }
}

async fn unknown(uri: Uri) -> Refusal {
    let message = format!("The requested resource {} was not found", uri.path());
    Refusal::Said { status: StatusCode::NOT_FOUND, code: 20404, message }
}

async fn create(
    State(outbox): State<Outbox>,
    UrlPath(account_sid): UrlPath<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let token = authenticate(&headers, &account_sid).ok_or_else(Refusal::unauthenticated)?;
    let body = body.map_err(|rejection| Refusal::bad_request(20001, rejection.body_text()))?;
    let (envelope, content) = accept(account_sid, token, form(&headers, &body)?)?;
    let id = outbox.keep_twilio(&envelope, &content)?;
    let answer = resource(&envelope, &content);
    tokio::spawn(follow(outbox, id, envelope));
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Reports the statuses that an accepted message reaches by itself.
async fn follow(outbox: Outbox, id: String, envelope: Envelope) {
    for status in FOLLOWING {
        if let Err(error) = envelope.report(outbox.caller(), status, None).await {
            tracing::warn!(cause = %error, sid = envelope.sid, status = status.name(), "callback failed");
        }
        if let Err(error) = outbox.set_status(&id, status) {
            tracing::error!(cause = %chain(&error), sid = envelope.sid, "status not stored");
        }
    }
}

/// Returns the auth token if the credentials are for the account in the path.
fn authenticate(headers: &HeaderMap, account_sid: &str) -> Option<AuthToken> {
    let (scheme, pair) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let pair = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    let fits = scheme.eq_ignore_ascii_case("basic") && user == account_sid && is_sid(user, "AC");
    AuthToken::new(password.to_owned()).ok().filter(|_| fits)
}

/// Parses the parameters. Refuses unknown and repeated parameters.
fn form(headers: &HeaderMap, body: &[u8]) -> Result<BTreeMap<String, String>, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(FORM) {
        return Err(Refusal::bad_request(20001, format!("The request is no {FORM}")));
    }
    let mut parameters = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if !PARAMETERS.contains(&&*name) {
            return Err(Refusal::bad_request(20001, format!("The parameter {name} is not supported here")));
        }
        if parameters.insert(name.to_string(), value.into_owned()).is_some() {
            return Err(Refusal::bad_request(20001, format!("The parameter {name} occurs twice")));
        }
    }
    Ok(parameters)
}

/// Parses a message. Returns the reason if Twilio would refuse the message.
fn accept(
    account_sid: String,
    token: AuthToken,
    mut parameters: BTreeMap<String, String>,
) -> Result<(Envelope, Content), Refusal> {
    let mut take = |name: &str| parameters.remove(name);
    let (channel, to) = take("To")
        .and_then(|to| number(&to))
        .ok_or_else(|| Refusal::bad_request(21211, "The 'To' number is not a valid phone number"))?;
    let (_, from) = take("From")
        .and_then(|from| number(&from))
        .filter(|(own, _)| *own == channel)
        .ok_or_else(|| Refusal::bad_request(21212, "The 'From' number is not a valid phone number"))?;
    let status_callback = take("StatusCallback");
    if status_callback.as_deref().is_some_and(|url| !is_callback(url)) {
        return Err(Refusal::bad_request(21609, "The 'StatusCallback' URL is not a valid URL"));
    }
    let content = content(take("Body"), take("ContentSid"), take("ContentVariables"))?;
    let sid = message_sid();
    Ok((Envelope { sid, account_sid, token, channel, from, to, status_callback }, content))
}

fn content(
    body: Option<String>,
    template: Option<String>,
    variables: Option<String>,
) -> Result<Content, Refusal> {
    let Some(sid) = template else {
        if variables.is_some() {
            return Err(Refusal::bad_request(21654, "ContentVariables need a ContentSid"));
        }
        let body = body.filter(|body| is_body(body));
        let missing = || Refusal::bad_request(21602, "A message body of 1 to 1600 characters is required");
        return Ok(Content::Text(body.ok_or_else(missing)?));
    };
    if body.is_some() {
        return Err(Refusal::bad_request(20001, "A message has a Body or a ContentSid, not both"));
    }
    if !is_sid(&sid, "HX") {
        return Err(Refusal::bad_request(21655, "The ContentSid is invalid"));
    }
    let variables = serde_json::from_str(variables.as_deref().unwrap_or("{}"))
        .map_err(|_| Refusal::bad_request(21656, "The ContentVariables are not a JSON object of strings"))?;
    Ok(Content::Template { sid, variables })
}

/// Returns true if the text can be the text of a message.
pub fn is_body(text: &str) -> bool {
    (1..=MAX_CHARACTERS).contains(&text.chars().count())
}

/// Returns true if the text is the prefix followed by 32 hexadecimal digits.
fn is_sid(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix);
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Returns true for a web address without a user or a fragment, which would make Twilio call it in another way.
fn is_callback(url: &str) -> bool {
    let web = url.starts_with("http://") || url.starts_with("https://");
    let uri = url.parse::<Uri>().ok().filter(|_| web && !url.contains('#'));
    uri.is_some_and(|uri| uri.authority().is_some_and(|authority| !authority.as_str().contains('@')))
}

/// Returns the channel of an address, and its number if the number is in the one spelling that Twilio accepts.
fn number(address: &str) -> Option<(Channel, String)> {
    let (channel, number) = match address.strip_prefix(WHATSAPP) {
        Some(number) => (Channel::Whatsapp, number),
        None => (Channel::Sms, address),
    };
    let phone = Phone::try_from(number.to_owned()).ok()?;
    (phone.as_str() == number).then(|| (channel, number.to_owned()))
}

/// Returns a number as Twilio writes it.
fn address(channel: Channel, number: &str) -> String {
    let prefix = if channel == Channel::Whatsapp { WHATSAPP } else { "" };
    format!("{prefix}{number}")
}

fn message_sid() -> String {
    format!("SM{:032x}", u128::from_be_bytes(secret::random()))
}

/// Returns the message as Twilio answers with it. The body is null for a template, whose text is unknown here.
fn resource(envelope: &Envelope, content: &Content) -> Value {
    let Envelope { sid, account_sid, channel, from, to, .. } = envelope;
    let body = match content {
        Content::Text(text) => Some(text),
        Content::Template { .. } => None,
    };
    json!({
        "sid": sid,
        "account_sid": account_sid,
        "to": address(*channel, to),
        "from": address(*channel, from),
        "body": body,
        "status": "queued",
        "error_code": null,
        "error_message": null,
        "date_created": Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        "uri": format!("/{API_VERSION}/Accounts/{account_sid}/Messages/{sid}.json"),
        "num_segments": "1",
        "direction": "outbound-api",
        "api_version": API_VERSION,
    })
}

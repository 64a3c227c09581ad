//! Pages of the outbox: its messages as HTML and as JSON, and, on a message for Twilio, forms that simulate
//! replies and status reports.
//!
//! Invariants:
//!
//! - All text of a message is escaped. A mail's HTML is shown in a frame without scripts. The pages' policy keeps
//!   the frame from loading anything, so that nobody learns that a mail was viewed.
//! - The forms accept posts of these pages and of programs such as curl. A post that another site's page makes in
//!   the reader's browser is refused.
//! - A request that addresses this machine by another name than its own is refused. A site whose name resolves to
//!   this machine for a moment (DNS rebinding) would have the same origin and could read the pages.

use std::fmt::{self, Display, Write as _};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path as UrlPath, Query, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Channel, Filter, Kind, Message, Outbox, OutboxError};
use crate::twilio::{self, CallbackError, Envelope, Status};

/// Content security policy: no scripts and nothing from other sites, only the styles, the frame and the forms of
/// the page itself. No other page may show this page in a frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'";

const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
article { border: 1px solid #8884; border-radius: 8px; padding: 1rem 1.25rem; margin: 1rem 0 }
h1 { font-size: 1.25rem } h2 { font-size: 1.05rem; margin: .25rem 0 }
p { white-space: pre-wrap } small, dt, .empty { opacity: .7 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem } dd { margin: 0 }
form { margin: .5rem 0 } button, input { font: inherit }
iframe { width: 100%; height: 32rem; border: 1px solid #8884; border-radius: 8px; background: #fff }
";

pub fn router(outbox: Outbox) -> Router {
    Router::new()
        .route("/outbox", get(list_page))
        .route("/outbox.json", get(list_json))
        .route("/outbox/{id}", get(message_page))
        .route("/outbox/{id}/reply", post(reply))
        .route("/outbox/{id}/status", post(status))
        .layer(from_fn(by_its_own_name))
        .with_state(outbox)
}

async fn by_its_own_name(request: Request, next: Next) -> Response {
    let own = |host: &str| {
        let name = host.parse::<Authority>();
        name.is_ok_and(|name| ["localhost", "127.0.0.1", "[::1]"].contains(&name.host()))
    };
    match request.headers().get("host").map(|host| host.to_str().unwrap_or_default()) {
        Some(host) if !own(host) => {
            Failure::refused(StatusCode::FORBIDDEN, "The outbox is at localhost and 127.0.0.1 only.")
                .into_response()
        }
        _ => next.run(request).await,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    status: Status,
    /// Empty if the field was left empty.
    #[serde(default)]
    error_code: String,
}

/// Reason why nothing was simulated, or why the simulation failed.
enum Failure {
    Refused(StatusCode, String),
    Outbox(OutboxError),
}

impl Failure {
    fn refused(status: StatusCode, reason: &str) -> Self {
        Self::Refused(status, reason.to_owned())
    }
}

impl From<OutboxError> for Failure {
    fn from(error: OutboxError) -> Self {
        Self::Outbox(error)
    }
}

impl From<CallbackError> for Failure {
    fn from(error: CallbackError) -> Self {
        Self::Refused(StatusCode::BAD_GATEWAY, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(status, reason) => (status, format!("{reason}\n")).into_response(),
            Self::Outbox(error) => error.into_response(),
        }
    }
}

async fn list_json(State(outbox): State<Outbox>, filter: Query<Filter>) -> Result<Response, OutboxError> {
    Ok(Json(json!({ "data": outbox.list(&filter)? })).into_response())
}

async fn list_page(State(outbox): State<Outbox>, filter: Query<Filter>) -> Result<Response, OutboxError> {
    let mut body = String::from("<h1>Outbox</h1>");
    let messages = outbox.list(&filter)?;
    if messages.is_empty() {
        body += "<p class=empty>Nothing yet. The platform's messages appear here and are sent nowhere.</p>";
    }
    for message in messages {
        let Message { id, at, .. } = &message;
        let (to, title) = (Escaped(&message.to), Escaped(message.title()));
        let said = message.said().unwrap_or_else(|| "<p>This mail is HTML only.</p>".to_owned());
        body += &format!(
            "<article><small><time>{at}</time> to {to}</small>\
             <h2><a href='/outbox/{id}'>{title}</a></h2>{said}</article>"
        );
    }
    Ok(page("Outbox", "<meta http-equiv=refresh content=5>", &body))
}

async fn message_page(outbox: State<Outbox>, UrlPath(id): UrlPath<String>) -> Result<Response, OutboxError> {
    let Some(message) = outbox.find(&id)? else {
        let body = "<h1>Outbox</h1><p class=empty>There is no such message. <a href='/outbox'>All</a></p>";
        return Ok((StatusCode::NOT_FOUND, page("Outbox", "", body)).into_response());
    };
    let (at, title) = (&message.at, Escaped(message.title()));
    let mut body = format!("<small><a href='/outbox'>Outbox</a> / <time>{at}</time></small><h1>{title}</h1>");
    let mut facts = vec![("From".to_owned(), message.from.as_str()), ("To".to_owned(), message.to.as_str())];
    match &message.kind {
        Kind::Mail { headers, .. } => {
            facts.extend(headers.iter().map(|(name, value)| (name.clone(), value.as_str())));
        }
        Kind::Twilio { status, sid, .. } => {
            facts.extend([("Status".to_owned(), status.as_str()), ("SID".to_owned(), sid.as_str())]);
        }
    }
    body += &definitions(facts);
    if let Some(said) = message.said() {
        body += &format!("<article>{said}</article>");
    }
    match &message.kind {
        Kind::Mail { html: Some(html), .. } => {
            // A link opens in a new tab, because the policy lets the frame load nothing.
            let html = Escaped(html);
            body += &format!(
                "<iframe title=HTML sandbox='allow-popups allow-popups-to-escape-sandbox' \
                 srcdoc='&lt;base target=_blank&gt;{html}'></iframe>"
            );
        }
        Kind::Mail { html: None, .. } => {}
        Kind::Twilio { status_callback: Some(_), .. } => body += &forms(&id),
        Kind::Twilio { status_callback: None, .. } => {
            body += "<p class=empty>The message has no StatusCallback: replies and statuses cannot be simulated.</p>";
        }
    }
    Ok(page(message.title(), "", &body))
}

/// Returns the forms that simulate a reply to a message for Twilio and its statuses.
fn forms(id: &str) -> String {
    let id = Escaped(id);
    format!(
        "<h2>Simulate</h2>\
         <form method=post action='/outbox/{id}/reply'>\
         <button name=text value=STOP>Reply STOP</button> \
         <button name=text value=START>Reply START</button></form>\
         <form method=post action='/outbox/{id}/reply'>\
         <input name=text aria-label='A reply' placeholder='A reply' required> <button>Reply</button></form>\
         <form method=post action='/outbox/{id}/status'>\
         <button name=status value=sent>sent</button> \
         <button name=status value=delivered>delivered</button> \
         <button name=status value=read>read</button></form>\
         <form method=post action='/outbox/{id}/status'>\
         <input name=error_code aria-label='Error code' placeholder='Error code, e.g. 30003' \
         inputmode=numeric> <button name=status value=failed>failed</button></form>"
    )
}

async fn reply(
    State(outbox): State<Outbox>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Redirect, Failure> {
    let Reply { text } = form(&headers, body)?;
    if !twilio::is_body(&text) {
        return Err(Failure::refused(StatusCode::BAD_REQUEST, "A reply has 1 to 1600 characters."));
    }
    let envelope = envelope(&outbox, &id)?;
    let Some(url) = envelope.inbound_url() else {
        let reason = "Replies have no address: the message has no StatusCallback that ends in /status.";
        return Err(Failure::refused(StatusCode::NOT_FOUND, reason));
    };
    envelope.reply(outbox.caller(), &url, &text).await?;
    Ok(Redirect::to(&format!("/outbox/{id}")))
}

async fn status(
    State(outbox): State<Outbox>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Redirect, Failure> {
    let Report { status, error_code } = form(&headers, body)?;
    let error_code = Some(error_code.as_str()).filter(|code| !code.is_empty());
    let code_fits = error_code.is_none_or(|code| {
        status == Status::Failed && code.len() <= 6 && code.bytes().all(|byte| byte.is_ascii_digit())
    });
    if !code_fits {
        let reason = "An error code is a number of up to six digits, and only a failed message has one.";
        return Err(Failure::refused(StatusCode::BAD_REQUEST, reason));
    }
    let envelope = envelope(&outbox, &id)?;
    if envelope.status_callback.is_none() {
        return Err(Failure::refused(StatusCode::NOT_FOUND, "The message has no StatusCallback."));
    }
    let told = envelope.report(outbox.caller(), status, error_code).await;
    outbox.set_status(&id, status)?;
    told?;
    Ok(Redirect::to(&format!("/outbox/{id}")))
}

/// Parses the fields of a form. Refuses a form that another site's page posts.
fn form<T: DeserializeOwned>(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    if !of_these_pages(headers) {
        return Err(Failure::refused(StatusCode::FORBIDDEN, "A page of another site may not do this."));
    }
    let invalid = |reason: String| Failure::Refused(StatusCode::BAD_REQUEST, reason);
    let body = body.map_err(|rejection| invalid(rejection.body_text()))?;
    serde_urlencoded::from_bytes(&body).map_err(|error| invalid(error.to_string()))
}

/// Returns false if a header says that the request comes from another site's page. Browsers send these headers;
/// programs such as curl do not.
fn of_these_pages(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let here = text("host").map(|host| format!("http://{host}"));
    text("origin").is_none_or(|origin| here.as_deref() == Some(origin))
        && text("sec-fetch-site").is_none_or(|site| ["same-origin", "none"].contains(&site))
}

fn envelope(outbox: &Outbox, id: &str) -> Result<Envelope, Failure> {
    let missing = || Failure::refused(StatusCode::NOT_FOUND, "There is no such message for Twilio.");
    outbox.envelope(id)?.ok_or_else(missing)
}

impl Message {
    fn title(&self) -> &str {
        match &self.kind {
            Kind::Mail { subject, .. } => subject,
            Kind::Twilio { .. } if self.channel == Channel::Whatsapp => "WhatsApp message",
            Kind::Twilio { .. } => "SMS",
        }
    }

    /// Returns the message's text as HTML, or its Twilio template with the template's variables.
    fn said(&self) -> Option<String> {
        if let Kind::Twilio { content_sid: Some(template), variables, .. } = &self.kind {
            let template = [("Content template".to_owned(), template.as_str())];
            let variables = variables.iter().flatten();
            let variables = variables.map(|(name, value)| (format!("{{{{{name}}}}}"), value.as_str()));
            return Some(definitions(template.into_iter().chain(variables)));
        }
        self.text.as_deref().map(|text| format!("<p>{}</p>", Linked(text)))
    }
}

fn definitions<'a>(facts: impl IntoIterator<Item = (String, &'a str)>) -> String {
    let mut list = String::from("<dl>");
    for (name, value) in facts {
        list += &format!("<dt>{}</dt><dd>{}</dd>", Escaped(&name), Linked(value));
    }
    list + "</dl>"
}

fn page(title: &str, head: &str, body: &str) -> Response {
    let title = Escaped(title);
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>{head}\
         <meta name=viewport content='width=device-width'><title>{title}</title>\
         <style>{STYLE}</style><body>{body}</body></html>"
    );
    // With `no-referrer`, browsers would hide the origin of the forms' posts.
    ([("content-security-policy", POLICY), ("referrer-policy", "same-origin")], Html(html)).into_response()
}

/// Text that is escaped for HTML, between tags and in either kind of quotes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            _ => f.write_char(c),
        })
    }
}

/// Escaped text whose web addresses are links.
struct Linked<'a>(&'a str);

impl Display for Linked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(start) = [rest.find("https://"), rest.find("http://")].into_iter().flatten().min() {
            let (before, link) = rest.split_at(start);
            let end = link.find(|c: char| c.is_whitespace() || "<>\"".contains(c)).unwrap_or(link.len());
            let link = link[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '\'']);
            let url = Escaped(link);
            write!(f, "{}<a href='{url}' target=_blank rel=noreferrer>{url}</a>", Escaped(before))?;
            rest = &rest[start + link.len()..];
        }
        Escaped(rest).fmt(f)
    }
}

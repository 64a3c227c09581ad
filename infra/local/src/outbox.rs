//! The outbox of the local platform: takes mails where Amazon SES would, sends none, and shows them
//! in a browser and as JSON.
//!
//! Invariants:
//!
//! - A mail is acknowledged only after it is committed. The SQLite file uses WAL with
//!   `synchronous = NORMAL`: a killed process loses no acknowledged mail, a power loss may lose
//!   the last few.
//! - What SES would do and the outbox would not is refused by name, never ignored: templates, raw
//!   mails, attachments, copies. Tags and the configuration set change nothing about the mail
//!   itself, and are accepted and dropped.
//! - All that a mail says is escaped. Its HTML is shown in a frame without scripts, and by the
//!   pages' policy it loads nothing, so that looking at a mail tells nobody.
//! - Mails are kept for ever, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

/// Of a request, and so of the mail in it.
const MAX_REQUEST_BYTES: usize = 1_000_000;
/// How many mails one answer lists at most.
const MAX_LISTED: u32 = 200;
const DEFAULT_LISTED: u32 = 50;

const SCHEMA: &str = "
    pragma journal_mode = wal;
    pragma synchronous = normal;
    create table if not exists mail (
        number integer primary key,
        id text not null unique default (lower(hex(randomblob(16)))),
        at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
        sender text not null,
        recipient text not null collate nocase,
        subject text not null,
        text text,
        html text,
        headers text not null
    ) strict;
    create index if not exists mail_by_recipient on mail (recipient, number);";

const INSERT: &str = "
    insert into mail (sender, recipient, subject, text, html, headers)
    values (?1, ?2, ?3, ?4, ?5, ?6) returning id";

const LIST: &str = "select * from mail order by number desc limit ?1";

const LIST_TO: &str = "select * from mail where recipient = ?2 order by number desc limit ?1";

/// No scripts, nothing from elsewhere; only the styles and the frame of the page itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'";

const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
article { border: 1px solid #8884; border-radius: 8px; padding: 1rem 1.25rem; margin: 1rem 0 }
h1 { font-size: 1.25rem } h2 { font-size: 1.05rem; margin: .25rem 0 }
p { white-space: pre-wrap } small, dt, .empty { opacity: .7 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem } dd { margin: 0 }
iframe { width: 100%; height: 32rem; border: 1px solid #8884; border-radius: 8px; background: #fff }
";

#[derive(Debug, thiserror::Error)]
#[error("the outbox's database failed")]
pub struct OutboxError(#[from] rusqlite::Error);

impl IntoResponse for OutboxError {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "{self}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// The mails of one platform; clones share them.
#[derive(Clone)]
pub struct Outbox {
    database: Arc<Mutex<Connection>>,
}

/// A mail as the outbox answers it.
#[derive(Debug, Serialize)]
struct Mail {
    id: String,
    at: String,
    channel: &'static str,
    from: String,
    to: String,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    headers: BTreeMap<String, String>,
}

/// `SendEmail` as the SDKs send it: the part of it that the outbox can honour.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SendEmail {
    from_email_address: String,
    destination: Destination,
    content: EmailContent,
    #[serde(rename = "EmailTags")]
    _email_tags: Option<IgnoredAny>,
    #[serde(rename = "ConfigurationSetName")]
    _configuration_set_name: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Destination {
    #[serde(rename = "ToAddresses", deserialize_with = "one")]
    to_address: String,
}

/// Whoever writes to many sends each a mail of their own, and an outbox with one recipient a mail
/// is easier to search.
fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let [address] = Vec::deserialize(deserializer)?
        .try_into()
        .map_err(|_| D::Error::custom("the outbox takes one address a mail"))?;
    Ok(address)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct EmailContent {
    simple: Message,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Message {
    subject: Content,
    body: MessageBody,
    #[serde(default)]
    headers: Vec<MessageHeader>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MessageBody {
    text: Option<Content>,
    html: Option<Content>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Content {
    data: String,
    #[serde(rename = "Charset")]
    _charset: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MessageHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct Filter {
    to: Option<String>,
    limit: Option<u32>,
}

impl Outbox {
    /// Opens the outbox on the mails that `path` already holds.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let database = Connection::open(path)?;
        database.execute_batch(SCHEMA)?;
        Ok(Self { database: Arc::new(Mutex::new(database)) })
    }

    /// The one operation of SES, to be served at `/` of its own port.
    pub fn ses_router(&self) -> Router {
        Router::new()
            .route("/v2/email/outbound-emails", post(send_email).fallback(unknown))
            .fallback(unknown)
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(self.clone())
    }

    /// `/outbox` and what is below it, for people, and `/outbox.json`.
    pub fn page_router(&self) -> Router {
        Router::new()
            .route("/outbox", get(list_page))
            .route("/outbox.json", get(list_json))
            .route("/outbox/{id}", get(mail_page))
            .with_state(self.clone())
    }

    /// The connection in a poisoned lock is sound: a statement is done or undone.
    fn database(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a mail and returns its id.
    fn keep(&self, mail: SendEmail) -> Result<String, OutboxError> {
        let Message { subject, body, headers } = mail.content.simple;
        let [text, html] = [body.text, body.html].map(|content| content.map(|content| content.data));
        let headers: BTreeMap<_, _> = headers.into_iter().map(|header| (header.name, header.value)).collect();
        let headers = json!(headers).to_string();
        let values =
            params![mail.from_email_address, mail.destination.to_address, subject.data, text, html, headers];
        Ok(self.database().prepare_cached(INSERT)?.query_row(values, |row| row.get(0))?)
    }

    /// Newest first.
    fn list(&self, filter: &Filter) -> Result<Vec<Mail>, OutboxError> {
        let limit = filter.limit.unwrap_or(DEFAULT_LISTED).min(MAX_LISTED);
        let database = self.database();
        let mut select = database.prepare_cached(if filter.to.is_some() { LIST_TO } else { LIST })?;
        let mails = match &filter.to {
            Some(to) => select.query_map(params![limit, to], mail_of)?.collect::<Result<_, _>>()?,
            None => select.query_map([limit], mail_of)?.collect::<Result<_, _>>()?,
        };
        Ok(mails)
    }

    fn find(&self, id: &str) -> Result<Option<Mail>, OutboxError> {
        let database = self.database();
        let mut select = database.prepare_cached("select * from mail where id = ?1")?;
        Ok(select.query_row([id], mail_of).optional()?)
    }
}

fn mail_of(row: &Row<'_>) -> rusqlite::Result<Mail> {
    let headers: String = row.get("headers")?;
    Ok(Mail {
        id: row.get("id")?,
        at: row.get("at")?,
        channel: "email",
        from: row.get("sender")?,
        to: row.get("recipient")?,
        subject: row.get("subject")?,
        text: row.get("text")?,
        html: row.get("html")?,
        headers: serde_json::from_str(&headers)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))?,
    })
}

async fn send_email(State(outbox): State<Outbox>, body: Result<Bytes, BytesRejection>) -> Response {
    let mail = body.map_err(|rejection| rejection.body_text()).and_then(|body| accept(&body));
    match mail.map(|mail| outbox.keep(mail)) {
        Ok(kept) => kept.map(|id| Json(json!({ "MessageId": id }))).into_response(),
        Err(reason) => bad_request(&reason),
    }
}

async fn unknown(method: Method, uri: Uri) -> Response {
    bad_request(&format!("The outbox has only POST /v2/email/outbound-emails, not {method} {}.", uri.path()))
}

/// A mail that SES would send too, or why not.
fn accept(body: &[u8]) -> Result<SendEmail, String> {
    let mail: SendEmail = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let Message { body, headers, .. } = &mail.content.simple;
    if ![&mail.from_email_address, &mail.destination.to_address].iter().all(|one| one.contains('@')) {
        return Err("Missing final '@domain'".to_owned());
    }
    if body.text.is_none() && body.html.is_none() {
        return Err("The mail has neither a text nor an HTML body.".to_owned());
    }
    let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let mut names = BTreeSet::new();
    for MessageHeader { name, value } in headers {
        if name.is_empty() || !printable(name) || !printable(value) || !names.insert(name.to_lowercase()) {
            return Err(format!("The header {name:?} is not printable ASCII, or there twice."));
        }
    }
    Ok(mail)
}

fn bad_request(reason: &str) -> Response {
    let error_type = [("x-amzn-errortype", "BadRequestException")];
    (StatusCode::BAD_REQUEST, error_type, Json(json!({ "message": reason }))).into_response()
}

async fn list_json(State(outbox): State<Outbox>, filter: Query<Filter>) -> Result<Response, OutboxError> {
    Ok(Json(json!({ "data": outbox.list(&filter)? })).into_response())
}

async fn list_page(State(outbox): State<Outbox>, filter: Query<Filter>) -> Result<Response, OutboxError> {
    let mut body = String::from("<h1>Outbox</h1>");
    let mails = outbox.list(&filter)?;
    if mails.is_empty() {
        body += "<p class=empty>No mail yet. What the platform sends appears here and goes nowhere else.</p>";
    }
    for mail in mails {
        let Mail { id, at, .. } = &mail;
        let (to, subject) = (Escaped(&mail.to), Escaped(&mail.subject));
        let text = Linked(mail.text.as_deref().unwrap_or("This mail is HTML only."));
        body += &format!(
            "<article><small><time>{at}</time> to {to}</small>\
             <h2><a href='/outbox/{id}'>{subject}</a></h2><p>{text}</p></article>"
        );
    }
    Ok(page("Outbox", "<meta http-equiv=refresh content=5>", &body))
}

async fn mail_page(outbox: State<Outbox>, UrlPath(id): UrlPath<String>) -> Result<Response, OutboxError> {
    let Some(mail) = outbox.find(&id)? else {
        let body = "<h1>Outbox</h1><p class=empty>There is no such mail. <a href='/outbox'>All mails</a></p>";
        return Ok((StatusCode::NOT_FOUND, page("Outbox", "", body)).into_response());
    };
    let (at, subject) = (&mail.at, Escaped(&mail.subject));
    let mut body =
        format!("<small><a href='/outbox'>Outbox</a> / <time>{at}</time></small><h1>{subject}</h1><dl>");
    let headers = mail.headers.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in [("From", &mail.from), ("To", &mail.to)].into_iter().chain(headers) {
        body += &format!("<dt>{}</dt><dd>{}</dd>", Escaped(name), Linked(value));
    }
    body += "</dl>";
    if let Some(text) = &mail.text {
        body += &format!("<article><p>{}</p></article>", Linked(text));
    }
    if let Some(html) = &mail.html {
        // A link opens in a tab of its own, because the policy lets the frame load nothing.
        let html = Escaped(html);
        body += &format!(
            "<iframe title=HTML sandbox='allow-popups allow-popups-to-escape-sandbox' \
             srcdoc='&lt;base target=_blank&gt;{html}'></iframe>"
        );
    }
    Ok(page(&mail.subject, "", &body))
}

fn page(title: &str, head: &str, body: &str) -> Response {
    let title = Escaped(title);
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>{head}\
         <meta name=viewport content='width=device-width'><title>{title}</title>\
         <style>{STYLE}</style><body>{body}</body></html>"
    );
    ([("content-security-policy", POLICY), ("referrer-policy", "no-referrer")], Html(html)).into_response()
}

/// Text for HTML, between tags and in quotes of either kind.
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

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde_json::Value;
    use tempfile::TempDir;
    use tower::ServiceExt as _;

    use super::*;

    fn open(directory: &TempDir) -> Outbox {
        Outbox::open(&directory.path().join("outbox.db")).unwrap()
    }

    fn mail(to: &str, subject: &str) -> Value {
        let (text, html) = ("Go to https://example.com/c?a=1&b=2.", "<b title='x'>\"hi\"</b>");
        json!({
            "FromEmailAddress": "Groundswell <hello@example.com>",
            "Destination": { "ToAddresses": [to] },
            "Content": { "Simple": {
                "Subject": { "Data": subject, "Charset": "UTF-8" },
                "Body": { "Text": { "Data": text }, "Html": { "Data": html } },
                "Headers": [{ "Name": "List-Unsubscribe", "Value": "<https://example.com/u>" }],
            } },
            "EmailTags": [{ "Name": "kind", "Value": "confirmation" }],
        })
    }

    /// Status, error type and body.
    async fn send(outbox: &Outbox, body: impl ToString) -> (StatusCode, String, Value) {
        let request = Request::post("/v2/email/outbound-emails").body(Body::from(body.to_string())).unwrap();
        let response = outbox.ses_router().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers());
        let error = headers.get("x-amzn-errortype").map_or("", |value| value.to_str().unwrap()).to_owned();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, error, serde_json::from_slice(&body).unwrap())
    }

    async fn look(outbox: &Outbox, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = outbox.page_router().oneshot(request).await.unwrap();
        assert_eq!(response.headers().contains_key("content-security-policy"), !path.contains(".json"));
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    /// The subjects of the mails that the query finds.
    async fn subjects(outbox: &Outbox, query: &str) -> Vec<String> {
        let found = look(outbox, &format!("/outbox.json{query}")).await;
        let found: Value = serde_json::from_str(&found).unwrap();
        let subject = |mail: &Value| mail["subject"].as_str().unwrap().to_owned();
        found["data"].as_array().unwrap().iter().map(subject).collect()
    }

    #[tokio::test]
    async fn mails_are_listed_newest_first_and_outlive_the_process() {
        let directory = TempDir::new().unwrap();
        let outbox = open(&directory);
        assert!(look(&outbox, "/outbox").await.contains("No mail yet"));
        for (to, subject) in [("ada@b.c", "one"), ("bob@b.c", "two"), ("Ada@b.c", "three")] {
            assert_eq!(send(&outbox, mail(to, subject)).await.0, StatusCode::OK);
        }
        drop(outbox);
        let outbox = open(&directory);
        assert_eq!(subjects(&outbox, "").await, ["three", "two", "one"]);
        assert_eq!(subjects(&outbox, "?to=ada%40b.c").await, ["three", "one"]);
        assert_eq!(subjects(&outbox, "?limit=1").await, ["three"]);
        assert!(subjects(&outbox, "?to=ada").await.is_empty());
    }

    #[tokio::test]
    async fn a_mail_is_answered_as_it_was_sent() {
        let outbox = open(&TempDir::new().unwrap());
        let (_, _, sent) = send(&outbox, mail("ada@example.com", "Hello")).await;
        let mut listed: Value = serde_json::from_str(&look(&outbox, "/outbox.json").await).unwrap();
        let at = listed["data"][0]["at"].take();
        assert!(at.as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        let expected = json!({
            "id": sent["MessageId"], "at": null, "channel": "email",
            "from": "Groundswell <hello@example.com>", "to": "ada@example.com", "subject": "Hello",
            "text": "Go to https://example.com/c?a=1&b=2.", "html": "<b title='x'>\"hi\"</b>",
            "headers": { "List-Unsubscribe": "<https://example.com/u>" },
        });
        assert_eq!(listed, json!({ "data": [expected] }));
    }

    #[tokio::test]
    async fn pages_escape_what_a_mail_says_and_link_its_addresses() {
        let outbox = open(&TempDir::new().unwrap());
        let (_, _, sent) = send(&outbox, mail("\"<i>\"@example.com", "<script>alert('1')</script>")).await;
        let page = look(&outbox, &format!("/outbox/{}", sent["MessageId"].as_str().unwrap())).await;
        assert!(page.contains(
            "srcdoc='&lt;base target=_blank&gt;&lt;b title=&#39;x&#39;&gt;&quot;hi&quot;&lt;/b&gt;'"
        ));
        assert!(page.contains("&lt;<a href='https://example.com/u' "));
        for page in [page, look(&outbox, "/outbox").await] {
            assert!(!page.contains("<script") && !page.contains("<i>"));
            assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"));
            assert!(page.contains("Go to <a href='https://example.com/c?a=1&amp;b=2' "));
            assert!(page.contains(">https://example.com/c?a=1&amp;b=2</a>."));
        }
        assert!(look(&outbox, "/outbox/none").await.contains("no such mail"));
    }

    #[tokio::test]
    async fn what_is_not_imitated_is_refused_by_name() {
        let outbox = open(&TempDir::new().unwrap());
        for (pointer, value, reason) in [
            ("/Destination", json!({ "ToAddresses": ["a@b.c"], "CcAddresses": [] }), "CcAddresses"),
            ("/Destination/ToAddresses", json!(["a@b.c", "d@e.f"]), "one"),
            ("/Destination/ToAddresses/0", json!("ada"), "@domain"),
            ("/Content", json!({ "Template": {} }), "Template"),
            ("/Content/Simple/Body", json!({}), "neither"),
            ("/Content/Simple/Headers/0/Name", json!("X\r\nBcc"), "Bcc"),
            ("/Content/Simple/Subject/Data", json!("x".repeat(MAX_REQUEST_BYTES)), "limit"),
        ] {
            let mut mail = mail("ada@example.com", "Hello");
            *mail.pointer_mut(pointer).unwrap() = value;
            let (status, error, body) = send(&outbox, mail).await;
            assert_eq!((status, error.as_str()), (StatusCode::BAD_REQUEST, "BadRequestException"));
            assert!(body["message"].as_str().unwrap().contains(reason), "{body}");
        }
        assert!(subjects(&outbox, "").await.is_empty());
    }
}

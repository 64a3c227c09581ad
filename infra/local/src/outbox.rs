//! Outbox of the local platform. Accepts mails in the place of Amazon SES and messages in the place of Twilio
//! ([`crate::twilio`]), sends none of them, and shows them in a browser and as JSON ([`pages`]).
//!
//! Invariants:
//!
//! - A message is acknowledged only after it is committed. The SQLite file uses WAL with `synchronous = NORMAL`:
//!   a killed process loses no acknowledged message, and a power failure may lose the last few.
//! - [`crate::faults::Ses`] sets the limits of SES, a pause of the account, and failures. The outbox answers with
//!   SES's own codes and messages. Sources: the SESv2 API reference, `SendEmail`; the SES developer guide,
//!   "Errors related to the sending quotas".
//! - Features of SES that the outbox does not support are refused by name, never ignored: templates, raw mails,
//!   attachments, copies. Tags and the configuration set do not change the mail itself; they are accepted and
//!   dropped.
//! - The auth token of a message is stored for the message's callbacks and shown nowhere.
//! - Messages are kept for ever and listed newest first.

mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use campaigns::twilio::AuthToken;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::faults::{Broken, Ses, SesTrouble};
use crate::twilio::{Caller, Content, Envelope, Status};

/// Maximum size in bytes of a request, and so of the mail in it.
const MAX_REQUEST_BYTES: usize = 1_000_000;
/// Maximum number of messages that one answer lists.
const MAX_LISTED: u32 = 200;
const DEFAULT_LISTED: u32 = 50;

const SETTINGS: &str = "
    pragma journal_mode = wal;
    pragma synchronous = normal;";

/// Migrations of the table, in order. The database's `user_version` counts the migrations that have run. The
/// oldest databases ran the first migration without counting it.
const STEPS: [&str; 2] = [
    "create table if not exists mail (
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
    create index if not exists mail_by_recipient on mail (recipient, number);",
    // Phone numbers are stored without Twilio's channel prefix, so that one search finds the messages of all
    // channels.
    "alter table mail add column channel text not null default 'email';
    alter table mail add column content_sid text;
    alter table mail add column variables text;
    alter table mail add column sid text;
    alter table mail add column account_sid text;
    alter table mail add column auth_token text;
    alter table mail add column status_callback text;
    alter table mail add column status text;",
];

const INSERT: &str = "
    insert into mail (sender, recipient, subject, text, html, headers)
    values (?1, ?2, ?3, ?4, ?5, ?6) returning id";

/// Counts the mails accepted since a moment. The parameter is an SQLite modifier that leads from now to that
/// moment.
const TAKEN_SINCE: &str = "
    select count(*) from mail
    where channel = 'email' and at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?1)";

const INSERT_TWILIO: &str = "
    insert into mail (subject, headers, status, channel, sender, recipient, text, content_sid, variables,
        sid, account_sid, auth_token, status_callback)
    values ('', '{}', 'queued', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) returning id";

const LIST: &str = "select * from mail order by number desc limit ?1";

const LIST_TO: &str = "select * from mail where recipient = ?2 order by number desc limit ?1";

const FIND: &str = "select * from mail where id = ?1";

const FIND_TWILIO: &str = "select * from mail where id = ?1 and channel <> 'email'";

const SET_STATUS: &str = "update mail set status = ?2 where id = ?1";

#[derive(Debug, thiserror::Error)]
#[error("the outbox's database failed")]
pub struct OutboxError(#[from] rusqlite::Error);

impl IntoResponse for OutboxError {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "{self}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// Messages of one platform. Clones share them.
#[derive(Clone)]
pub struct Outbox {
    database: Arc<Mutex<Connection>>,
    caller: Caller,
    ses: Ses,
}

/// SES error: status, code and message.
type SesError = (StatusCode, &'static str, &'static str);

const RATE_EXCEEDED: SesError =
    (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", "Maximum sending rate exceeded.");
const QUOTA_EXCEEDED: SesError =
    (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", "Daily message quota exceeded.");
const PAUSED: SesError = (
    StatusCode::BAD_REQUEST,
    "SendingPausedException",
    "Sending paused for this account. For more information, please check the inbox of the email address associated \
     with your AWS account.",
);
const BROKEN: SesError = (
    StatusCode::INTERNAL_SERVER_ERROR,
    "InternalServiceErrorException",
    "The request couldn't be processed.",
);

/// Channel of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    Email,
    Sms,
    Whatsapp,
}

impl Channel {
    const ALL: [Self; 3] = [Self::Email, Self::Sms, Self::Whatsapp];

    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Whatsapp => "whatsapp",
        }
    }
}

impl FromSql for Channel {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        Self::ALL.into_iter().find(|channel| channel.name() == name).ok_or(FromSqlError::InvalidType)
    }
}

/// Message in the form that the outbox answers with.
#[derive(Debug, Serialize)]
struct Message {
    id: String,
    at: String,
    channel: Channel,
    from: String,
    to: String,
    text: Option<String>,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Kind {
    Mail {
        subject: String,
        html: Option<String>,
        headers: BTreeMap<String, String>,
    },
    Twilio {
        content_sid: Option<String>,
        variables: Option<BTreeMap<String, String>>,
        /// Status that was simulated last; `queued` at first.
        status: String,
        sid: String,
        #[serde(skip)]
        status_callback: Option<String>,
    },
}

/// `SendEmail` request of the SDKs, limited to the fields that the outbox supports.
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

/// Reads the recipient of a mail and refuses several. The platform sends a mail of its own to each recipient, and
/// an outbox with one recipient per mail is easier to search.
fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let [address] = Vec::deserialize(deserializer)?
        .try_into()
        .map_err(|_| D::Error::custom("the outbox accepts one recipient per mail"))?;
    Ok(address)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct EmailContent {
    simple: SimpleMail,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SimpleMail {
    subject: MailContent,
    body: MailBody,
    #[serde(default)]
    headers: Vec<MailHeader>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MailBody {
    text: Option<MailContent>,
    html: Option<MailContent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MailContent {
    data: String,
    #[serde(rename = "Charset")]
    _charset: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MailHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct Filter {
    to: Option<String>,
    limit: Option<u32>,
}

impl Filter {
    /// Returns the recipient to look for. A plus sign in a query is decoded as a space. No address begins with a
    /// space, so a leading space is read as a plus sign.
    fn recipient(&self) -> Option<String> {
        let to = self.to.as_deref()?;
        Some(to.strip_prefix(' ').map_or_else(|| to.to_owned(), |number| format!("+{number}")))
    }
}

impl Outbox {
    /// Opens the outbox with the messages that `path` already holds.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let mut database = Connection::open(path)?;
        database.execute_batch(SETTINGS)?;
        let transaction = database.transaction()?;
        let taken: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for (number, step) in (1_u32..).zip(STEPS).filter(|(number, _)| *number > taken) {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
        transaction.commit()?;
        Ok(Self { database: Arc::new(Mutex::new(database)), caller: Caller::default(), ses: Ses::default() })
    }

    /// Returns the outbox with these faults of Amazon SES.
    pub fn with_ses(self, ses: Ses) -> Self {
        Self { ses, ..self }
    }

    /// Returns the route of `SendEmail`, the one supported operation of SES, to be served on a port of its own.
    pub fn ses_router(&self) -> Router {
        Router::new()
            .route("/v2/email/outbound-emails", post(send_email).fallback(unknown))
            .fallback(unknown)
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(self.clone())
    }

    /// Returns the routes of the pages at `/outbox` and below, and of `/outbox.json`.
    pub fn page_router(&self) -> Router {
        pages::router(self.clone())
    }

    /// Returns the client that makes Twilio's callbacks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Locks the database. The connection in a poisoned lock is sound, because each statement is either complete
    /// or undone.
    fn database(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a mail and returns its id. Returns an SES error if a limit of SES is reached.
    fn keep(&self, mail: SendEmail, trouble: &SesTrouble) -> Result<Result<String, SesError>, OutboxError> {
        let SimpleMail { subject, body, headers } = mail.content.simple;
        let [text, html] = [body.text, body.html].map(|content| content.map(|content| content.data));
        let headers: BTreeMap<_, _> = headers.into_iter().map(|header| (header.name, header.value)).collect();
        let headers = json!(headers).to_string();
        let values =
            params![mail.from_email_address, mail.destination.to_address, subject.data, text, html, headers];
        let database = self.database();
        let limits = [
            (trouble.per_day, "-24 hours", QUOTA_EXCEEDED),
            (trouble.per_second, "-1 seconds", RATE_EXCEEDED),
        ];
        for (limit, since, error) in limits {
            let Some(limit) = limit else { continue };
            let taken: u32 = database.prepare_cached(TAKEN_SINCE)?.query_row([since], |row| row.get(0))?;
            if taken >= limit {
                return Ok(Err(error));
            }
        }
        Ok(Ok(database.prepare_cached(INSERT)?.query_row(values, |row| row.get(0))?))
    }

    /// Stores a message for Twilio and returns its id in the outbox.
    pub fn keep_twilio(&self, envelope: &Envelope, content: &Content) -> Result<String, OutboxError> {
        let (text, template, variables) = match content {
            Content::Text(text) => (Some(text), None, None),
            Content::Template { sid, variables } => (None, Some(sid), Some(json!(variables).to_string())),
        };
        let Envelope { sid, account_sid, token, channel, from, to, status_callback } = envelope;
        let (channel, token) = (channel.name(), token.reveal());
        let values =
            params![channel, from, to, text, template, variables, sid, account_sid, token, status_callback];
        Ok(self.database().prepare_cached(INSERT_TWILIO)?.query_row(values, |row| row.get(0))?)
    }

    pub fn set_status(&self, id: &str, status: Status) -> Result<(), OutboxError> {
        self.database().prepare_cached(SET_STATUS)?.execute([id, status.name()])?;
        Ok(())
    }

    /// Lists messages, newest first.
    fn list(&self, filter: &Filter) -> Result<Vec<Message>, OutboxError> {
        let limit = filter.limit.unwrap_or(DEFAULT_LISTED).min(MAX_LISTED);
        let recipient = filter.recipient();
        let database = self.database();
        let mut select = database.prepare_cached(if recipient.is_some() { LIST_TO } else { LIST })?;
        let messages = match &recipient {
            Some(to) => select.query_map(params![limit, to], message_of)?.collect::<Result<_, _>>()?,
            None => select.query_map([limit], message_of)?.collect::<Result<_, _>>()?,
        };
        Ok(messages)
    }

    fn find(&self, id: &str) -> Result<Option<Message>, OutboxError> {
        let database = self.database();
        let mut select = database.prepare_cached(FIND)?;
        Ok(select.query_row([id], message_of).optional()?)
    }

    /// Returns the envelope of a message for Twilio. Returns `None` for a mail.
    fn envelope(&self, id: &str) -> Result<Option<Envelope>, OutboxError> {
        let database = self.database();
        let mut select = database.prepare_cached(FIND_TWILIO)?;
        Ok(select.query_row([id], envelope_of).optional()?)
    }
}

fn message_of(row: &Row<'_>) -> rusqlite::Result<Message> {
    let channel: Channel = row.get("channel")?;
    let kind = match channel {
        Channel::Email => {
            let headers: String = row.get("headers")?;
            Kind::Mail { subject: row.get("subject")?, html: row.get("html")?, headers: read(&headers)? }
        }
        Channel::Sms | Channel::Whatsapp => {
            let variables: Option<String> = row.get("variables")?;
            Kind::Twilio {
                content_sid: row.get("content_sid")?,
                variables: variables.as_deref().map(read).transpose()?,
                status: row.get("status")?,
                sid: row.get("sid")?,
                status_callback: row.get("status_callback")?,
            }
        }
    };
    Ok(Message {
        id: row.get("id")?,
        at: row.get("at")?,
        channel,
        from: row.get("sender")?,
        to: row.get("recipient")?,
        text: row.get("text")?,
        kind,
    })
}

fn envelope_of(row: &Row<'_>) -> rusqlite::Result<Envelope> {
    Ok(Envelope {
        sid: row.get("sid")?,
        account_sid: row.get("account_sid")?,
        token: AuthToken::new(row.get("auth_token")?).map_err(unreadable)?,
        channel: row.get("channel")?,
        from: row.get("sender")?,
        to: row.get("recipient")?,
        status_callback: row.get("status_callback")?,
    })
}

/// Parses a column that holds JSON.
fn read<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(unreadable)
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}

async fn send_email(State(outbox): State<Outbox>, body: Result<Bytes, BytesRejection>) -> Response {
    let trouble = outbox.ses.ask();
    tokio::time::sleep(trouble.delay / 2).await;
    let mail = match body.map_err(|rejection| rejection.body_text()).and_then(|body| accept(&body)) {
        Ok(mail) => mail,
        Err(reason) => return bad_request(&reason),
    };
    let kept = match trouble {
        SesTrouble { paused: true, .. } => Ok(Err(PAUSED)),
        SesTrouble { broken: Some(Broken::BeforeTaking), .. } => Ok(Err(BROKEN)),
        _ => outbox.keep(mail, &trouble),
    };
    tokio::time::sleep(trouble.delay / 2).await;
    match kept {
        Ok(Ok(_)) if trouble.broken.is_some() => ses_error(BROKEN),
        Ok(Ok(id)) => Json(json!({ "MessageId": id })).into_response(),
        Ok(Err(error)) => ses_error(error),
        Err(error) => error.into_response(),
    }
}

async fn unknown(method: Method, uri: Uri) -> Response {
    bad_request(&format!("The outbox has only POST /v2/email/outbound-emails, not {method} {}.", uri.path()))
}

/// Parses a mail. Returns the reason if SES or the outbox would refuse the mail.
fn accept(body: &[u8]) -> Result<SendEmail, String> {
    let mail: SendEmail = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let SimpleMail { body, headers, .. } = &mail.content.simple;
    if ![&mail.from_email_address, &mail.destination.to_address].iter().all(|one| one.contains('@')) {
        return Err("Missing final '@domain'".to_owned());
    }
    if body.text.is_none() && body.html.is_none() {
        return Err("The mail has neither a text nor an HTML body.".to_owned());
    }
    let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let mut names = BTreeSet::new();
    for MailHeader { name, value } in headers {
        if name.is_empty() || !printable(name) || !printable(value) || !names.insert(name.to_lowercase()) {
            return Err(format!("The header {name:?} is not printable ASCII, or occurs twice."));
        }
    }
    Ok(mail)
}

fn bad_request(reason: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "BadRequestException", reason)
}

fn ses_error((status, code, message): SesError) -> Response {
    refusal(status, code, message)
}

fn refusal(status: StatusCode, code: &'static str, message: &str) -> Response {
    (status, [("x-amzn-errortype", code)], Json(json!({ "message": message }))).into_response()
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

    /// Sends a mail. Returns the status, the error type and the body.
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

    /// Returns the subjects of the mails that the query finds.
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
        assert!(look(&outbox, "/outbox").await.contains("Nothing yet"));
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
        assert!(look(&outbox, "/outbox/none").await.contains("no such message"));
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

    #[tokio::test]
    async fn ses_refuses_by_its_own_codes_and_words_and_what_it_refuses_is_not_there() {
        let ses = Ses::default();
        let outbox = open(&TempDir::new().unwrap()).with_ses(ses.clone());
        let nothing = SesTrouble::default();
        for (trouble, status, code, words, taken) in [
            (nothing, 200, "", "", 1),
            (SesTrouble { per_second: Some(0), ..nothing }, 429, "TooManyRequestsException", "rate", 1),
            (SesTrouble { per_day: Some(1), ..nothing }, 429, "TooManyRequestsException", "Daily", 1),
            (SesTrouble { per_day: Some(2), ..nothing }, 200, "", "", 2),
            (SesTrouble { paused: true, ..nothing }, 400, "SendingPausedException", "paused", 2),
            (
                SesTrouble { broken: Some(Broken::BeforeTaking), ..nothing },
                500,
                "InternalServiceErrorException",
                "",
                2,
            ),
            (
                SesTrouble { broken: Some(Broken::AfterTaking), ..nothing },
                500,
                "InternalServiceErrorException",
                "",
                3,
            ),
        ] {
            ses.set(trouble);
            let (found, error, body) = send(&outbox, mail("ada@example.com", "Hello")).await;
            assert_eq!((found.as_u16(), error.as_str()), (status, code), "{trouble:?}");
            assert!(body["message"].as_str().unwrap_or_default().contains(words), "{body}");
            assert_eq!(subjects(&outbox, "").await.len(), taken, "{trouble:?}");
        }
        assert_eq!(ses.asked(), 7);
    }

    #[tokio::test]
    async fn it_is_shown_to_those_who_call_this_machine_by_its_own_name() {
        let outbox = open(&TempDir::new().unwrap());
        let hosts =
            [("localhost:3000", 200), ("127.0.0.1:3000", 200), ("[::1]:3000", 200), ("localhost", 200)];
        let others = ["evil.example:3000", "localhost.evil.example", "evil@localhost.example", "", "\u{e9}"];
        for (host, status) in hosts.into_iter().chain(others.map(|host| (host, 403))) {
            for path in ["/outbox", "/outbox.json", "/outbox/x"] {
                let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
                let response = outbox.page_router().oneshot(request).await.unwrap();
                let expected = if status == 200 && path == "/outbox/x" { 404 } else { status };
                assert_eq!(response.status(), expected, "{path} at {host:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_outbox_of_an_earlier_version_opens_with_its_mails() {
        let directory = TempDir::new().unwrap();
        let database = Connection::open(directory.path().join("outbox.db")).unwrap();
        database.execute_batch(SETTINGS).unwrap();
        database.execute_batch(STEPS[0]).unwrap();
        let old = params!["a@b.c", "ada@b.c", "old", "text", None::<String>, "{}"];
        database.query_row(INSERT, old, |row| row.get::<_, String>(0)).unwrap();
        drop(database);
        for subjects_then in [vec!["old"], vec!["new", "old"]] {
            let outbox = open(&directory);
            assert_eq!(subjects(&outbox, "?to=ada@b.c").await, subjects_then);
            assert!(look(&outbox, "/outbox").await.contains(">old</a>"));
            assert_eq!(send(&outbox, mail("ada@b.c", "new")).await.0, StatusCode::OK);
        }
    }
}

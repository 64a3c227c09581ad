//! Shared parts of the scenarios: a platform to test, and a client of its API.
//!
//! By default the platform is embedded and lives as long as the test process.
//! `GROUNDSWELL_CREDENTIALS=<credentials.json>` runs the suite against another platform, a [`Target`]. A scenario
//! that needs something which the target lacks reports that it was skipped, on stderr and in the file that
//! `GROUNDSWELL_SKIPPED` names.

pub mod actions;
pub mod prices;
pub mod receiver;
pub mod server;
pub mod simulation;
pub mod twilio;

use std::{
    future::Future,
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use groundswell::{Credentials, Options, Platform, faults::Faults};
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Returns the logical id of a function in the template: `FeatureVoteFunction` for `feature-vote`.
pub fn logical_id(function: &str) -> String {
    let words = function.split('-').map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
    words.chain(["Function".to_owned()]).collect()
}

/// Runtime of the embedded platform. Lives as long as the process, because a test's own runtime ends with the
/// test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts")
});

/// Platform other than the embedded one, read from a `credentials.json` with additional fields for the suite.
#[derive(Deserialize)]
struct Target {
    #[serde(flatten)]
    credentials: Credentials,
    /// Accounts that only this suite uses.
    #[serde(default)]
    accounts: Vec<Account>,
    /// URL at which an emulator of SES lists the mails that it accepted.
    mails: Option<String>,
    /// Header from which an emulator of API Gateway takes the caller's address.
    address_header: Option<String>,
    /// Maximum number of concurrent requests that the platform can serve.
    in_flight: Option<usize>,
    /// Features that the platform lacks, by the names that the scenarios use.
    #[serde(default)]
    lacks: Vec<String>,
}

#[derive(Clone, Deserialize)]
struct Account {
    account_id: domain::id::AccountId,
    publishable_key: String,
    secret_key: String,
}

static TARGET: LazyLock<Option<Target>> = LazyLock::new(|| {
    let file = std::env::var_os("GROUNDSWELL_CREDENTIALS")?;
    let text = std::fs::read(file).expect("the file of GROUNDSWELL_CREDENTIALS can be read");
    Some(serde_json::from_slice(&text).expect("credentials"))
});

struct Embedded {
    platform: Platform,
    _data: tempfile::TempDir,
}

static EMBEDDED: LazyLock<Option<Embedded>> = LazyLock::new(|| {
    if TARGET.is_some() {
        return None;
    }
    let data = tempfile::tempdir().expect("a directory");
    let options = options(data.path(), false, Faults::default());
    // A thread of its own, because the first caller may be inside another runtime.
    let start = || RUNTIME.block_on(start(options));
    let platform = std::thread::scope(|scope| scope.spawn(start).join()).expect("the platform starts");
    Some(Embedded { platform, _data: data })
});

/// Writes the platform's log at the level of `LOG_LEVEL` to the output of the test.
pub fn log() {
    let Ok(level) = std::env::var("LOG_LEVEL") else { return };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// Starts a platform for one test. Returns `None` and reports a skipped test if the suite runs against another
/// platform.
pub async fn platform(data: &Path, keep_stream: bool, faults: Faults) -> Option<Platform> {
    if TARGET.is_some() {
        return skipped("needs a platform of its own");
    }
    Some(start(options(data, keep_stream, faults)).await)
}

/// Starts a platform for one test whose event sources are not polled. The stream is kept, so that the test can
/// deliver its records.
pub async fn still_platform(data: &Path) -> Option<Platform> {
    if TARGET.is_some() {
        return skipped("needs a platform of its own");
    }
    let options = Options { event_sources: false, ..options(data, true, Faults::default()) };
    Some(start(options).await)
}

/// Calls an operation of the platform's DynamoDB on its table that the product itself does not use. Returns the
/// status and the answer.
pub async fn dynamodb(platform: &Platform, operation: &str, mut body: Value) -> (StatusCode, Value) {
    body["TableName"] =
        platform.environment("ProjectorFunction").expect("a function")["TABLE_NAME"].clone().into();
    let scope = "groundswell/20260101/us-east-1/dynamodb/aws4_request";
    let request = reqwest::Client::new()
        .post(platform.dynamodb_endpoint())
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20260101T000000Z")
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"),
        )
        .body(body.to_string());
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

/// Returns the options of a platform for one test. `GROUNDSWELL_DYNAMODB=<url>` selects a running emulator of
/// DynamoDB for the table, and `GROUNDSWELL_TWILIO=<url>` another emulation of Twilio for the messages.
pub fn options(data: &Path, keep_stream: bool, faults: Faults) -> Options {
    Options {
        port: 0,
        data_dir: data.to_owned(),
        dynamodb: std::env::var("GROUNDSWELL_DYNAMODB").ok(),
        twilio: std::env::var("GROUNDSWELL_TWILIO").ok(),
        keep_stream,
        event_sources: true,
        faults,
    }
}

/// Starts a separate platform for a test with much load. Returns the shared platform if the suite runs against
/// another one.
pub async fn apart(data: &Path) -> (Api, Option<Platform>) {
    if TARGET.is_some() {
        return (Api::shared(), None);
    }
    let platform = platform(data, false, Faults::default()).await;
    let credentials = platform.as_ref().map(|platform| platform.credentials.clone());
    (Api::new(credentials.expect("a platform")), platform)
}

/// Returns true and reports a partly skipped test if the platform lacks this feature.
pub fn lacks(what: &str) -> bool {
    let lacks = TARGET.as_ref().is_some_and(|target| target.lacks.iter().any(|lack| lack == what));
    if lacks {
        skipped::<()>(&format!("in part: {what}"));
    }
    lacks
}

/// Returns the number of requests to keep in flight: `wanted`, or the maximum that the platform can serve.
pub fn in_flight(wanted: usize) -> usize {
    TARGET.as_ref().and_then(|target| target.in_flight).map_or(wanted, |most| wanted.min(most))
}

/// Returns how many items a scenario creates: `wanted`, or a fraction of it on a slow platform.
pub fn many(wanted: usize) -> usize {
    wanted / slowness() as usize
}

/// Reports that the running test is skipped.
pub fn skipped<T>(why: &str) -> Option<T> {
    use std::io::Write as _;
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    eprintln!("skipped: {name} {why}");
    if let Some(path) = std::env::var_os("GROUNDSWELL_SKIPPED") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{name} {why}")).expect("the file can be written");
    }
    None
}

/// Starts a platform, and raises its account's rate limits to 100,000, because all scenarios call from one
/// address.
pub async fn start(options: Options) -> Platform {
    log();
    let platform = Platform::start(options).await.expect("the platform starts");
    let id = &platform.credentials.account_id;
    // With injected faults the update may need several attempts.
    patiently(Duration::from_secs(30), || async {
        let (account, _) = accounts::read(&platform.table, id).await.ok()??;
        let (rev, mut account) = (account.rev, account);
        let limits = &mut account.limits;
        for limit in [
            &mut limits.joins_per_ip_per_minute,
            &mut limits.clicks_per_ip_per_minute,
            &mut limits.claims_per_ip_per_minute,
            &mut limits.uploads_per_minute,
            &mut limits.analytics_per_minute,
        ] {
            *limit = 100_000;
        }
        account.rev += 1;
        let audit = accounts::entities::AuditEntry::new(
            id,
            "platform",
            "account.updated",
            id.as_str(),
            jiff::Timestamp::now(),
        );
        accounts::update(&platform.table, &account, rev, &audit).await.ok()
    })
    .await;
    platform
}

/// Returns the embedded platform. Returns `None` and reports a skipped test if the suite runs against another
/// platform.
pub fn embedded() -> Option<&'static Platform> {
    match EMBEDDED.as_ref() {
        Some(embedded) => Some(&embedded.platform),
        None => skipped("needs the inside of the platform"),
    }
}

/// Object of an account that other accounts try to reach.
#[derive(Clone)]
pub struct Owned {
    /// Start of the object's routes behind `/api/v1/`.
    pub prefix: &'static str,
    pub id: String,
    /// Request body for `PATCH` of the object itself.
    pub change: Value,
}

impl Owned {
    pub fn new(prefix: &'static str, id: String) -> Self {
        Self { prefix, id, change: json!({}) }
    }
}

/// Client of one account.
#[derive(Clone)]
pub struct Api {
    pub credentials: Credentials,
    http: reqwest::Client,
}

/// Request that is not sent yet.
pub struct Call {
    request: reqwest::RequestBuilder,
}

/// Response.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Api {
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, http: reqwest::Client::new() }
    }

    /// Returns a client of the first account of the shared platform.
    pub fn shared() -> Self {
        match (EMBEDDED.as_ref(), TARGET.as_ref()) {
            (Some(embedded), _) => Self::new(embedded.platform.credentials.clone()),
            (None, Some(target)) => Self::new(target.credentials.clone()),
            (None, None) => unreachable!("without a target the platform is embedded"),
        }
    }

    /// Returns a client of a separate account for one test on the shared platform.
    pub async fn another_account() -> Option<Self> {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let Some(target) = TARGET.as_ref() else {
            let owner = format!("owner-{}@example.com", unique());
            return Some(Self::new(embedded()?.make_account("Another", &owner).await.expect("an account")));
        };
        match target.accounts.get(TAKEN.fetch_add(1, Ordering::Relaxed)).cloned() {
            Some(Account { account_id, publishable_key, secret_key }) => {
                let rest = target.credentials.clone();
                Some(Self::new(Credentials { account_id, publishable_key, secret_key, ..rest }))
            }
            None => skipped("needs an account of its own"),
        }
    }

    /// Returns a client of the same account that calls from another address: `127.0.0.<host>`.
    pub fn from_host(&self, host: u8) -> Self {
        let address = std::net::IpAddr::from([127, 0, 0, host]);
        let http = match TARGET.as_ref().and_then(|target| target.address_header.as_deref()) {
            None => reqwest::Client::builder().local_address(address),
            Some(header) => {
                let name = header.parse::<HeaderName>().expect("a header's name");
                let value = address.to_string().parse().expect("a header's value");
                reqwest::Client::builder().default_headers(HeaderMap::from_iter([(name, value)]))
            }
        };
        Self { credentials: self.credentials.clone(), http: http.build().expect("a client") }
    }

    /// Makes a request without credentials. The path is below `/api/v1`, or below the root if it begins with
    /// `//`.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let root = self.credentials.api.trim_end_matches("/api/v1");
        let url = match path.strip_prefix("//") {
            Some(path) => format!("{root}/{path}"),
            None => format!("{}{path}", self.credentials.api),
        };
        Call { request: self.http.request(Method::from_bytes(method.as_bytes()).expect("a method"), url) }
    }

    /// Makes a request with the secret key.
    pub fn secret(&self, method: &str, path: &str) -> Call {
        self.call(method, path).key(&self.credentials.secret_key)
    }

    /// Makes a request with the publishable key.
    pub fn public(&self, method: &str, path: &str) -> Call {
        self.call(method, path).key(&self.credentials.publishable_key)
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.secret("GET", path).send().await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.secret("POST", path).json(body).send().await
    }

    /// Reads all pages of a list.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let mut data = Vec::new();
        let mut cursor = String::new();
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{joint}limit=100{cursor}")).await.ok();
            data.extend(page["data"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return data,
            }
        }
    }

    /// Creates a waitlist with these settings and a unique name. Returns its id.
    pub async fn waitlist(&self, settings: Value) -> String {
        let mut body = json!({ "name": format!("List {}", unique()) });
        for (name, value) in settings.as_object().expect("settings") {
            body[name] = value.clone();
        }
        let created = self.post("/waitlists", body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.id()
    }

    /// Creates a code pool with these settings and a unique name. Returns its id.
    pub async fn pool(&self, settings: Value) -> String {
        let mut body = json!({ "name": format!("Pool {}", unique()) });
        for (name, value) in settings.as_object().expect("settings") {
            body[name] = value.clone();
        }
        let created = self.post("/code-pools", body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.id()
    }

    /// Creates a stamp program with these settings and a unique name. Returns its id.
    pub async fn program(&self, settings: Value) -> String {
        let mut body = json!({ "name": format!("Program {}", unique()), "reward": "One coffee" });
        for (name, value) in settings.as_object().expect("settings") {
            body[name] = value.clone();
        }
        let created = self.post("/programs", body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.id()
    }

    /// Enrols a new customer in the program. Returns the customer's id.
    pub async fn customer(&self, program: &str) -> String {
        let body = json!({ "program_id": program, "phone": phone(), "name": "Ada", "consent": true });
        let enrolled = self.post("/enrollments", body).await;
        assert_eq!(enrolled.status, 201, "{}", enrolled.text);
        enrolled.text_at("customer_id")
    }

    /// Announces an import and uploads its file. Returns the import's id.
    pub async fn upload(&self, pool: &str, csv: impl Into<reqwest::Body>) -> String {
        let upload = self.post(&format!("/code-pools/{pool}/imports"), json!({})).await;
        assert_eq!(upload.status, 201, "{}", upload.text);
        let mut put = self.http.put(upload.text_at("upload_url"));
        for (name, value) in upload.json["headers"].as_object().expect("headers") {
            put = put.header(name, value.as_str().expect("text"));
        }
        let put = put.body(csv).send().await.expect("an answer of the bucket");
        assert_eq!(put.status(), 200, "{:?}", put.text().await);
        upload.id()
    }

    /// Waits until an import is completed or failed, and returns it.
    pub async fn imported(&self, pool: &str, import: &str) -> Value {
        let path = format!("/code-pools/{pool}/imports/{import}");
        patiently(Duration::from_secs(300), || async {
            let import = self.get(&path).await.ok();
            (import["status"] == "completed" || import["status"] == "failed").then_some(import)
        })
        .await
    }

    /// Uploads a file of codes and waits until it is imported.
    pub async fn import(&self, pool: &str, csv: impl Into<reqwest::Body>) -> Value {
        let import = self.upload(pool, csv).await;
        self.imported(pool, &import).await
    }

    /// Downloads the file at a URL.
    pub async fn download(&self, url: &str) -> String {
        let response = self.http.get(url).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.text().await.expect("text")
    }

    /// Claims a code for a user.
    pub async fn claim(&self, pool: &str, user: &str) -> Reply {
        self.post(&format!("/distribute/{pool}"), json!({ "user": user })).await
    }

    /// Adds a subscriber to a waitlist, with the publishable key.
    pub async fn join(&self, waitlist: &str, email: &str, code: Option<&str>) -> Reply {
        let mut body = json!({ "waitlist_id": waitlist, "email": email, "consent": true });
        if let Some(code) = code {
            body["referral_code"] = json!(code);
        }
        self.public("POST", "/subscribers").json(body).send().await
    }

    pub async fn position(&self, subscriber: &str) -> Value {
        self.get(&format!("/subscribers/{subscriber}/position")).await.ok()
    }

    /// Reads the positions of all active subscribers of a waitlist. Returns them with the subscribers' ids.
    pub async fn positions(&self, waitlist: &str) -> Vec<(String, u64)> {
        let active = self.all(&format!("/subscribers?waitlist_id={waitlist}&status=active")).await;
        let mut positions = Vec::new();
        for subscriber in active {
            let id = subscriber["id"].as_str().expect("an id").to_owned();
            let position = self.position(&id).await["position"].as_u64().expect("a position");
            positions.push((id, position));
        }
        positions
    }

    /// Waits for a mail to an address and returns the newest one.
    pub async fn mail(&self, to: &str) -> Value {
        self.mails(to, 1).await.swap_remove(0)
    }

    /// Waits until there are at least `count` mails to an address. Returns them, newest first.
    pub async fn mails(&self, to: &str, count: usize) -> Vec<Value> {
        eventually(|| async {
            let found = match TARGET.as_ref().and_then(|target| target.mails.as_deref()) {
                None => {
                    let found = self.call("GET", &format!("//outbox.json?to={to}")).send().await.json;
                    found["data"].as_array().cloned().unwrap_or_default()
                }
                Some(mails) => taken_by_ses(&self.download(mails).await, to),
            };
            Some(found).filter(|mails| mails.len() >= count)
        })
        .await
    }

    /// Follows the verification link in the newest mail to an address.
    pub async fn verify(&self, email: &str) -> Reply {
        let mail = self.mail(email).await;
        let token = link_token(&mail, "/verify?token=");
        self.call("POST", "/subscribers/verify").json(json!({ "token": token })).send().await
    }
}

/// Returns the mails to an address among those that an emulator of SES accepted, newest first, in the outbox's
/// form.
fn taken_by_ses(messages: &str, to: &str) -> Vec<Value> {
    let messages: Value = serde_json::from_str(messages).expect("JSON");
    let accounts = messages["messages"].as_object().into_iter().flatten();
    let mails = accounts.flat_map(|(_, mails)| mails.as_array().into_iter().flatten());
    let mut found: Vec<_> = mails
        .filter(|mail| mail["To"].as_array().is_some_and(|addresses| addresses.contains(&json!(to))))
        .map(|mail| json!({ "to": to, "subject": mail["Subject"], "text": mail["BodyText"] }))
        .collect();
    found.reverse();
    found
}

/// Returns the token of a link in a mail.
pub fn link_token(mail: &Value, link: &str) -> String {
    let text = mail["text"].as_str().expect("a text");
    let (_, rest) = text.split_once(link).unwrap_or_else(|| panic!("no {link} in {text}"));
    rest.split_whitespace().next().unwrap_or_default().to_owned()
}

impl Call {
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value) }
    }

    pub fn json(self, body: Value) -> Self {
        Self { request: self.request.json(&body) }
    }

    /// Sets a body with the content type of JSON, which may be invalid JSON.
    pub fn raw(self, body: impl Into<reqwest::Body>) -> Self {
        Self { request: self.request.header("content-type", "application/json").body(body) }
    }

    pub fn body(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self { request: self.request.header("content-type", content_type).body(body) }
    }

    pub async fn send(self) -> Reply {
        self.try_send().await.expect("an answer")
    }

    /// Sends the request. Returns `None` if there is no response.
    pub async fn try_send(self) -> Option<Reply> {
        let response = self.request.send().await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.ok()?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Reply { status, headers, text, json })
    }

    /// Sends the request. Returns the body of a success, and `None` for another response or none.
    pub async fn try_answer(self) -> Option<Value> {
        self.try_send().await.filter(|reply| reply.status.is_success()).map(|reply| reply.json)
    }
}

impl Reply {
    /// Returns true if the platform was too busy to decide, or, where another program emulates Lambda, to answer
    /// in time. A client retries such a request.
    pub fn is_undecided(&self) -> bool {
        let busy: &[u16] = if TARGET.is_some() { &[502, 503, 504] } else { &[503] };
        busy.contains(&self.status.as_u16())
    }

    /// Returns the body of a success. Panics on another response.
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self.json
    }

    pub fn id(&self) -> String {
        self.text_at("id")
    }

    pub fn text_at(&self, field: &str) -> String {
        self.json[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.text)).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts that the response is a complete problem document of this kind.
    pub fn is_problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.json["type"], format!("https://groundswell.dev/problems/{slug}"), "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        assert!(self.json["title"].is_string() && self.json["request_id"].is_string(), "{}", self.text);
    }

    /// Asserts that the response refuses this field.
    pub fn refuses(&self, path: &str) {
        self.is_problem(422, "validation-failed");
        assert_eq!(self.json["errors"][0]["path"], path, "{}", self.text);
    }
}

/// Waits until `look` returns a value, and returns it. Fails after 30 seconds, or longer on a slow platform.
pub async fn eventually<T, F: Future<Output = Option<T>>>(look: impl FnMut() -> F) -> T {
    patiently(Duration::from_secs(30), look).await
}

/// Returns the factor by which time-outs are longer than on the embedded platform: 10 with another store, 4 on
/// another platform.
fn slowness() -> u32 {
    match (std::env::var_os("GROUNDSWELL_DYNAMODB"), TARGET.is_some()) {
        (Some(_), _) => 10,
        (None, true) => 4,
        (None, false) => 1,
    }
}

/// Waits until `look` returns a value, and returns it. Fails when `patience` is over.
pub async fn patiently<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let looking = || {
        let looked = look();
        async { looked.await.ok_or("it never came to be") }
    };
    until(patience, looking).await
}

/// Waits until `look` succeeds, and returns its value. Fails with the last error when `patience` is over.
pub async fn until<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + patience * slowness();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(matter) => assert!(tokio::time::Instant::now() < deadline, "{matter}"),
        }
        tokio::time::sleep(Duration::from_millis(20) * slowness()).await;
    }
}

/// Returns a number that no other test of any run uses.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = jiff::Timestamp::now().as_microsecond().unsigned_abs();
    now * 1000 + NEXT.fetch_add(1, Ordering::Relaxed) % 1000
}

/// Returns an email address that no other test of any run uses.
pub fn address(name: &str) -> String {
    format!("{name}-{}@example.com", unique())
}

/// Makes a campaign's message, given as the API shows it, due for its next check now.
pub async fn overdue(table: &table::Table, send: &Value) {
    let id = send["id"].as_str().and_then(|id| id.parse().ok()).expect("the message has an id");
    let found = campaigns::sends::read(table, &id).await.expect("the table answers");
    let send = found.expect("there is such a message").send;
    let due = campaigns::campaign::Send { due_at: Some(jiff::Timestamp::now()), rev: send.rev + 1, ..send };
    assert!(
        campaigns::sends::update(table, &due).await.expect("the table answers"),
        "the message has changed"
    );
}

/// Returns a phone number that no other test of any run uses. The part after `+49` does not begin with 0, as
/// German numbers never do.
pub fn phone() -> String {
    format!("+49{}", 100_000_000_000 + unique() % 900_000_000_000)
}

/// Pseudo-random numbers from a seed (SplitMix64), so that a failure can be repeated.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap_or_default()
    }
}

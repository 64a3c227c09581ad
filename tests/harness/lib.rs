//! What the scenarios share: a platform to talk to, and a client that speaks
//! its API.
//!
//! By default the platform is embedded and lives as long as the test process.
//! `GROUNDSWELL_CREDENTIALS=<credentials.json>` points the suite at another one, a
//! [`Target`]; scenarios that need what it hasn't got then say that they were skipped,
//! in the file that `GROUNDSWELL_SKIPPED` names as well.

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

/// `feature-vote` is `FeatureVoteFunction` in the template.
pub fn logical_id(function: &str) -> String {
    let words = function.split('-').map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
    words.chain(["Function".to_owned()]).collect()
}

/// Lives as long as the process: a test's own runtime ends with the test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts")
});

/// Another platform than the embedded one: a `credentials.json`, with more in it for a suite.
#[derive(Deserialize)]
struct Target {
    #[serde(flatten)]
    credentials: Credentials,
    /// Accounts that nobody else uses.
    #[serde(default)]
    accounts: Vec<Account>,
    /// Where an emulator of SES shows the mails that it took.
    mails: Option<String>,
    /// The header from which an emulator of API Gateway takes the caller's address.
    address_header: Option<String>,
    /// How many requests it can serve at once.
    in_flight: Option<usize>,
    /// What it can't do, by the names that scenarios ask for.
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

/// Shows the platform's log at the level of `LOG_LEVEL`, with the output of the test.
pub fn log() {
    let Ok(level) = std::env::var("LOG_LEVEL") else { return };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// A platform of a test's own, with what the test wants of it; `None`, and a word about it, when
/// the suite is pointed at another one.
pub async fn platform(data: &Path, keep_stream: bool, faults: Faults) -> Option<Platform> {
    if TARGET.is_some() {
        return skipped("needs a platform of its own");
    }
    Some(start(options(data, keep_stream, faults)).await)
}

/// The same; nothing follows from anything by itself, and the stream is kept for the test to hand over.
pub async fn still_platform(data: &Path) -> Option<Platform> {
    if TARGET.is_some() {
        return skipped("needs a platform of its own");
    }
    let options = Options { event_sources: false, ..options(data, true, Faults::default()) };
    Some(start(options).await)
}

/// Asks the embedded DynamoDB for what the product has no code for, on its table: the status and the answer.
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

/// How a platform of a test's own is run; `GROUNDSWELL_DYNAMODB=<url>` has its table in an emulator
/// that runs already, `GROUNDSWELL_TWILIO=<url>` its messages in another player of Twilio.
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

/// Where a test with much to do does it: a platform of its own, unless the suite is pointed at another one.
pub async fn apart(data: &Path) -> (Api, Option<Platform>) {
    if TARGET.is_some() {
        return (Api::shared(), None);
    }
    let platform = platform(data, false, Faults::default()).await;
    let credentials = platform.as_ref().map(|platform| platform.credentials.clone());
    (Api::new(credentials.expect("a platform")), platform)
}

/// Whether the platform can't do this, of which a word is said.
pub fn lacks(what: &str) -> bool {
    let lacks = TARGET.as_ref().is_some_and(|target| target.lacks.iter().any(|lack| lack == what));
    if lacks {
        skipped::<()>(&format!("in part: {what}"));
    }
    lacks
}

/// So many requests at once, or as many as the platform can serve.
pub fn in_flight(wanted: usize) -> usize {
    TARGET.as_ref().and_then(|target| target.in_flight).map_or(wanted, |most| wanted.min(most))
}

/// So many of what a scenario does much of, or a share of it where all takes its time.
pub fn many(wanted: usize) -> usize {
    wanted / slowness() as usize
}

/// Says that the running test can't be done here.
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

/// A platform whose account lets as much through as all scenarios ask of it from one address.
pub async fn start(options: Options) -> Platform {
    log();
    let platform = Platform::start(options).await.expect("the platform starts");
    let id = &platform.credentials.account_id;
    // With injected faults it may take some attempts.
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

/// The inside of the embedded platform; `None`, and a word about it, for another one.
pub fn embedded() -> Option<&'static Platform> {
    match EMBEDDED.as_ref() {
        Some(embedded) => Some(&embedded.platform),
        None => skipped("needs the inside of the platform"),
    }
}

/// A thing that an account has, for strangers to reach for.
#[derive(Clone)]
pub struct Owned {
    /// What the routes of such a thing begin with, behind `/api/v1/`.
    pub prefix: &'static str,
    pub id: String,
    /// What `PATCH` of the thing itself takes.
    pub change: Value,
}

impl Owned {
    pub fn new(prefix: &'static str, id: String) -> Self {
        Self { prefix, id, change: json!({}) }
    }
}

/// A client of one account.
#[derive(Clone)]
pub struct Api {
    pub credentials: Credentials,
    http: reqwest::Client,
}

/// A request on its way.
pub struct Call {
    request: reqwest::RequestBuilder,
}

/// An answer.
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

    /// The first account of the shared platform.
    pub fn shared() -> Self {
        match (EMBEDDED.as_ref(), TARGET.as_ref()) {
            (Some(embedded), _) => Self::new(embedded.platform.credentials.clone()),
            (None, Some(target)) => Self::new(target.credentials.clone()),
            (None, None) => unreachable!("without a target the platform is embedded"),
        }
    }

    /// An account of a test's own on the shared platform.
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

    /// The same account through another client address: `127.0.0.<host>`.
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

    /// A call without credentials. The path is below `/api/v1`, or with `//` in front below the root.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let root = self.credentials.api.trim_end_matches("/api/v1");
        let url = match path.strip_prefix("//") {
            Some(path) => format!("{root}/{path}"),
            None => format!("{}{path}", self.credentials.api),
        };
        Call { request: self.http.request(Method::from_bytes(method.as_bytes()).expect("a method"), url) }
    }

    /// A call with the secret key.
    pub fn secret(&self, method: &str, path: &str) -> Call {
        self.call(method, path).key(&self.credentials.secret_key)
    }

    /// A call with the publishable key.
    pub fn public(&self, method: &str, path: &str) -> Call {
        self.call(method, path).key(&self.credentials.publishable_key)
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.secret("GET", path).send().await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.secret("POST", path).json(body).send().await
    }

    /// All pages of a list.
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

    /// A new waitlist with these settings; the name is its own.
    pub async fn waitlist(&self, settings: Value) -> String {
        let mut body = json!({ "name": format!("List {}", unique()) });
        for (name, value) in settings.as_object().expect("settings") {
            body[name] = value.clone();
        }
        let created = self.post("/waitlists", body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.id()
    }

    /// A new code pool with these settings; the name is its own.
    pub async fn pool(&self, settings: Value) -> String {
        let mut body = json!({ "name": format!("Pool {}", unique()) });
        for (name, value) in settings.as_object().expect("settings") {
            body[name] = value.clone();
        }
        let created = self.post("/code-pools", body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.id()
    }

    /// A new stamp program with these settings; the name is its own.
    pub async fn program(&self, settings: Value) -> String {
        let mut body = json!({ "name": format!("Program {}", unique()), "reward": "One coffee" });
        for (name, value) in settings.as_object().expect("settings") {
            body[name] = value.clone();
        }
        let created = self.post("/programs", body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.id()
    }

    /// Gives somebody new a card of the program; the customer's id.
    pub async fn customer(&self, program: &str) -> String {
        let body = json!({ "program_id": program, "phone": phone(), "name": "Ada", "consent": true });
        let enrolled = self.post("/enrollments", body).await;
        assert_eq!(enrolled.status, 201, "{}", enrolled.text);
        enrolled.text_at("customer_id")
    }

    /// Announces an import and uploads its file; the import's id.
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

    /// An import, once it is over.
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

    /// A file that a link leads to.
    pub async fn download(&self, url: &str) -> String {
        let response = self.http.get(url).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.text().await.expect("text")
    }

    /// Claims a code for a user.
    pub async fn claim(&self, pool: &str, user: &str) -> Reply {
        self.post(&format!("/distribute/{pool}"), json!({ "user": user })).await
    }

    /// Joins, with the publishable key.
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

    /// The positions of all active subscribers of a waitlist, by id.
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

    /// The newest mail to an address, once it is there.
    pub async fn mail(&self, to: &str) -> Value {
        self.mails(to, 1).await.swap_remove(0)
    }

    /// The mails to an address, newest first, once there are that many.
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

    /// Follows the link in the newest mail to an address, as its reader would.
    pub async fn verify(&self, email: &str) -> Reply {
        let mail = self.mail(email).await;
        let token = link_token(&mail, "/verify?token=");
        self.call("POST", "/subscribers/verify").json(json!({ "token": token })).send().await
    }
}

/// The mails to an address among those that an emulator of SES took, newest first, as the outbox shows them.
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

/// The token of the link in a mail.
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

    /// A body that claims to be JSON.
    pub fn raw(self, body: impl Into<reqwest::Body>) -> Self {
        Self { request: self.request.header("content-type", "application/json").body(body) }
    }

    pub fn body(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self { request: self.request.header("content-type", content_type).body(body) }
    }

    pub async fn send(self) -> Reply {
        self.try_send().await.expect("an answer")
    }

    /// `None` when there is no answer.
    pub async fn try_send(self) -> Option<Reply> {
        let response = self.request.send().await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.ok()?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Reply { status, headers, text, json })
    }

    /// The body of a success; `None` when there is no answer, or another.
    pub async fn try_answer(self) -> Option<Value> {
        self.try_send().await.filter(|reply| reply.status.is_success()).map(|reply| reply.json)
    }
}

impl Reply {
    /// Whether the platform was too busy to decide anything, or, where somebody else plays Lambda, to
    /// say what it decided in time: any client would ask again.
    pub fn is_undecided(&self) -> bool {
        let busy: &[u16] = if TARGET.is_some() { &[502, 503, 504] } else { &[503] };
        busy.contains(&self.status.as_u16())
    }

    /// The body of a success.
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

    /// Asserts that this is a problem, in full form, and of this kind.
    pub fn is_problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.json["type"], format!("https://groundswell.dev/problems/{slug}"), "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        assert!(self.json["title"].is_string() && self.json["request_id"].is_string(), "{}", self.text);
    }

    /// Asserts that a field was refused.
    pub fn refuses(&self, path: &str) {
        self.is_problem(422, "validation-failed");
        assert_eq!(self.json["errors"][0]["path"], path, "{}", self.text);
    }
}

/// Waits until something is so, and gives it; fails after 30 seconds.
pub async fn eventually<T, F: Future<Output = Option<T>>>(look: impl FnMut() -> F) -> T {
    patiently(Duration::from_secs(30), look).await
}

/// How many times as long as the embedded platform another store, or another's platform, may take.
fn slowness() -> u32 {
    match (std::env::var_os("GROUNDSWELL_DYNAMODB"), TARGET.is_some()) {
        (Some(_), _) => 10,
        (None, true) => 4,
        (None, false) => 1,
    }
}

/// Waits until something is so, and gives it; fails when the patience is over.
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

/// The same, and fails with what was the matter at last.
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

/// A number that no other test of any run has.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = jiff::Timestamp::now().as_microsecond().unsigned_abs();
    now * 1000 + NEXT.fetch_add(1, Ordering::Relaxed) % 1000
}

/// An address that no other test of any run has.
pub fn address(name: &str) -> String {
    format!("{name}-{}@example.com", unique())
}

/// Lets the time come at which a campaign's message, as the API shows it, is looked at again.
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

/// A phone number that no other test of any run has. It doesn't begin with 0, as no German number does.
pub fn phone() -> String {
    format!("+49{}", 100_000_000_000 + unique() % 900_000_000_000)
}

/// Numbers from a seed (SplitMix64), so that a failure can be repeated.
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

//! Twilio for the tests: accepts messages or misbehaves, keeps a history of all requests, and makes callbacks.
//!
//! Written from Twilio's published documentation, not from what Groundswell expects of Twilio. Sources: Twilio,
//! "Messages resource", "Twilio's Response" (errors), "Error and Warning Dictionary", "Track the Message Status
//! of Outbound Messages", "Twilio's request to your incoming message Webhook URL".

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use campaigns::twilio::AuthToken;
use reqwest::Url;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::{
    server::{Request, answer, listen},
    unique,
};

/// Behaviour of the server for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Accepts the message and confirms it.
    Accept,
    /// Accepts the message and resets the connection instead of answering.
    AcceptAndDrop,
    /// Accepts the message and never answers, until the client gives up.
    AcceptAndHang,
    /// Refuses the message and resets the connection. A client cannot distinguish this from `AcceptAndDrop`.
    Drop,
    /// Refuses the message with a code of Twilio's dictionary, for example status 400 and code 21211.
    Refuse { status: u16, code: u32 },
    /// Refuses the message with a rate limit and asks for a retry after this number of seconds.
    TooMany { retry_after: u32 },
    /// Fails without a usable body. The message may have been accepted nevertheless.
    Broken { status: u16, taken: bool },
}

impl Behaviour {
    fn takes(self) -> bool {
        match self {
            Self::Accept | Self::AcceptAndDrop | Self::AcceptAndHang => true,
            Self::Broken { taken, .. } => taken,
            Self::Drop | Self::Refuse { .. } | Self::TooMany { .. } => false,
        }
    }
}

/// Request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Time at which the whole request had arrived.
    pub at: Instant,
    pub to: String,
    /// Sender, or the messaging service that chooses one.
    pub from: String,
    pub form: BTreeMap<String, String>,
    pub behaviour: Behaviour,
    /// SID of the message if it was accepted.
    pub sid: Option<String>,
}

type Behave = dyn Fn(&BTreeMap<String, String>, usize) -> Behaviour + Send + Sync;
type Delay = dyn Fn() -> Duration + Send + Sync;

struct Server {
    account_sid: String,
    /// Expected value of the `Authorization` header.
    authorization: String,
    path: String,
    behave: Box<Behave>,
    delay: Box<Delay>,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    arrivals: Vec<Arrival>,
    /// Number of requests for each `To`.
    counts: HashMap<String, usize>,
}

/// One account at Twilio. The server stops on drop.
pub struct FakeTwilio {
    pub url: String,
    token: AuthToken,
    server: Arc<Server>,
    http: reqwest::Client,
    listening: AbortHandle,
}

impl FakeTwilio {
    /// Starts the server. `behave` decides about one request at a time, by its parameters and the number of
    /// earlier requests with the same `To`. Requests that Twilio itself would refuse, for example for a wrong
    /// password, are refused without asking `behave`. `delay` returns the time between the arrival and the
    /// answer.
    pub async fn start(
        account_sid: &str,
        auth_token: &str,
        behave: impl Fn(&BTreeMap<String, String>, usize) -> Behaviour + Send + Sync + 'static,
        delay: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let server = Arc::new(Server {
            account_sid: account_sid.to_owned(),
            authorization: format!("Basic {}", STANDARD.encode(format!("{account_sid}:{auth_token}"))),
            path: format!("/2010-04-01/Accounts/{account_sid}/Messages.json"),
            behave: Box::new(behave),
            delay: Box::new(delay),
            history: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = server.clone();
        // Twilio's time-out for a callback: 15 seconds.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(15));
        Self {
            url: format!("http://{address}"),
            token: AuthToken::new(auth_token.to_owned()).expect("an auth token"),
            http: http.build().expect("a client"),
            listening: listen(listener, move |stream| serve(stream, serving.clone())),
            server,
        }
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.server.history().arrivals.clone()
    }

    /// Returns the accepted messages, each of which reaches its recipient.
    pub fn taken(&self) -> Vec<Arrival> {
        self.server.history().arrivals.iter().filter(|arrival| arrival.sid.is_some()).cloned().collect()
    }

    /// Reports that an accepted message was "sent", "delivered", "read", or "failed" with an error. Returns the
    /// status of the response, or 502 if there is none. Panics if the sender asked for no callback.
    pub async fn status(&self, arrival: &Arrival, status: &str, error_code: Option<u32>) -> u16 {
        let sid = arrival.sid.as_deref().expect("a message that was taken");
        let mut parameters = self.parameters(sid, &arrival.from, &arrival.to);
        parameters.push(("MessageStatus", status.to_owned()));
        parameters.extend(error_code.map(|code| ("ErrorCode", code.to_string())));
        self.call(callback(arrival), parameters).await
    }

    /// Delivers a recipient's reply to a message. Returns the status of the response, or 502 if there is none.
    pub async fn reply(&self, arrival: &Arrival, text: &str) -> u16 {
        let mut parameters = self.parameters(&new_sid(), &arrival.to, &arrival.from);
        for (name, value) in [("Body", text), ("NumMedia", "0"), ("NumSegments", "1")] {
            parameters.push((name, value.to_owned()));
        }
        self.call(&inbound(callback(arrival)), parameters).await
    }

    /// Delivers a message from this address, with these parameters, to the URL for replies.
    pub async fn says(&self, url: &str, from: &str, said: &[(&'static str, &str)]) -> u16 {
        let mut parameters = self.parameters(&new_sid(), from, "+493012345678");
        parameters.extend(said.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self.call(url, parameters).await
    }

    fn parameters(&self, sid: &str, from: &str, to: &str) -> Vec<(&'static str, String)> {
        let parameters = [
            ("MessageSid", sid),
            ("SmsSid", sid),
            ("AccountSid", self.server.account_sid.as_str()),
            ("From", from),
            ("To", to),
            ("ApiVersion", "2010-04-01"),
        ];
        parameters.map(|(name, value)| (name, value.to_owned())).to_vec()
    }

    async fn call(&self, url: &str, parameters: Vec<(&'static str, String)>) -> u16 {
        let parameters: Vec<(String, String)> =
            parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let signature = self.token.sign_form(url, &parameters);
        let call = self.http.post(url).header("X-Twilio-Signature", signature).form(&parameters);
        call.send().await.map_or(502, |answer| answer.status().as_u16())
    }
}

impl Drop for FakeTwilio {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn callback(arrival: &Arrival) -> &str {
    arrival.form.get("StatusCallback").expect("a callback that the sender asked for")
}

/// Returns the URL for replies: `inbound` beside the callback's `status`. At Twilio this URL is a setting and not
/// part of the request.
fn inbound(callback: &str) -> String {
    let (path, query) = callback.split_once('?').unwrap_or((callback, ""));
    let base = path.strip_suffix("/status").expect("a callback for statuses");
    let account = query.split('&').find(|pair| pair.starts_with("account_id=")).expect("an account");
    format!("{base}/inbound?{account}")
}

fn new_sid() -> String {
    format!("SM{:032x}", unique())
}

/// Returns the greatest number of arrivals within any period of this length.
pub fn busiest(arrivals: &[Arrival], within: Duration) -> usize {
    let times = times(arrivals);
    let (mut first, mut most) = (0, 0);
    for (last, at) in times.iter().enumerate() {
        while at.duration_since(times[first]) >= within {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

/// Returns the number of arrivals in each second since the first.
pub fn histogram(arrivals: &[Arrival]) -> Vec<usize> {
    let times = times(arrivals);
    let mut counts: Vec<usize> = Vec::new();
    for at in &times {
        let second = at.duration_since(times[0]).as_secs() as usize;
        if counts.len() <= second {
            counts.resize(second + 1, 0);
        }
        counts[second] += 1;
    }
    counts
}

fn times(arrivals: &[Arrival]) -> Vec<Instant> {
    let mut times: Vec<Instant> = arrivals.iter().map(|arrival| arrival.at).collect();
    times.sort_unstable();
    times
}

impl Server {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("nobody panicked")
    }

    /// Decides about a request and records it.
    fn note(&self, request: &Request) -> Arrival {
        let form = parse(&request.body);
        let from = form.get("From").or_else(|| form.get("MessagingServiceSid"));
        let from = from.cloned().unwrap_or_default();
        let to = form.get("To").cloned().unwrap_or_default();
        let mut history = self.history();
        let at = Instant::now();
        let count = history.counts.entry(to.clone()).or_default();
        let behaviour = match self.refusal(request, &form) {
            Some((status, code)) => Behaviour::Refuse { status, code },
            None => (self.behave)(&form, *count),
        };
        *count += 1;
        let sid = behaviour.takes().then(new_sid);
        let arrival = Arrival { at, to, from, form, behaviour, sid };
        history.arrivals.push(arrival.clone());
        arrival
    }

    /// Returns the status and the code with which Twilio refuses an invalid request.
    fn refusal(&self, request: &Request, form: &BTreeMap<String, String>) -> Option<(u16, u32)> {
        if request.header("authorization") != self.authorization {
            return Some((401, 20003));
        }
        if request.path != self.path {
            return Some((404, 20404));
        }
        if request.method != "POST" {
            return Some((405, 20004));
        }
        let given = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let Some(to) = given("To") else { return Some((400, 21604)) };
        let (from, body) = (given("From"), given("Body"));
        let (channel, number) = split(to);
        let (content, variables) = (given("ContentSid"), given("ContentVariables"));
        let values: Option<BTreeMap<String, String>> = serde_json::from_str(variables.unwrap_or("{}")).ok();
        let code = if from.or(given("MessagingServiceSid")).is_none() {
            21603
        } else if body.or(content).or(variables).or(given("MediaUrl")).is_none() {
            21602
        } else if !is_number(number) {
            21211
        } else if from.is_some_and(|from| split(from).0 != channel) {
            21910
        } else if body.is_some_and(|body| body.chars().count() > 1600) {
            21617
        } else if variables.is_some() && content.is_none() {
            21654
        } else if values.as_ref().is_none_or(|values| values.values().any(|value| !is_variable(value))) {
            21656
        } else if values.into_iter().flatten().any(|(_, value)| value.chars().count() > 1600) {
            21658
        } else {
            return None;
        };
        Some((400, code))
    }

    /// Returns the response about an accepted message.
    fn created(&self, arrival: &Arrival) -> String {
        let sid = arrival.sid.as_deref().unwrap_or_default();
        let uri = format!("/2010-04-01/Accounts/{}/Messages/{sid}", self.account_sid);
        let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
        let given = |name: &str| arrival.form.get(name).cloned();
        // A messaging service chooses the sender later.
        let chosen = given("MessagingServiceSid").is_none();
        let message = json!({
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": given("Body").unwrap_or_default(),
            "date_created": now,
            "date_sent": null,
            "date_updated": now,
            "direction": "outbound-api",
            "error_code": null,
            "error_message": null,
            "from": given("From"),
            "messaging_service_sid": given("MessagingServiceSid"),
            "num_media": "0",
            "num_segments": if chosen { "1" } else { "0" },
            "price": null,
            "price_unit": null,
            "sid": sid,
            "status": if chosen { "queued" } else { "accepted" },
            "subresource_uris": { "media": format!("{uri}/Media.json") },
            "to": arrival.to,
            "uri": format!("{uri}.json"),
        });
        answer(201, JSON, "", &message.to_string())
    }
}

const JSON: &str = "application/json;charset=utf-8";

fn refused(status: u16, code: u32, header: &str, to: &str) -> String {
    // The message contains the number, as Twilio's does.
    let invalid = format!("The 'To' number {to} is not a valid phone number.");
    let message = match code {
        20003 => "Authenticate",
        20004 => "Method not allowed",
        20404 => "The requested resource was not found",
        20429 => "Too Many Requests",
        21211 => invalid.as_str(),
        21602 => "Message body is required.",
        21603 => "A 'From' phone number is required.",
        21604 => "A 'To' phone number is required.",
        21610 => "Attempt to send to unsubscribed recipient",
        21617 => "The concatenated message body exceeds the 1600 character limit.",
        21654 => "ContentSid Required",
        21656 => "The ContentVariables Parameter is invalid.",
        21658 => "Parameter exceeded character limit",
        21910 => "Invalid 'From' and 'To' pair. 'From' and 'To' should be of the same channel",
        63016 => {
            "Failed to send freeform message because you are outside the allowed window. \
             If you are using WhatsApp, please use a Message Template."
        }
        63018 => "Rate limit exceeded for Channel",
        63033 => "Recipient blocked to receive message",
        63049 => "Meta chose not to deliver this WhatsApp marketing message",
        _ => "Unknown error",
    };
    let header = match status {
        401 => "WWW-Authenticate: Basic realm=\"Twilio API\"\r\n",
        _ => header,
    };
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    let problem = json!({ "code": code, "message": message, "more_info": more_info, "status": status });
    answer(status, JSON, header, &problem.to_string())
}

/// Splits an address into its channel, which is empty for SMS, and the rest.
fn split(address: &str) -> (&str, &str) {
    address.split_once(':').unwrap_or(("", address))
}

/// Returns true if the text is a phone number in E.164 form.
fn is_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

/// Returns true if a template accepts the value for a variable.
fn is_variable(value: &str) -> bool {
    !value.is_empty() && !value.contains(['\n', '\t']) && !value.contains("     ")
}

/// Parses a form, which has the syntax of a query.
fn parse(form: &str) -> BTreeMap<String, String> {
    let mut url = Url::parse("http://localhost/").expect("a URL");
    url.set_query(Some(form));
    url.query_pairs().into_owned().collect()
}

/// Answers the requests of a connection one after another, or leaves them unanswered.
async fn serve(mut stream: TcpStream, server: Arc<Server>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    while let Some(request) = Request::read(&mut stream, &mut buffer).await? {
        let arrival = server.note(&request);
        let delay = (server.delay)();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let answer = match arrival.behaviour {
            Behaviour::Accept => server.created(&arrival),
            // With a linger time of zero, closing the connection resets it.
            Behaviour::AcceptAndDrop | Behaviour::Drop => return stream.set_zero_linger(),
            Behaviour::AcceptAndHang => {
                // Waits until the client closes the connection.
                let mut rest = [0; 256];
                while stream.read(&mut rest).await? > 0 {}
                return Ok(());
            }
            Behaviour::Refuse { status, code } => refused(status, code, "", &arrival.to),
            Behaviour::TooMany { retry_after } => {
                refused(429, 20429, &format!("Retry-After: {retry_after}\r\n"), &arrival.to)
            }
            Behaviour::Broken { status, .. } => answer(status, "text/html", "", "<html></html>"),
        };
        stream.write_all(answer.as_bytes()).await?;
        if request.closes {
            break;
        }
    }
    Ok(())
}

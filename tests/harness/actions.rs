//! Actions of people and servers, each recorded with all of its effects.
//!
//! If actions run one at a time, each change is projected alone, which is the most expensive case. Concurrent
//! actions share batches.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use groundswell::{
    Platform,
    capacity::Charge,
    recorder::{Call, Record},
};
use serde_json::{Value, json};

use crate::{Api, address, link_token, phone, receiver::Receiver, unique};

/// Action that is recorded and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Join,
    /// Join through the referral link of a subscriber who brings three friends.
    JoinReferred,
    /// Join through one referral link that all joins use.
    JoinThroughOneLink,
    /// Join of a waitlist with double opt-in, including its mail.
    JoinPending,
    Verify,
    Position,
    Click,
    Leaderboard,
    /// Page of 100 subscribers.
    List,
    Claim,
    /// Reservation of a code and its confirmation.
    Reserve,
    Redeem,
    /// One row of an imported file of 1,000 rows.
    Import,
    /// One row of an export of 100 rows.
    Export,
    Erase,
    Enrol,
    /// Stamp by the customer's code, in a program with a cooldown.
    Stamp,
    /// Stamp that fills a card.
    StampFull,
    RedeemReward,
    /// Vote for a feature.
    Vote,
    /// Vote that is delivered to a webhook endpoint.
    VoteTold,
    /// Analytics of a waitlist for the last 30 days.
    Analytics,
    /// One message of a campaign of 100, with the two status callbacks of its provider.
    Message,
}

/// Operations of DynamoDB other than transactions.
pub const CALLS: [&str; 4] =
    ["DynamoDB.GetItem", "DynamoDB.BatchGetItem", "DynamoDB.Query", "DynamoDB.UpdateItem"];
pub const TRANSACTION: &str = "DynamoDB.TransactWriteItems";
/// Operations that send messages to a queue. A batch costs as much as one message.
pub const MESSAGES: [&str; 2] = ["SQS.SendMessage", "SQS.SendMessageBatch"];
pub const MAIL: &str = "SES.POST";

/// Number of friends that each referrer brings, which is also the number of referrals that earns the reward tier.
const FRIENDS: usize = 3;
const ROWS_AT_ONCE: usize = 1000;
/// Subscribers on the waitlist before the measurements. They fill more than one page in each shard of the list,
/// and about half of the last leaf of the line. Some of them are on the leaderboard.
const FILL: usize = 420;
const LEADERS: usize = 20;
/// Number of client addresses. The number of joins per address and minute is limited.
const HOSTS: u8 = 100;

impl Action {
    pub const ALL: [Self; 23] = [
        Self::Join,
        Self::JoinReferred,
        Self::JoinThroughOneLink,
        Self::JoinPending,
        Self::Verify,
        Self::Position,
        Self::Click,
        Self::Leaderboard,
        Self::List,
        Self::Claim,
        Self::Reserve,
        Self::Redeem,
        Self::Import,
        Self::Export,
        Self::Erase,
        Self::Enrol,
        Self::Stamp,
        Self::StampFull,
        Self::RedeemReward,
        Self::Vote,
        Self::VoteTold,
        Self::Analytics,
        Self::Message,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::JoinReferred => "join through a friend's link, with its credit",
            Self::JoinThroughOneLink => "join, all through one link",
            Self::JoinPending => "join with double opt-in, with its mail",
            Self::Verify => "verification of an address",
            Self::Position => "position",
            Self::Click => "click on a referral link",
            Self::Leaderboard => "leaderboard of 20",
            Self::List => "list of 100 subscribers",
            Self::Claim => "claim of a code",
            Self::Reserve => "reservation and its confirmation",
            Self::Redeem => "redemption",
            Self::Import => "import, a row",
            Self::Export => "export, a row",
            Self::Erase => "erasure of a subscriber",
            Self::Enrol => "enrolment of a customer",
            Self::Stamp => "stamp",
            Self::StampFull => "stamp that fills the card",
            Self::RedeemReward => "redemption of a reward",
            Self::Vote => "vote",
            Self::VoteTold => "vote, told to a webhook endpoint",
            Self::Analytics => "analytics of a waitlist, 30 days",
            Self::Message => "message of a campaign of 100",
        }
    }

    /// Returns the number of repetitions for a count of the action, one at a time.
    pub fn few(self) -> usize {
        match self {
            Self::JoinReferred | Self::JoinThroughOneLink => 2 * FRIENDS,
            Self::Import => ROWS_AT_ONCE,
            Self::Export | Self::Message => 100,
            // More repetitions, because it is random where a code is looked for and which of four partitions an
            // event goes to.
            Self::Claim | Self::Reserve | Self::JoinPending => 12,
            Self::Redeem | Self::RedeemReward | Self::Vote | Self::VoteTold => 12,
            _ => 3,
        }
    }

    /// Returns true if the action has effects after its response.
    fn has_consequences(self) -> bool {
        !matches!(self, Self::Position | Self::Leaderboard | Self::List | Self::Analytics)
    }
}

/// Platform with an account, a waitlist of each kind, a stamp program and a webhook receiver.
pub struct Stage {
    pub platform: Platform,
    /// Clients of one account with many client addresses.
    apis: Vec<Api>,
    waitlist: String,
    pending: String,
    program: String,
    receiver: Receiver,
}

/// Records of a repeated action.
pub struct Recording {
    pub action: Action,
    pub times: usize,
    pub records: Vec<Record>,
}

impl Stage {
    pub async fn set(platform: Platform) -> Self {
        let api = Api::new(platform.credentials.clone());
        let settings = json!({ "reward_tiers": [{ "referrals": FRIENDS, "name": "Early access" }] });
        let waitlist = api.waitlist(settings).await;
        let pending = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
        let apis = (1..=HOSTS).map(|host| api.from_host(host)).collect();
        let program = api.program(json!({ "stamps_required": 10, "cooldown_seconds": 3600 })).await;
        let twilio = json!({ "account_sid": format!("AC{:032}", 0), "auth_token": "0".repeat(32), "sms_sender": "+4930123456" });
        api.secret("PUT", "/providers/twilio").json(twilio).send().await.ok();
        let receiver = Receiver::willing().await;
        let stage = Self { platform, apis, waitlist, pending, program, receiver };
        // `quiet` waits only for recorded activity.
        stage.platform.recorder.record();
        let codes = stage.people(FILL - LEADERS, None).await;
        for code in codes.iter().take(LEADERS) {
            stage.people(1, Some(&code.code)).await;
        }
        stage.platform.recorder.quiet().await;
        stage
    }

    fn api(&self, n: usize) -> &Api {
        &self.apis[n % self.apis.len()]
    }

    async fn people(&self, count: usize, code: Option<&str>) -> Vec<Person> {
        let joins = (0..count).map(|n| async move {
            let joined = self.api(n).join(&self.waitlist, &address("p"), code).await;
            assert_eq!(joined.status, 201, "{}", joined.text);
            Person { id: joined.id(), code: joined.text_at("referral_code"), token: joined.text_at("token") }
        });
        stream::iter(joins).buffered(8).collect().await
    }

    /// Runs the action `times` times, one at a time, and waits for all effects of each.
    pub async fn alone(&self, action: Action, times: usize) -> Recording {
        self.perform(action, times, 1, action.has_consequences()).await
    }

    /// Runs the action `times` times with this number of requests in flight.
    pub async fn at_once(&self, action: Action, times: usize, in_flight: usize) -> Recording {
        self.perform(action, times, in_flight, false).await
    }

    async fn perform(&self, action: Action, times: usize, in_flight: usize, pause: bool) -> Recording {
        let recorder = &self.platform.recorder;
        let mut material = self.prepare(action, times).await;
        recorder.quiet().await;
        recorder.record();
        let steps = stream::iter(std::mem::take(&mut material).into_iter().enumerate());
        let steps = steps.map(|(n, material)| async move {
            self.once(action, n, material).await;
            if pause {
                recorder.quiet().await;
            }
        });
        steps.buffer_unordered(in_flight).collect::<()>().await;
        recorder.quiet().await;
        let mut records = recorder.take();
        // Calls of the schedules, which run once a minute, do not belong to the action.
        let scheduled = |function: &str, look: bool| match function {
            "CampaignSchedulerFunction" => action != Action::Message,
            "WebhookSenderFunction" => look,
            _ => false,
        };
        records.retain(|record| match record {
            Record::Call(call) => !scheduled(&call.function, call.operation == "DynamoDB.Query"),
            Record::Invocation(invocation) => !scheduled(&invocation.function, invocation.records == 0),
        });
        if action == Action::VoteTold {
            for endpoint in self.api(0).all("/webhook-endpoints").await {
                let path = format!("/webhook-endpoints/{}", endpoint["id"].as_str().unwrap_or_default());
                assert_eq!(self.api(0).secret("DELETE", &path).send().await.status, 204);
            }
        }
        Recording { action, times, records }
    }

    /// Creates the material for each repetition before the recording starts.
    async fn prepare(&self, action: Action, times: usize) -> Vec<Value> {
        let once = || vec![Value::Null; times];
        match action {
            Action::Join | Action::JoinPending | Action::Leaderboard | Action::List => once(),
            Action::Enrol | Action::Analytics => once(),
            Action::Vote | Action::VoteTold => {
                if action == Action::VoteTold {
                    let endpoint = json!({ "url": self.receiver.url, "event_types": ["feature.voted"] });
                    assert_eq!(self.api(0).post("/webhook-endpoints", endpoint).await.status, 201);
                }
                let feature = json!({ "waitlist_id": self.waitlist, "title": "Dark mode" });
                let feature = self.api(0).post("/features", feature).await.id();
                let people = self.people(times, None).await;
                people.into_iter().map(|person| json!({ "id": feature, "token": person.token })).collect()
            }
            Action::Stamp | Action::StampFull | Action::RedeemReward => {
                let cards = (0..times).map(|n| self.card(n, action));
                stream::iter(cards).buffered(8).collect().await
            }
            Action::JoinReferred => {
                let referrers = self.people(times.div_ceil(FRIENDS), None).await;
                // In turns, so that the joins through one referrer's link are not counted in one batch.
                (0..times).map(|n| json!(referrers[n % referrers.len()].code)).collect()
            }
            Action::JoinThroughOneLink => {
                let referrer = self.people(1, None).await.swap_remove(0);
                vec![json!(referrer.code); times]
            }
            Action::Verify => {
                let joins = (0..times).map(|n| async move {
                    let email = address("v");
                    let joined = self.api(n).join(&self.pending, &email, None).await;
                    assert_eq!(joined.status, 202, "{}", joined.text);
                    json!(link_token(&self.api(n).mail(&email).await, "/verify?token="))
                });
                stream::iter(joins).buffered(8).collect().await
            }
            Action::Position | Action::Click | Action::Erase => {
                let few = if action == Action::Erase { times } else { times.min(50) };
                let people = self.people(few, None).await;
                let material = |n: usize| {
                    let Person { id, code, token } = &people[n % few];
                    json!({ "id": id, "code": code, "token": token })
                };
                (0..times).map(material).collect()
            }
            Action::Claim | Action::Reserve => {
                // Twice as many codes as needed, because finding the last codes of a pool takes more reads.
                let pool = self.pool_of(2 * times.max(200)).await;
                vec![json!(pool); times]
            }
            Action::Redeem => {
                let pool = self.pool_of(times).await;
                let claims = (0..times).map(|n| {
                    let pool = &pool;
                    async move { assert_eq!(self.api(n).claim(pool, &n.to_string()).await.status, 201) }
                });
                stream::iter(claims).buffered(8).collect::<()>().await;
                let codes = self.api(0).all(&format!("/code-pools/{pool}/codes")).await;
                codes.into_iter().map(|code| code["id"].clone()).collect()
            }
            Action::Import => {
                let pool = self.api(0).pool(json!({})).await;
                vec![json!(pool); times / ROWS_AT_ONCE]
            }
            Action::Export => {
                let list = self.api(0).waitlist(json!({})).await;
                let joins = (0..times).map(|n| {
                    let list = &list;
                    async move { self.api(n).join(list, &address("e"), None).await.ok() }
                });
                stream::iter(joins).buffered(8).collect::<Vec<_>>().await;
                vec![json!(list)]
            }
            Action::Message => {
                let program = self.api(0).program(json!({})).await;
                let customers = (0..times).map(|n| self.api(n).customer(&program));
                stream::iter(customers).buffered(8).collect::<Vec<_>>().await;
                let settings = json!({
                    "name": "Everybody", "program_id": program, "trigger": { "kind": "segment" },
                    "template": { "channel": "sms", "text": "We miss you, {{name}}" },
                });
                vec![json!(self.api(0).post("/campaigns", settings).await.id())]
            }
        }
    }

    /// Enrols a customer and returns the material for an action: a code to show, or the id of a reward.
    async fn card(&self, n: usize, action: Action) -> Value {
        let api = self.api(n);
        let customer = api.customer(&self.program).await;
        if action == Action::RedeemReward {
            let visit = json!({ "program_id": self.program, "customer_id": customer, "count": 10 });
            return api.post("/stamps", visit).await.ok()["rewards"][0]["id"].clone();
        }
        let card = api.get(&format!("/customers/{customer}/card?program_id={}", self.program)).await.ok();
        card["token"].clone()
    }

    async fn pool_of(&self, codes: usize) -> String {
        let pool = self.api(0).pool(json!({})).await;
        for first in (0..codes).step_by(ROWS_AT_ONCE) {
            self.api(0).import(&pool, rows(first, codes.min(first + ROWS_AT_ONCE))).await;
        }
        pool
    }

    async fn once(&self, action: Action, n: usize, material: Value) {
        let api = self.api(n);
        let text = |field: &str| material[field].as_str().unwrap_or_default().to_owned();
        let whole = material.as_str().unwrap_or_default();
        let reply = match action {
            Action::Join => api.join(&self.waitlist, &address("p"), None).await,
            Action::JoinReferred | Action::JoinThroughOneLink => {
                api.join(&self.waitlist, &address("p"), Some(whole)).await
            }
            Action::JoinPending => {
                let email = address("p");
                let joined = api.join(&self.pending, &email, None).await;
                api.mail(&email).await;
                joined
            }
            Action::Verify => {
                api.call("POST", "/subscribers/verify").json(json!({ "token": whole })).send().await
            }
            Action::Position => {
                let call = api.public("GET", &format!("/subscribers/{}/position", text("id")));
                call.header("x-subscriber-token", &text("token")).send().await
            }
            Action::Click => {
                api.public("POST", "/referrals").json(json!({ "referral_code": text("code") })).send().await
            }
            Action::Leaderboard => {
                api.public("GET", &format!("/waitlists/{}/leaderboard", self.waitlist)).send().await
            }
            Action::List => api.get(&format!("/subscribers?waitlist_id={}&limit=100", self.waitlist)).await,
            Action::Claim | Action::Reserve => {
                let reserve = action == Action::Reserve;
                let body = json!({ "user": unique().to_string(), "reserve": reserve });
                let claimed = api.public("POST", &format!("/distribute/{whole}")).json(body).send().await;
                match reserve {
                    false => claimed,
                    true => {
                        let path = format!("/claims/{}/confirm", claimed.text_at("claim_id"));
                        api.public("POST", &path).json(json!({})).send().await
                    }
                }
            }
            Action::Redeem => api.post(&format!("/codes/{whole}/redeem"), json!({})).await,
            Action::Import => {
                let first = n * ROWS_AT_ONCE;
                api.upload(whole, rows(first, first + ROWS_AT_ONCE)).await;
                return;
            }
            Action::Export => {
                api.post("/exports", json!({ "kind": "subscribers", "waitlist_id": whole })).await
            }
            Action::Erase => api.secret("DELETE", &format!("/subscribers/{}", text("id"))).send().await,
            Action::Enrol => {
                let body = json!({ "program_id": self.program, "phone": phone(), "consent": true });
                api.public("POST", "/enrollments").json(body).send().await
            }
            Action::Stamp => api.post("/stamps", json!({ "token": whole })).await,
            Action::StampFull => api.post("/stamps", json!({ "token": whole, "count": 10 })).await,
            Action::RedeemReward => api.post(&format!("/rewards/{whole}/redeem"), json!({})).await,
            Action::Vote | Action::VoteTold => {
                let call = api.public("POST", &format!("/features/{}/vote", text("id")));
                call.header("x-subscriber-token", &text("token")).json(json!({})).send().await
            }
            Action::Analytics => api.get(&format!("/analytics/waitlists/{}", self.waitlist)).await,
            Action::Message => api.post(&format!("/campaigns/{whole}/activate"), json!({})).await,
        };
        assert!(reply.status.is_success(), "{action:?}: {} {}", reply.status, reply.text);
    }
}

struct Person {
    id: String,
    code: String,
    token: String,
}

fn rows(first: usize, end: usize) -> String {
    let rows = (first..end).map(|n| format!("CAPACITY-{n:07}\n"));
    std::iter::once("code\n".to_owned()).chain(rows).collect()
}

/// Returns true if the function answers HTTP requests.
fn answers(function: &str) -> bool {
    groundswell::apis().any(|api| crate::logical_id(api) == function)
}

/// Returns the greatest number of calls that were made one after another. Each call has the times of its answer
/// and of its sending.
fn one_after_another(mut calls: Vec<(Instant, Instant)>) -> usize {
    calls.sort();
    let mut free: Option<Instant> = None;
    calls.retain(|(answered_at, sent_at)| {
        let follows = free.is_none_or(|free| free <= *sent_at);
        free = if follows { Some(*answered_at) } else { free };
        follows
    });
    calls.len()
}

/// Capacity units of reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    pub reads: f64,
    pub writes: f64,
}

/// Partition: the name of its index, or `None` for the table, and its key.
pub type Partition = (Option<String>, String);

impl Recording {
    fn each(&self, sum: f64) -> f64 {
        sum / self.times as f64
    }

    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.records.iter().filter_map(|record| match record {
            Record::Call(call) => Some(call),
            Record::Invocation(_) => None,
        })
    }

    fn charges(&self) -> impl Iterator<Item = &Charge> {
        self.calls().flat_map(|call| &call.charges)
    }

    /// Returns the units of one repetition.
    pub fn units(&self) -> Units {
        let reads = self.each(self.charges().map(|charge| charge.reads).sum());
        Units { reads, writes: self.each(self.charges().map(|charge| charge.writes).sum()) }
    }

    /// Returns the units of one repetition by partition.
    pub fn partitions(&self) -> BTreeMap<Partition, Units> {
        let mut partitions: BTreeMap<Partition, Units> = BTreeMap::new();
        for charge in self.charges() {
            let units = partitions.entry((charge.index.clone(), charge.partition.clone())).or_default();
            units.reads += self.each(charge.reads);
            units.writes += self.each(charge.writes);
        }
        partitions
    }

    /// Returns the number of bytes by which the table and its indexes grow with one repetition.
    pub fn grows(&self) -> f64 {
        // Roll-ups grow by the hour, independently of the number of actions.
        let lasting = self.charges().filter(|charge| !charge.partition.starts_with("ROLLUP#"));
        self.each(lasting.map(|charge| charge.grows as f64).sum())
    }

    /// Returns the number of requests through the gateway in one repetition.
    pub fn requests(&self) -> f64 {
        self.each(self.invoked(answers).count() as f64)
    }

    /// Returns the number of invocations of all functions in one repetition.
    pub fn invocations(&self) -> f64 {
        self.each(self.invoked(|_| true).count() as f64)
    }

    /// Returns the median number of round trips to AWS for which a request waits, including its authorization.
    /// Concurrent calls count as one round trip.
    pub fn round_trips(&self) -> f64 {
        const AUTHORIZER: &str = "AuthorizerFunction";
        let mut waits: BTreeMap<u64, Vec<(Instant, Instant)>> = BTreeMap::new();
        for call in self.calls() {
            if let Some(invocation) = call.invocation {
                waits.entry(invocation).or_default().push((call.answered_at, call.sent_at));
            }
        }
        let trips = |which: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let numbers = self.records.iter().filter_map(|record| match record {
                Record::Invocation(invocation) if which(&invocation.function) => Some(invocation.number),
                _ => None,
            });
            let waits = numbers.map(|number| waits.get(&number).cloned().unwrap_or_default());
            let mut trips: Vec<_> = waits.map(one_after_another).collect();
            trips.sort_unstable();
            trips
        };
        let (own, authorizing) = (trips(&answers), trips(&|function| function == AUTHORIZER));
        let usual = own.get(own.len() / 2).copied().unwrap_or_default() as f64;
        usual + authorizing.iter().sum::<usize>() as f64 / own.len().max(1) as f64
    }

    /// Returns, for each function that is invoked from queues or the stream, the number of its invocations and
    /// the average number of messages or records in each.
    pub fn batches(&self) -> BTreeMap<String, (usize, f64)> {
        let mut batches: BTreeMap<String, (usize, f64)> = BTreeMap::new();
        for (function, records) in self.invoked(|function| !answers(function)) {
            let (count, sum) = batches.entry(function.to_owned()).or_default();
            (*count, *sum) = (*count + 1, *sum + records as f64);
        }
        batches.values_mut().for_each(|(count, sum)| *sum /= *count as f64);
        batches.retain(|_, (_, mean)| *mean > 0.0);
        batches
    }

    fn invoked(&self, which: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, usize)> {
        self.records.iter().filter_map(move |record| match record {
            Record::Invocation(invocation) if which(&invocation.function) => {
                Some((invocation.function.as_str(), invocation.records))
            }
            _ => None,
        })
    }

    /// Returns the number of calls in one repetition with one of these operations.
    pub fn count(&self, operations: &[&str]) -> f64 {
        let wanted = self.calls().filter(|call| operations.contains(&call.operation.as_str()));
        self.each(wanted.count() as f64)
    }

    /// Returns the number of calls in one repetition by operation.
    pub fn operations(&self) -> BTreeMap<String, f64> {
        let mut operations: BTreeMap<String, f64> = BTreeMap::new();
        for call in self.calls() {
            *operations.entry(call.operation.clone()).or_default() += self.each(1.0);
        }
        operations
    }

    /// Returns the time of one repetition that functions did not spend waiting for AWS. Overlapping calls count
    /// twice, so the result may be too small.
    pub fn own_time(&self) -> Duration {
        let mut invoked = Duration::ZERO;
        let mut called = Duration::ZERO;
        for record in &self.records {
            match record {
                Record::Invocation(invocation) => invoked += invocation.took,
                Record::Call(call) => called += call.took,
            }
        }
        invoked.saturating_sub(called).div_f64(self.times as f64)
    }
}

/// Returns a partition in the form of `docs/access-patterns.md`, for example `WLSUBS#waitlist#shard`.
pub fn class_of(partition: &str) -> String {
    let shape = |key: &str| (key.split('#').next().unwrap_or_default().to_owned(), key.split('#').count());
    let wanted = shape(partition);
    let keys = families::patterns().flat_map(|pattern| pattern.keys.split('`'));
    let templates = keys.filter(|key| key.starts_with(|first: char| first.is_ascii_uppercase()));
    let mut fitting = templates.filter(|template| shape(template) == wanted);
    fitting.next().unwrap_or(&wanted.0).to_owned()
}

//! What people and servers do, each recorded with all that follows from it.
//!
//! Done one at a time, each change is projected alone, which is the dearest; many at once share batches.

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

/// Something that is done, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Join,
    /// Through the link of somebody who brings three.
    JoinReferred,
    /// Through the one link that everybody has.
    JoinThroughOneLink,
    /// Of a list with double opt-in, with its mail.
    JoinPending,
    Verify,
    Position,
    Click,
    Leaderboard,
    /// A page of 100 subscribers.
    List,
    Claim,
    /// A code that is held, and the confirmation.
    Reserve,
    Redeem,
    /// A row of a file of 1,000.
    Import,
    /// A row of an export of 100.
    Export,
    Erase,
    Enrol,
    /// By the customer's code, in a program with a cooldown.
    Stamp,
    /// That fills a card.
    StampFull,
    RedeemReward,
    /// For a feature.
    Vote,
    /// Of which a webhook endpoint is told.
    VoteTold,
    /// How a waitlist did in the last 30 days.
    Analytics,
    /// One of a campaign of 100, with the two statuses that the provider tells of it.
    Message,
}

/// Operations by what they cost.
pub const CALLS: [&str; 4] =
    ["DynamoDB.GetItem", "DynamoDB.BatchGetItem", "DynamoDB.Query", "DynamoDB.UpdateItem"];
pub const TRANSACTION: &str = "DynamoDB.TransactWriteItems";
/// A batch costs as much as one.
pub const MESSAGES: [&str; 2] = ["SQS.SendMessage", "SQS.SendMessageBatch"];
pub const MAIL: &str = "SES.POST";

/// How often each tier's worth of friends is brought.
const FRIENDS: usize = 3;
const ROWS_AT_ONCE: usize = 1000;
/// People on the list before anything is measured: more than a page in each shard of the list, and about half a
/// leaf at the end of the line. Some of them lead the leaderboard.
const FILL: usize = 420;
const LEADERS: usize = 20;
/// Addresses that requests come from: each may join so often a minute.
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

    /// Enough times to count it, one at a time.
    pub fn few(self) -> usize {
        match self {
            Self::JoinReferred | Self::JoinThroughOneLink => 2 * FRIENDS,
            Self::Import => ROWS_AT_ONCE,
            Self::Export | Self::Message => 100,
            // Chance decides where a code is looked for, and to which of four partitions an event comes.
            Self::Claim | Self::Reserve | Self::JoinPending => 12,
            Self::Redeem | Self::RedeemReward | Self::Vote | Self::VoteTold => 12,
            _ => 3,
        }
    }

    /// Whether more follows from it than its answer.
    fn has_consequences(self) -> bool {
        !matches!(self, Self::Position | Self::Leaderboard | Self::List | Self::Analytics)
    }
}

/// A platform with an account, a waitlist of each kind and a pool of codes.
pub struct Stage {
    pub platform: Platform,
    /// One account, through many client addresses.
    apis: Vec<Api>,
    waitlist: String,
    pending: String,
    program: String,
    receiver: Receiver,
}

/// What was done how often, and what was recorded of it.
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
        // Only what is written down is waited for.
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

    /// Does it one at a time, waiting for all that follows.
    pub async fn alone(&self, action: Action, times: usize) -> Recording {
        self.perform(action, times, 1, action.has_consequences()).await
    }

    /// Does it with so many requests in flight.
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
        // What the clock brings once a minute is nobody's doing.
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

    /// What each time needs, made before anything is recorded.
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
                // One after the other, so that the friends of one are not counted together.
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
                // Twice as many as needed: the last codes of a pool take more looking for.
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

    /// What a customer has at hand: a code to show, or the id of a reward.
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

/// Whether a function answers requests.
fn answers(function: &str) -> bool {
    groundswell::apis().any(|api| crate::logical_id(api) == function)
}

/// The most of these calls that were made one after the other; each with the times of its answer and of its sending.
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

/// Read and write units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    pub reads: f64,
    pub writes: f64,
}

/// A partition, by its index, if it isn't the table's, and its key.
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

    /// Units of one time.
    pub fn units(&self) -> Units {
        let reads = self.each(self.charges().map(|charge| charge.reads).sum());
        Units { reads, writes: self.each(self.charges().map(|charge| charge.writes).sum()) }
    }

    /// Units of one time by partition.
    pub fn partitions(&self) -> BTreeMap<Partition, Units> {
        let mut partitions: BTreeMap<Partition, Units> = BTreeMap::new();
        for charge in self.charges() {
            let units = partitions.entry((charge.index.clone(), charge.partition.clone())).or_default();
            units.reads += self.each(charge.reads);
            units.writes += self.each(charge.writes);
        }
        partitions
    }

    /// Bytes by which the table and its indexes grow with one time.
    pub fn grows(&self) -> f64 {
        // Roll-ups grow by the hour, whatever is done in it.
        let lasting = self.charges().filter(|charge| !charge.partition.starts_with("ROLLUP#"));
        self.each(lasting.map(|charge| charge.grows as f64).sum())
    }

    /// Requests through the gateway.
    pub fn requests(&self) -> f64 {
        self.each(self.invoked(answers).count() as f64)
    }

    /// Invocations of all functions.
    pub fn invocations(&self) -> f64 {
        self.each(self.invoked(|_| true).count() as f64)
    }

    /// How often a request usually waits for AWS (the median): what is under way at the same time is waited for once. Its
    /// authorization is part of it.
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

    /// Messages that Lambda took from queues, and records from the stream, by function: how often
    /// it was invoked and with how many on average.
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

    /// Calls of one time whose operation is one of these.
    pub fn count(&self, operations: &[&str]) -> f64 {
        let wanted = self.calls().filter(|call| operations.contains(&call.operation.as_str()));
        self.each(wanted.count() as f64)
    }

    /// Operations of one time.
    pub fn operations(&self) -> BTreeMap<String, f64> {
        let mut operations: BTreeMap<String, f64> = BTreeMap::new();
        for call in self.calls() {
            *operations.entry(call.operation.clone()).or_default() += self.each(1.0);
        }
        operations
    }

    /// Time of one time in functions that did not wait for AWS. Calls that overlap count twice, so that
    /// it may come out too small.
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

/// A partition as `docs/access-patterns.md` writes it, e.g. `WLSUBS#waitlist#shard`.
pub fn class_of(partition: &str) -> String {
    let shape = |key: &str| (key.split('#').next().unwrap_or_default().to_owned(), key.split('#').count());
    let wanted = shape(partition);
    let keys = families::patterns().flat_map(|pattern| pattern.keys.split('`'));
    let templates = keys.filter(|key| key.starts_with(|first: char| first.is_ascii_uppercase()));
    let mut fitting = templates.filter(|template| shape(template) == wanted);
    fitting.next().unwrap_or(&wanted.0).to_owned()
}

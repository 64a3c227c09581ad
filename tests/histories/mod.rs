//! Histories: clients that retry, hang up and send twice, on a platform that is killed at random moments.
//! Each family has a model of what must be true at the end.
//!
//! One seed of each runs with the other scenarios. `GROUNDSWELL_HISTORIES=5` runs five seeds of each.

mod campaigns;
mod claims;
mod stamps;
mod votes;
mod waitlist;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    time::Duration,
};

use groundswell::{Options, Platform, faults::Faults};
use scenarios::{Api, Call, Dice, Reply, embedded, options, patiently};
use serde_json::Value;

use crate::process::Victim;

/// Kills of the platform in one history.
const KILLS: usize = 4;
/// A kill comes within so many milliseconds of the platform being up.
const KILLED_WITHIN: usize = 1500;
/// A client that hangs up does so within so many milliseconds.
const HANGS_UP_WITHIN: usize = 40;
/// How long a client goes on asking.
const PATIENCE: Duration = Duration::from_secs(120);

/// The seeds to play: different ones in each run, or the one of `GROUNDSWELL_SEED`. None where no platform can be killed.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if embedded().is_none() {
        return Vec::new();
    }
    match number("GROUNDSWELL_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("GROUNDSWELL_HISTORIES").unwrap_or(1)).collect(),
    }
}

/// A platform that is killed while clients use it.
struct Storm {
    data: tempfile::TempDir,
    /// Another player of Twilio than the platform's own.
    twilio: Option<String>,
    api: RefCell<Api>,
    dice: RefCell<Dice>,
    victim: RefCell<Option<Victim>>,
    asked: Cell<usize>,
}

impl Storm {
    async fn new(seed: u64) -> Self {
        Self::start(seed, None).await
    }

    /// The same, whose messages go to the Twilio at this address.
    async fn with_twilio(seed: u64, url: &str) -> Self {
        Self::start(seed, Some(url.to_owned())).await
    }

    async fn start(seed: u64, twilio: Option<String>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let victim = Victim::start_with(data.path(), twilio.as_deref()).await.unwrap();
        Self {
            api: RefCell::new(Api::new(victim.credentials.clone())),
            data,
            twilio,
            dice: RefCell::new(Dice(seed)),
            victim: RefCell::new(Some(victim)),
            asked: Cell::new(0),
        }
    }

    /// The platform as it is reached at the moment.
    fn api(&self) -> Api {
        self.api.borrow().clone()
    }

    fn below(&self, bound: usize) -> usize {
        self.dice.borrow_mut().below(bound)
    }

    /// One of these.
    fn any<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Sends a request with an `Idempotency-Key` of its own until the platform decides. Some attempts are sent twice at
    /// once, and some are given up before they are answered.
    async fn post(&self, path: &str, body: &Value, change: impl Fn(Call) -> Call) -> Reply {
        let key = format!("key-{}", scenarios::unique());
        let call =
            || change(self.api().secret("POST", path)).header("idempotency-key", &key).json(body.clone());
        self.insist(call, true).await
    }

    /// Sends a request until the platform decides; what has no key is never given up halfway, because nothing
    /// tells a delayed duplicate from a new request.
    async fn insist(&self, call: impl Fn() -> Call, keyed: bool) -> Reply {
        patiently(PATIENCE, || async {
            self.asked.set(self.asked.get() + 1);
            match self.below(if keyed { 10 } else { 1 }) {
                1 => {
                    let moment = Duration::from_millis(self.below(HANGS_UP_WITHIN) as u64);
                    let _ = tokio::time::timeout(moment, call().try_send()).await;
                    None
                }
                2 => {
                    let (one, two) = tokio::join!(call().try_send(), call().try_send());
                    match (one.filter(is_decided), two.filter(is_decided)) {
                        (Some(one), Some(two)) => Some(agreed(one, two)),
                        (one, two) => one.or(two),
                    }
                }
                _ => call().try_send().await.filter(is_decided),
            }
        })
        .await
    }

    /// Lets the clients do their work while the platform is killed at random moments.
    async fn over<T>(&self, clients: impl Future<Output = T>) -> T {
        let killing = async {
            for _ in 0..KILLS {
                tokio::time::sleep(Duration::from_millis(self.below(KILLED_WITHIN) as u64)).await;
                self.kill();
                let next = Victim::start_with(self.data.path(), self.twilio.as_deref()).await.unwrap();
                *self.api.borrow_mut() = Api::new(next.credentials.clone());
                *self.victim.borrow_mut() = Some(next);
            }
        };
        tokio::join!(clients, killing).0
    }

    fn kill(&self) {
        if let Some(victim) = self.victim.borrow_mut().take() {
            victim.kill();
        }
    }

    /// The platform once more, in this process, with nobody who kills it.
    async fn calm(&self) -> (Platform, Api) {
        self.kill();
        let usual = options(self.data.path(), false, Faults::default());
        let platform =
            scenarios::start(Options { twilio: self.twilio.clone().or(usual.twilio.clone()), ..usual }).await;
        let api = Api::new(platform.credentials.clone());
        (platform, api)
    }
}

/// The outcome of a request that was sent twice at once. Refusals are not kept under a key: one says how things were at
/// its moment, and a code may come back, or a reservation lapse, before the other is decided.
fn agreed(one: Reply, two: Reply) -> Reply {
    const OF_THE_MOMENT: [&str; 2] = ["codes-exhausted", "reservation-lapsed"];
    let (success, other) = if one.status.is_success() { (one, two) } else { (two, one) };
    let kind = other.json["type"].as_str().and_then(|kind| kind.rsplit('/').next()).unwrap_or_default();
    let alike =
        success.status.is_success() == other.status.is_success() && success.json["id"] == other.json["id"];
    assert!(
        alike || OF_THE_MOMENT.contains(&kind),
        "one request, two outcomes: {} {}",
        success.text,
        other.text
    );
    success
}

/// Whether the platform said what became of the request; a conflict or a limit is a reason to ask again.
fn is_decided(reply: &Reply) -> bool {
    assert!(!reply.status.is_server_error() || reply.is_undecided(), "{}: {}", reply.status, reply.text);
    let conflict = reply.json["type"] == "https://groundswell.dev/problems/conflict";
    !reply.is_undecided() && !conflict && reply.status != 429
}

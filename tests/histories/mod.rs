//! Histories: clients retry, hang up and send twice while the platform is killed at random moments. A model of
//! each family states what must be true at the end.
//!
//! By default one seed of each history runs with the other scenarios. `GROUNDSWELL_HISTORIES=5` runs five seeds
//! of each.

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

/// Number of times that a history kills the platform.
const KILLS: usize = 4;
/// Maximum time in milliseconds between the platform's start and a kill.
const KILLED_WITHIN: usize = 1500;
/// Maximum time in milliseconds after which a client hangs up, if it does.
const HANGS_UP_WITHIN: usize = 40;
/// Time for which a client retries.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the seeds to play: 1 up to the number in `GROUNDSWELL_HISTORIES` (default 1), or the one seed in
/// `GROUNDSWELL_SEED`. Returns none if the platform cannot be killed.
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

/// Platform that is killed while clients use it.
struct Storm {
    data: tempfile::TempDir,
    /// Address of another emulation of Twilio than the platform's own.
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

    /// Starts a platform whose messages go to the Twilio at this address.
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

    /// Returns a client with the platform's present address.
    fn api(&self) -> Api {
        self.api.borrow().clone()
    }

    fn below(&self, bound: usize) -> usize {
        self.dice.borrow_mut().below(bound)
    }

    /// Returns a random element.
    fn any<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Sends a request with a unique `Idempotency-Key` until the platform decides. Some attempts are sent twice
    /// at once, and some are abandoned before the response.
    async fn post(&self, path: &str, body: &Value, change: impl Fn(Call) -> Call) -> Reply {
        let key = format!("key-{}", scenarios::unique());
        let call =
            || change(self.api().secret("POST", path)).header("idempotency-key", &key).json(body.clone());
        self.insist(call, true).await
    }

    /// Sends a request until the platform decides. A request that is not idempotent is never abandoned, because
    /// the platform cannot distinguish a delayed duplicate from a new request.
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

    /// Runs the clients while the platform is killed at random moments.
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

    /// Restarts the platform in this process, where it is no longer killed.
    async fn calm(&self) -> (Platform, Api) {
        self.kill();
        let usual = options(self.data.path(), false, Faults::default());
        let platform =
            scenarios::start(Options { twilio: self.twilio.clone().or(usual.twilio.clone()), ..usual }).await;
        let api = Api::new(platform.credentials.clone());
        (platform, api)
    }
}

/// Returns the outcome of a request that was sent twice at once. Refusals are not stored under the key: a refusal
/// reflects its moment, and a code may return to its pool, or a reservation may lapse, before the other request
/// is decided.
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

/// Returns true if the platform decided about the request. A client retries after a conflict or a rate limit.
fn is_decided(reply: &Reply) -> bool {
    assert!(!reply.status.is_server_error() || reply.is_undecided(), "{}: {}", reply.status, reply.text);
    let conflict = reply.json["type"] == "https://groundswell.dev/problems/conflict";
    !reply.is_undecided() && !conflict && reply.status != 429
}

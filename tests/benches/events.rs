//! Processing of an event: the projector counts it and delivers it to a webhook endpoint.
//!
//! First, votes are cast one at a time, and the time from each vote to its message's arrival at an endpoint is
//! measured. Then many votes are cast while event sources are off, and the projector gets their stream. This
//! measures events a second and calls to DynamoDB per event, for counting and for publishing. `VOTES` sets the
//! number of votes (10,000). Last, people join waitlists of one account and of a hundred accounts, with a network
//! latency of 5 ms before each call to DynamoDB, and the time of each batch is measured. `BATCHES` sets the
//! number of batches (30).

use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all, stream};
use groundswell::{Options, Platform, faults::Faults};
use jiff::Timestamp;
use scenarios::{Api, address, eventually, receiver::Receiver};
use serde_json::{Value, json};

const ALONE: usize = 200;
/// Records that Lambda passes to the projector at once.
const BATCH: usize = 100;
/// Additional latency of a call to DynamoDB over a network.
const NETWORK: Duration = Duration::from_millis(5);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Creates an endpoint for votes, a waitlist and a feature. Returns the ids of the waitlist and the feature.
async fn stage(api: &Api, receiver: &Receiver) -> (String, String) {
    let body = json!({ "url": receiver.url, "event_types": ["feature.voted"] });
    assert_eq!(api.post("/webhook-endpoints", body).await.status, 201);
    let waitlist = api.waitlist(json!({})).await;
    let feature = api.post("/features", json!({ "waitlist_id": waitlist, "title": "x" })).await.id();
    (waitlist, feature)
}

async fn voter(api: &Api, waitlist: &str) -> String {
    api.join(waitlist, &address("p"), None).await.text_at("token")
}

async fn vote(api: &Api, feature: &str, token: &str) {
    let call = api.public("POST", &format!("/features/{feature}/vote")).header("x-subscriber-token", token);
    assert_eq!(call.json(json!({})).send().await.status, 200);
}

fn calls(platform: &Platform, function: &str) -> u64 {
    platform.meters[function].snapshot().values().sum()
}

async fn lag() {
    let data = tempfile::tempdir().expect("a directory");
    let platform = scenarios::start(scenarios::options(data.path(), false, Faults::default())).await;
    let api = Api::new(platform.credentials.clone());
    let receiver = Receiver::willing().await;
    let (waitlist, feature) = stage(&api, &receiver).await;
    let mut lags = Vec::new();
    let mut before = 0;
    for n in 0..ALONE {
        let token = voter(&api, &waitlist).await;
        if n == 0 {
            before = calls(&platform, "webhook-sender");
        }
        vote(&api, &feature, &token).await;
        let request = eventually(|| async { receiver.told().get(n).cloned() }).await;
        let body = request.json();
        let cast: Timestamp = body["timestamp"].as_str().and_then(|at| at.parse().ok()).expect("a time");
        lags.push(request.at.duration_since(cast).as_millis());
    }
    // The sender makes its last write after the receiver's answer.
    platform.queue_depth("webhooks").expect("a queue");
    lags.sort_unstable();
    let percentile = |p: usize| lags[(lags.len() * p / 100).min(lags.len() - 1)];
    println!(
        "{ALONE} votes, one at a time, from the vote to the webhook: p50 {} ms, p95 {} ms, p99 {} ms",
        percentile(50),
        percentile(95),
        percentile(99)
    );
    let sender = calls(&platform, "webhook-sender") - before;
    println!("DynamoDB calls per delivery: {:.2}", sender as f64 / ALONE as f64);
}

/// Passes these records to the projector, as Lambda does. Prints events a second and calls per event.
async fn project(platform: &Platform, what: &str, records: &[Value], events: usize) {
    let before = calls(platform, "projector");
    let started = Instant::now();
    for records in records.chunks(BATCH) {
        platform.invoke("ProjectorFunction", json!({ "Records": records })).await.expect("a projector");
    }
    let (took, calls) = (started.elapsed(), calls(platform, "projector") - before);
    println!(
        "{what} {events} events: {:.0} a second, {:.2} DynamoDB calls each",
        events as f64 / took.as_secs_f64(),
        calls as f64 / events as f64
    );
}

async fn throughput(votes: usize) {
    let data = tempfile::tempdir().expect("a directory");
    let options =
        Options { event_sources: false, ..scenarios::options(data.path(), true, Faults::default()) };
    let platform = scenarios::start(options).await;
    let api = Api::new(platform.credentials.clone());
    let receiver = Receiver::willing().await;
    let (waitlist, feature) = stage(&api, &receiver).await;
    let tokens: Vec<String> =
        stream::iter(0..votes).map(|_| voter(&api, &waitlist)).buffer_unordered(32).collect().await;
    stream::iter(tokens)
        .for_each_concurrent(32, |token| {
            let (api, feature) = (&api, &feature);
            async move { vote(api, feature, &token).await }
        })
        .await;
    let cast = of_type(platform.stream_records().await.expect("a stream"), "vote");
    project(&platform, "counting", &cast, votes).await;
    let events = of_type(platform.stream_records().await.expect("a stream"), "event");
    assert_eq!(events.len(), votes);
    project(&platform, "telling of", &events, votes).await;
    let depth = platform.queue_depth("webhooks").expect("a queue");
    assert_eq!(depth.visible, votes as u64);
}

fn of_type(records: Vec<Value>, kind: &str) -> Vec<Value> {
    let image = |record: &Value| record["dynamodb"]["NewImage"]["_type"]["S"] == kind;
    records.into_iter().filter(image).collect()
}

async fn tenants(batches: usize) {
    let data = tempfile::tempdir().expect("a directory");
    let faults = Faults::default().delayed(NETWORK);
    let options = Options { event_sources: false, ..scenarios::options(data.path(), true, faults) };
    let platform = &scenarios::start(options).await;
    let accounts = stream::iter(0..BATCH).map(async |n| {
        let made = platform.make_account("One of many", &format!("owner-{n}@example.com")).await;
        let api = Api::new(made.expect("an account"));
        let waitlist = api.waitlist(json!({})).await;
        (api, waitlist)
    });
    let accounts: Vec<_> = accounts.buffer_unordered(16).collect().await;
    for accounts in [&accounts[..1], &accounts] {
        let before = platform.stream_records().await.expect("a stream").len();
        for _ in 0..batches {
            let joins = accounts.iter().cycle().take(BATCH).map(async |(api, waitlist)| {
                let body = json!({ "waitlist_id": waitlist, "email": address("p"), "consent": true });
                assert_eq!(api.post("/subscribers", body).await.status, 201);
            });
            join_all(joins).await;
        }
        let records = platform.stream_records().await.expect("a stream").split_off(before);
        let joined = of_type(records, "subscriber");
        assert_eq!(joined.len(), batches * BATCH);
        let mut times = Vec::new();
        for records in joined.chunks(BATCH) {
            let started = Instant::now();
            platform.invoke("ProjectorFunction", json!({ "Records": records })).await.expect("a projector");
            times.push(started.elapsed().as_millis());
        }
        times.sort_unstable();
        let percentile = |p: usize| times[(times.len() * p / 100).min(times.len() - 1)];
        println!(
            "{batches} batches of {BATCH} joins in {} accounts, {} ms before each call: p50 {} ms, p99 {} ms",
            accounts.len(),
            NETWORK.as_millis(),
            percentile(50),
            percentile(99)
        );
    }
}

#[tokio::main]
async fn main() {
    lag().await;
    throughput(setting("VOTES", 10_000)).await;
    tenants(setting("BATCHES", 30)).await;
}

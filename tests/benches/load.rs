//! Throughput of joins on the embedded platform.
//!
//! Prints joins a second, latencies at the client, and calls to DynamoDB per join. `JOINS` and `IN_FLIGHT` set
//! the load (10,000 and 32).

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use groundswell::faults::Faults;
use scenarios::{Api, address, platform};
use serde_json::json;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    let (joins, in_flight) = (setting("JOINS", 10_000), setting("IN_FLIGHT", 32));
    let data = tempfile::tempdir().expect("a directory");
    let platform = platform(data.path(), false, Faults::default()).await.expect("a platform");
    let api = Api::new(platform.credentials.clone());
    let waitlist = api.waitlist(json!({})).await;
    let first = api.join(&waitlist, &address("first"), None).await;
    let code = first.text_at("referral_code");

    let before = platform.meter.snapshot();
    let started = Instant::now();
    let mut latencies: Vec<Duration> = stream::iter(0..joins)
        .map(|n| {
            let (api, waitlist, code) = (api.clone(), waitlist.clone(), code.clone());
            async move {
                let mut body = json!({ "waitlist_id": waitlist, "email": address("p"), "consent": true });
                // One subscriber in ten is referred.
                if n % 10 == 0 {
                    body["referral_code"] = json!(code);
                }
                let started = Instant::now();
                let reply = api.post("/subscribers", body).await;
                assert_eq!(reply.status, 201, "{}", reply.text);
                started.elapsed()
            }
        })
        .buffer_unordered(in_flight)
        .collect()
        .await;
    let elapsed = started.elapsed();
    let accepted = platform.meter.snapshot();
    // Waits until all effects are counted.
    scenarios::patiently(Duration::from_secs(600), || async {
        let counts = &api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"];
        (counts["active"] == joins + 1 && counts["referrals"] == joins.div_ceil(10)).then_some(())
    })
    .await;
    let settled = started.elapsed();

    latencies.sort();
    let percentile =
        |p: usize| latencies[(latencies.len() * p / 100).min(latencies.len() - 1)].as_secs_f64() * 1000.0;
    let of_requests = ["key.read", "subscriber.join-context", "subscriber.number", "subscriber.join"];
    let calls =
        |names: &dyn Fn(&str) -> bool, snapshot: &std::collections::BTreeMap<&'static str, u64>| -> u64 {
            snapshot
                .iter()
                .filter(|(name, _)| names(name))
                .map(|(name, calls)| calls - before.get(name).copied().unwrap_or_default())
                .sum()
        };
    let requests = calls(&|name| of_requests.contains(&name), &accepted) as f64 / joins as f64;
    let all = calls(&|_| true, &platform.meter.snapshot()) as f64 / joins as f64;
    println!("{joins} joins, {in_flight} in flight: {:.0} joins/s", joins as f64 / elapsed.as_secs_f64());
    println!(
        "p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms at the client",
        percentile(50),
        percentile(95),
        percentile(99)
    );
    println!("DynamoDB calls per join: {requests:.2} in the request, {all:.2} with all that follows");
    println!(
        "positions, counters and events complete {:.1} s after the last answer",
        (settled - elapsed).as_secs_f64()
    );
}

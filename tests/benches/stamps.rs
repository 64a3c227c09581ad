//! Throughput of stamps on the embedded platform.
//!
//! Each customer shows a code and gets a stamp, in a program with a cooldown. Every tenth visit fills a card,
//! whose reward is redeemed. Prints stamps a second, latencies at the client, and calls to DynamoDB per stamp.
//! `STAMPS` and `IN_FLIGHT` set the load (10,000 and 32).

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use groundswell::faults::Faults;
use scenarios::{Api, platform};
use serde_json::json;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    let (stamps, in_flight) = (setting("STAMPS", 10_000), setting("IN_FLIGHT", 32));
    let data = tempfile::tempdir().expect("a directory");
    let platform = platform(data.path(), false, Faults::default()).await.expect("a platform");
    let api = Api::new(platform.credentials.clone());
    let program = api.program(json!({ "stamps_required": 10, "cooldown_seconds": 3600 })).await;
    let counted = |name: &'static str| {
        let (api, program) = (api.clone(), program.clone());
        async move { api.get(&format!("/programs/{program}")).await.ok()["counts"][name].clone() }
    };
    let customers: Vec<String> =
        stream::iter(0..stamps).map(|_| api.customer(&program)).buffer_unordered(in_flight).collect().await;
    scenarios::patiently(Duration::from_secs(600), || async {
        (counted("customers").await == stamps).then_some(())
    })
    .await;

    let mut latencies = Vec::with_capacity(stamps);
    let (mut elapsed, mut calls) = (Duration::ZERO, 0);
    for customers in customers.chunks(1000) {
        // A code is valid for two minutes.
        let tokens: Vec<String> = stream::iter(customers)
            .map(|customer| {
                let path = format!("/customers/{customer}/card?program_id={program}");
                let api = &api;
                async move { api.get(&path).await.text_at("token") }
            })
            .buffered(in_flight)
            .collect()
            .await;
        let before: u64 = platform.meters["stamp"].snapshot().values().sum();
        let started = Instant::now();
        let took: Vec<Duration> = stream::iter(tokens.into_iter().enumerate())
            .map(|(n, token)| {
                let body = json!({ "token": token, "count": if n % 10 == 0 { 10 } else { 1 } });
                let api = &api;
                async move {
                    let started = Instant::now();
                    let reply = api.post("/stamps", body).await;
                    assert_eq!(reply.status, 201, "{}", reply.text);
                    started.elapsed()
                }
            })
            .buffer_unordered(in_flight)
            .collect()
            .await;
        elapsed += started.elapsed();
        calls += platform.meters["stamp"].snapshot().values().sum::<u64>() - before;
        latencies.extend(took);
    }
    let answered = Instant::now();
    scenarios::patiently(Duration::from_secs(600), || async {
        (counted("visits").await == stamps).then_some(())
    })
    .await;
    let settled = answered.elapsed();

    latencies.sort();
    let percentile =
        |p: usize| latencies[(latencies.len() * p / 100).min(latencies.len() - 1)].as_secs_f64() * 1000.0;
    println!("{stamps} stamps, {in_flight} in flight: {:.0} stamps/s", stamps as f64 / elapsed.as_secs_f64());
    println!(
        "p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms at the client",
        percentile(50),
        percentile(95),
        percentile(99)
    );
    println!("DynamoDB calls per stamp: {:.2} in the function, 1 to authorize", calls as f64 / stamps as f64);
    println!("events and counts complete {:.1} s after the last answer", settled.as_secs_f64());
}

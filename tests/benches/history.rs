//! Costs of an analytics query, with few and with very many events.
//!
//! Counts votes of the last thirty days with the projector's own code, and queries them by day and by hour.
//! Prints the DynamoDB calls and the latency of each query. `EVENTS` sets the numbers of events (`1000,1000000`).

use std::time::{Duration, Instant};

use domain::id::SubscriberId;
use features::{
    feature::{Feature, Vote},
    projection::{Change, count},
};
use futures_util::{StreamExt, stream};
use groundswell::faults::Faults;
use jiff::{SignedDuration, Timestamp};
use scenarios::{Api, Dice};
use serde_json::json;

const AT_ONCE: usize = 5_000;
const QUESTIONS: usize = 50;
const DAYS: usize = 30;

fn vote(feature: &Feature, at: Timestamp) -> Change {
    let vote = Vote {
        feature_id: feature.id.clone(),
        subscriber_id: SubscriberId::new(at),
        waitlist_id: feature.waitlist_id.clone(),
        stands: true,
        at,
        rev: 1,
    };
    Change::Vote { before: None, after: Some(Box::new(vote)), written_at: at }
}

#[tokio::main]
async fn main() {
    let sizes = std::env::var("EVENTS").unwrap_or_else(|_| "1000,1000000".to_owned());
    let data = tempfile::tempdir().expect("a directory");
    let platform = scenarios::start(scenarios::options(data.path(), false, Faults::default())).await;
    let api = Api::new(platform.credentials.clone());
    let waitlist = api.waitlist(json!({})).await;
    let mut dice = Dice(7);
    for size in sizes.split(',').map(|size| size.parse::<usize>().expect("a number")) {
        let id = api.post("/features", json!({ "waitlist_id": waitlist, "title": "x" })).await.id();
        let id = id.parse().expect("an id");
        let feature = features::find(&platform.table, &id).await.expect("a store").expect("a feature");
        let now = Timestamp::now();
        let seconds = DAYS * 24 * 3600 - 3600;
        let started = Instant::now();
        for first in (0..size).step_by(AT_ONCE) {
            let mut votes: Vec<_> = (first..size.min(first + AT_ONCE))
                .map(|_| vote(&feature, now - SignedDuration::from_secs(dice.below(seconds) as i64)))
                .collect();
            // In order of time, so that events of one hour are counted together, as in practice.
            votes.sort_by_key(|change| match change {
                Change::Vote { written_at, .. } | Change::Comment { written_at, .. } => *written_at,
            });
            count(&platform.table, &feature.id, &votes).await.expect("counted");
        }
        println!("{size} events, counted in {:.0} s", started.elapsed().as_secs_f64());
        let from = (now - SignedDuration::from_hours(24 * (DAYS as i64 - 1))).strftime("%F").to_string();
        for granularity in ["day", "hour"] {
            let path = format!("/analytics/features/{}?granularity={granularity}&from={from}", feature.id);
            let before: u64 = platform.meters["analytics"].snapshot().values().sum();
            let mut latencies: Vec<Duration> = stream::iter(0..QUESTIONS)
                .then(|_| async {
                    let started = Instant::now();
                    let answer = api.get(&path).await.ok();
                    let took = started.elapsed();
                    let counted = answer["totals"]["voted"].as_u64();
                    // The query leaves out the first day.
                    assert!(counted.is_some_and(|counted| counted as usize > size * 9 / 10), "{answer}");
                    took
                })
                .collect()
                .await;
            latencies.sort();
            let calls: u64 = platform.meters["analytics"].snapshot().values().sum::<u64>() - before;
            println!(
                "  by the {granularity}: {:.2} DynamoDB calls, p50 {:.1} ms",
                calls as f64 / QUESTIONS as f64,
                latencies[QUESTIONS / 2].as_secs_f64() * 1000.0
            );
        }
    }
}

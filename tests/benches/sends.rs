//! Evenness of a sender's messages on the embedded platform, with a slow provider.
//!
//! Sends a campaign to many customers over one WhatsApp sender; the provider answers in 5–500 ms. Prints the
//! average and the busiest second of the arrivals at the provider, a histogram, and the calls to DynamoDB per
//! message. `MESSAGES` sets the number (10,000).

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use groundswell::{Options, faults::Faults};
use scenarios::{
    Api, options, phone, start,
    twilio::{Behaviour, FakeTwilio, busiest, histogram},
};
use serde_json::json;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::main]
async fn main() {
    let messages = std::env::var("MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let dice = AtomicUsize::new(7);
    let delay = move || {
        let n = dice.fetch_add(0x9e37_79b9, Ordering::Relaxed);
        Duration::from_millis(5 + (n >> 8) as u64 % 496)
    };
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN, |_, _| Behaviour::Accept, delay).await;
    let data = tempfile::tempdir().expect("a directory");
    let options =
        Options { twilio: Some(twilio.url.clone()), ..options(data.path(), false, Faults::default()) };
    let platform = start(options).await;
    let api = Api::new(platform.credentials.clone());
    let settings = json!({ "account_sid": ACCOUNT, "auth_token": TOKEN, "whatsapp_sender": "+493012345678" });
    api.secret("PUT", "/providers/twilio").json(settings).send().await.ok();
    let program = api.program(json!({})).await;
    let enrolled = stream::iter(0..messages).map(|_| async {
        let body = json!({ "program_id": program, "phone": phone(), "name": "Ada", "consent": true });
        api.post("/enrollments", body).await.ok();
    });
    enrolled.buffer_unordered(32).collect::<Vec<()>>().await;
    let settings = json!({
        "name": "Everybody", "program_id": program, "trigger": { "kind": "segment" },
        "template": { "channel": "whatsapp", "content_sid": "HX0123456789abcdef0123456789abcdef", "variables": { "1": "{{name}}" } },
    });
    let campaign = api.post("/campaigns", settings).await.id();
    let before: Vec<u64> =
        CALLERS.iter().map(|name| platform.meters[*name].snapshot().values().sum()).collect();
    api.post(&format!("/campaigns/{campaign}/activate"), json!({})).await.ok();
    scenarios::patiently(Duration::from_secs(900), || async {
        let counts = api.get(&format!("/campaigns/{campaign}")).await.ok()["counts"].clone();
        (counts["audience"] == messages && counts["open"] == 0).then_some(())
    })
    .await;
    let arrivals = twilio.arrivals();
    assert_eq!(arrivals.len(), messages, "each once");
    let took = arrivals[arrivals.len() - 1].at.duration_since(arrivals[0].at);
    let busiest = busiest(&arrivals, Duration::from_secs(1));
    let average = (messages - 1) as f64 / took.as_secs_f64();
    println!(
        "{messages} messages in {:.1} s: {average:.2} a second on average, {busiest} in the busiest second",
        took.as_secs_f64()
    );
    assert!(busiest <= 80, "more than the provider allows");
    let mut seconds: std::collections::BTreeMap<usize, usize> = std::collections::BTreeMap::new();
    for count in histogram(&arrivals) {
        *seconds.entry(count).or_default() += 1;
    }
    println!("whole seconds by how many arrived in them:");
    for (count, seconds) in seconds {
        println!("{count:>4} {seconds:>5} {}", "#".repeat(seconds.min(100)));
    }
    for (name, before) in CALLERS.iter().zip(before) {
        let calls = platform.meters[*name].snapshot().values().sum::<u64>() - before;
        println!("DynamoDB calls per message, {name}: {:.2}", calls as f64 / messages as f64);
    }
    assert!(average >= 76.0, "slower than it could be");
}

const CALLERS: [&str; 3] = ["campaign-scheduler", "message-sender", "projector"];

//! Campaigns: each customer gets one message of two campaigns that run at the same time. Only messages that were
//! being handed over at a kill of the platform are unknown.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use scenarios::{Api, overdue, patiently, phone, twilio::FakeTwilio};
use serde_json::{Value, json};

use super::{KILLS, Storm, seeds};
use crate::campaigns::{ACCOUNT, CONTENT, TOKEN, accept, set_twilio};

const CUSTOMERS: usize = 150;
/// Maximum number of messages that a kill of the platform, with all its workers, finds marked but not with the
/// provider yet.
const MARKED: usize = 5;
/// Maximum number of messages that a kill finds with the provider, which answers after 50 ms: about four at 77
/// messages a second.
const IN_FLIGHT: usize = 8;
/// Time after its marking at which a message that was being handed over is checked again.
const LOOKED_AT_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// Returns each customer's message of a campaign.
async fn sends(api: &Api, campaign: &str) -> BTreeMap<String, Value> {
    let sends = api.all(&format!("/campaigns/{campaign}/sends")).await;
    sends.into_iter().map(|send| (send["customer_id"].as_str().unwrap().to_owned(), send)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_customer_gets_one_message_whatever_happens() {
    for seed in seeds() {
        let twilio = FakeTwilio::start(ACCOUNT, TOKEN, accept, || Duration::from_millis(50)).await;
        let storm = Storm::with_twilio(seed, &twilio.url).await;
        set_twilio(&storm.api()).await;
        let program = storm.api().program(json!({})).await;
        let enrolled = (0..CUSTOMERS).map(async |_| {
            let body = json!({ "program_id": program, "phone": phone(), "name": "Ada", "consent": true });
            storm.post("/enrollments", &body, |call| call).await.text_at("customer_id")
        });
        let customers: BTreeSet<_> = join_all(enrolled).await.into_iter().collect();
        let template =
            json!({ "channel": "whatsapp", "content_sid": CONTENT, "variables": { "1": "{{name}}" } });
        let mut campaigns = Vec::new();
        for name in ["First", "Second"] {
            let body = json!({ "name": name, "program_id": program, "trigger": { "kind": "segment" }, "template": template });
            campaigns.push(storm.post("/campaigns", &body, |call| call).await.id());
        }
        let managers = campaigns.iter().map(async |campaign| {
            for step in ["activate", "pause", "resume"] {
                let done =
                    storm.post(&format!("/campaigns/{campaign}/{step}"), &json!({}), |call| call).await;
                assert_eq!(done.status, 200, "{step}: {}", done.text);
                // By then some of the messages are in flight. While both campaigns are paused, no message
                // arrives.
                let more = if step == "pause" { 0 } else { storm.below(CUSTOMERS / 10) };
                let arrived = (twilio.arrivals().len() + more).min(CUSTOMERS / 2);
                patiently(Duration::from_secs(120), || async {
                    (twilio.arrivals().len() >= arrived).then_some(())
                })
                .await;
            }
        });
        storm.over(join_all(managers)).await;

        let (platform, api) = storm.calm().await;
        let started = Timestamp::now();
        let look = || async {
            platform.invoke("CampaignSchedulerFunction", json!({ "schedule": "campaigns" })).await.unwrap();
            (sends(&api, &campaigns[0]).await, sends(&api, &campaigns[1]).await)
        };
        // A message is settled, or its worker was killed. In that case the message becomes due, and its outcome
        // is unknown.
        let is_cut_off = |send: &Value| {
            let due = send["due_at"].as_str().map(|due| due.parse::<Timestamp>().unwrap());
            send["status"] == "sending" && due.is_some_and(|due| due < started + LOOKED_AT_AFTER)
        };
        let is_over = |send: &Value| {
            ["sent", "delivered", "refused", "unknown"].contains(&send["status"].as_str().unwrap())
        };
        let (first, second) = patiently(Duration::from_secs(120), || async {
            let found = look().await;
            let all: Vec<_> = found.0.values().chain(found.1.values()).collect();
            for cut_off in all.iter().filter(|send| is_cut_off(send)) {
                overdue(&platform.table, cut_off).await;
            }
            (all.len() == 2 * CUSTOMERS && all.into_iter().all(is_over)).then_some(found)
        })
        .await;

        let taken = twilio.taken();
        let reached: BTreeSet<_> = taken.iter().map(|message| &message.to).collect();
        assert_eq!(reached.len(), taken.len(), "seed {seed}: nobody got two messages");
        let served = |send: &Value| send["status"] == "sent" || send["status"] == "delivered";
        let (mut sent, mut unknown) = (0, 0);
        for customer in &customers {
            let (one, other) = (&first[customer], &second[customer]);
            let (kept, refused) = if one["status"] == "refused" { (other, one) } else { (one, other) };
            assert_eq!(refused["reason"], "frequency_cap", "seed {seed}: {one} {other}");
            assert!(served(kept) || kept["status"] == "unknown", "seed {seed}: {one} {other}");
            *(if served(kept) { &mut sent } else { &mut unknown }) += 1;
        }
        assert!(sent <= taken.len() && taken.len() <= sent + unknown, "seed {seed}");
        let (in_flight, marked) = (taken.len() - sent, sent + unknown - taken.len());
        println!("seed {seed}: {sent} sent, {in_flight} were in flight, {marked} marked");
        assert!(marked <= MARKED * KILLS, "seed {seed}: {marked} were marked long before they were sent");
        assert!(in_flight <= IN_FLIGHT * KILLS, "seed {seed}: {in_flight} were in flight");
    }
}

//! Stamps: each visit counts once, each void takes back one visit, each reward is redeemed once.

use std::{cell::RefCell, collections::BTreeMap};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use scenarios::unique;
use serde_json::json;

use super::{Storm, seeds};
use crate::stamps::{check_ledger, rewards};

const REQUIRED: u64 = 5;
const CUSTOMERS: usize = 6;
const TILLS: usize = 8;
const TURNS: usize = 14;

#[derive(Default)]
struct Model {
    /// Stamps and visits of each customer that were acknowledged and not voided.
    cards: BTreeMap<String, (u64, u64)>,
    /// Number of redemptions of each reward.
    redeemed: BTreeMap<String, usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_visit_counts_once_whatever_happens() {
    for seed in seeds() {
        let storm = Storm::new(seed).await;
        let program = storm.api().program(json!({ "stamps_required": REQUIRED })).await;
        let customers = join_all((0..CUSTOMERS).map(async |_| storm.api().customer(&program).await)).await;
        let model = RefCell::new(Model::default());
        let tills = (0..TILLS).map(|till| {
            let (storm, program, customers, model) = (&storm, &program, &customers, &model);
            async move {
                // Stamps of this till that it may void: the stamp, its customer, its count.
                let mut own: Vec<(String, String, u64)> = Vec::new();
                for _ in 0..TURNS {
                    let customer = storm.any(customers).clone();
                    let count = 1 + storm.below(4) as u64;
                    let add = |stamps: i64, visits: i64, customer: &str| {
                        let mut model = model.borrow_mut();
                        let card = model.cards.entry(customer.to_owned()).or_default();
                        card.0 = card.0.strict_add_signed(stamps);
                        card.1 = card.1.strict_add_signed(visits);
                    };
                    match storm.below(8) {
                        0..=3 => {
                            let body = json!({ "program_id": program, "customer_id": customer, "count": count });
                            let given = storm.post("/stamps", &body, |call| call).await;
                            assert_eq!(given.status, 201, "{}", given.text);
                            add(count as i64, 1, &customer);
                            own.push((given.id(), customer, count));
                        }
                        4 | 5 => {
                            // An offline stamp has an id from its till, so that it can be sent again without a
                            // key.
                            let taken = Timestamp::now() - SignedDuration::from_mins(5);
                            let body = json!({ "stamps": [{ "till_id": format!("{till}-{}", unique()),
                                "program_id": program, "customer_id": customer, "taken_at": taken, "count": count }] });
                            for _ in 0..=storm.below(2) {
                                let call = || storm.api().secret("POST", "/stamps/sync").json(body.clone());
                                let synced = storm.insist(call, true).await.ok();
                                let outcome = &synced["data"][0]["outcome"];
                                assert!(outcome == "added" || outcome == "duplicate", "{synced}");
                            }
                            add(count as i64, 1, &customer);
                        }
                        6 if !own.is_empty() => {
                            let (stamp, customer, count) = own.swap_remove(storm.below(own.len()));
                            let path = format!("/stamps/{stamp}");
                            let voided = storm.insist(|| storm.api().secret("DELETE", &path), true).await;
                            match voided.status.as_u16() {
                                200 | 204 => add(-(count as i64), -1, &customer),
                                // The reward that the stamp earned is already redeemed.
                                _ => voided.is_problem(409, "stamp-spent"),
                            }
                        }
                        _ => {
                            let path = format!("/customers/{customer}/rewards");
                            let held = storm.insist(|| storm.api().secret("GET", &path), false).await.ok();
                            let held = held["data"].as_array().unwrap().clone();
                            if held.is_empty() {
                                continue;
                            }
                            let reward = storm.any(&held)["id"].as_str().unwrap().to_owned();
                            let path = format!("/rewards/{reward}/redeem");
                            let redeemed = storm.post(&path, &json!({}), |call| call).await;
                            match redeemed.status.as_u16() {
                                200 => *model.borrow_mut().redeemed.entry(reward).or_default() += 1,
                                409 => {}
                                _ => panic!("{}: {}", redeemed.status, redeemed.text),
                            }
                        }
                    }
                }
            }
        });
        storm.over(join_all(tills)).await;

        let (_platform, api) = storm.calm().await;
        let model = model.into_inner();
        for customer in &customers {
            let card = check_ledger(&api, &program, customer).await;
            let (stamps, visits) = model.cards.get(customer).copied().unwrap_or_default();
            let shown = (card["total"].as_u64().unwrap(), card["visits"].as_u64().unwrap());
            assert_eq!(shown, (stamps, visits), "seed {seed}: {customer}");
            for reward in rewards(&api, customer).await {
                let times = model.redeemed.get(reward["id"].as_str().unwrap()).copied().unwrap_or_default();
                assert_eq!(usize::from(reward["status"] == "redeemed"), times, "seed {seed}: {reward}");
            }
        }
        println!("seed {seed}: {} redeemed, {} requests", model.redeemed.len(), storm.asked.get());
    }
}

//! Votes: each voter's last vote on each feature stands, and all counts of votes are exact.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use scenarios::{address, patiently};
use serde_json::json;

use super::{Storm, seeds};

const FEATURES: usize = 3;
const VOTERS: usize = 20;
const TURNS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn each_voters_last_word_stands_whatever_happens() {
    for seed in seeds() {
        let storm = Storm::new(seed).await;
        let waitlist = storm.api().waitlist(json!({})).await;
        let mut features = Vec::new();
        for n in 0..FEATURES {
            let body = json!({ "waitlist_id": waitlist, "title": format!("Feature {n}") });
            features.push(storm.api().post("/features", body).await.id());
        }
        // Present votes by the voters' last requests: the voter and the feature.
        let votes: RefCell<BTreeSet<(String, String)>> = RefCell::default();
        let comments: RefCell<BTreeSet<String>> = RefCell::default();
        let voters = (0..VOTERS).map(|_| async {
            let person = json!({ "waitlist_id": waitlist, "email": address("voter"), "consent": true });
            let joined = storm.post("/subscribers", &person, |call| call).await;
            assert_eq!(joined.status, 201, "{}", joined.text);
            let (id, token) = (joined.id(), joined.text_at("token"));
            for _ in 0..TURNS {
                let feature = storm.any(&features);
                let path = format!("/features/{feature}/vote");
                let turn = (id.clone(), feature.clone());
                match storm.below(12) {
                    0..=6 => {
                        let voted = storm
                            .post(&path, &json!({}), |call| call.header("x-subscriber-token", &token))
                            .await;
                        assert_eq!(voted.ok()["voted"], true);
                        votes.borrow_mut().insert(turn);
                    }
                    7..=10 => {
                        let call =
                            || storm.api().public("DELETE", &path).header("x-subscriber-token", &token);
                        assert_eq!(storm.insist(call, false).await.ok()["voted"], false);
                        votes.borrow_mut().remove(&turn);
                    }
                    _ => {
                        let body = json!({ "feature_id": feature, "text": "Please!" });
                        let said = storm
                            .post("/comments", &body, |call| call.header("x-subscriber-token", &token))
                            .await;
                        assert_eq!(said.status, 201, "{}", said.text);
                        assert!(comments.borrow_mut().insert(said.id()), "{} was made twice", said.id());
                    }
                }
            }
            id
        });
        let voters = storm.over(join_all(voters)).await;

        let (_platform, api) = storm.calm().await;
        let expected = votes.into_inner();
        let mut kept = BTreeSet::new();
        let mut own: BTreeMap<&str, u64> = voters.iter().map(|id| (id.as_str(), 0)).collect();
        for (voter, _) in &expected {
            *own.get_mut(voter.as_str()).unwrap() += 1;
        }
        for feature in &features {
            for vote in api.all(&format!("/features/{feature}/votes")).await {
                kept.insert((vote["subscriber_id"].as_str().unwrap().to_owned(), feature.clone()));
            }
        }
        assert_eq!(kept, expected, "seed {seed}: the votes that are kept are those that were said last");
        for feature in &features {
            let count = expected.iter().filter(|(_, voted)| voted == feature).count();
            patiently(Duration::from_secs(60), || async {
                (api.get(&format!("/features/{feature}")).await.ok()["votes"] == count).then_some(())
            })
            .await;
        }
        for (voter, count) in own {
            patiently(Duration::from_secs(60), || async {
                (api.get(&format!("/subscribers/{voter}")).await.ok()["votes"] == count).then_some(())
            })
            .await;
        }
        let found = api.all(&format!("/comments?waitlist_id={waitlist}&status=pending")).await;
        let found: BTreeSet<_> =
            found.iter().map(|comment| comment["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, comments.into_inner(), "seed {seed}: each comment once");
        println!(
            "seed {seed}: {} votes, {} comments, {} requests",
            expected.len(),
            found.len(),
            storm.asked.get()
        );
    }
}

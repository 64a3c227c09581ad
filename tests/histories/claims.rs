//! Claims: no code goes to two users, no user gets two codes, and no code is lost.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use scenarios::{Reply, patiently};
use serde_json::json;

use super::{Storm, seeds};

const CODES: usize = 80;
const USERS: usize = 120;
const IN_FLIGHT: usize = 16;

#[derive(Default)]
struct Model {
    /// Codes that were shown, with their users.
    given: BTreeMap<String, usize>,
    /// Times of the first requests of all users, and of the answers that no code is left.
    began: Vec<Instant>,
    exhausted: Vec<Instant>,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_goes_to_one_user_whatever_happens() {
    for seed in seeds() {
        let storm = Storm::new(seed).await;
        let pool = storm.api().pool(json!({})).await;
        // Lots with different end dates, and one lot without.
        let line = |n: usize| match n % 5 {
            0 => format!("CODE-{n:06},\n"),
            day => {
                format!("CODE-{n:06},{}\n", Timestamp::now() + SignedDuration::from_hours(24 * day as i64))
            }
        };
        let csv: String =
            std::iter::once("code,expires_at\n".to_owned()).chain((0..CODES).map(line)).collect();
        assert_eq!(storm.api().import(&pool, csv).await["added"], CODES);
        let model = RefCell::new(Model::default());
        let users = (0..USERS).map(|user| {
            let (storm, pool, model) = (&storm, &pool, &model);
            async move {
                let path = format!("/distribute/{pool}");
                let mood = storm.below(6);
                let mut body = json!({ "user": format!("user-{user}") });
                if mood < 4 {
                    body["reserve"] = json!(2);
                }
                model.borrow_mut().began.push(Instant::now());
                let claimed = storm.post(&path, &body, |call| call).await;
                if claimed.status == 409 {
                    claimed.is_problem(409, "codes-exhausted");
                    return model.borrow_mut().exhausted.push(Instant::now());
                }
                assert!(claimed.status.is_success(), "{}: {}", claimed.status, claimed.text);
                let keep = |reply: &Reply| {
                    let before = model.borrow_mut().given.insert(reply.text_at("code"), user);
                    assert!(before.is_none_or(|owner| owner == user), "{} was given twice", reply.text);
                };
                let settle = async |what: &str| {
                    let path = format!("/claims/{}/{what}", claimed.text_at("claim_id"));
                    storm.post(&path, &json!({}), |call| call).await
                };
                match mood {
                    // The user never returns.
                    0 => {}
                    1 => {
                        settle("release").await;
                    }
                    2 | 3 => {
                        let confirmed = settle("confirm").await;
                        match confirmed.status.as_u16() {
                            200 => keep(&confirmed),
                            _ => confirmed.is_problem(409, "reservation-lapsed"),
                        }
                    }
                    _ => keep(&claimed),
                }
                // A user keeps a claimed code for good.
                if mood > 3 && storm.below(2) == 0 {
                    let again =
                        storm.post(&path, &json!({ "user": format!("user-{user}") }), |call| call).await;
                    assert_eq!(again.text_at("code"), claimed.text_at("code"));
                }
            }
        });
        storm.over(stream::iter(users).buffer_unordered(IN_FLIGHT).collect::<Vec<_>>()).await;

        let (_platform, api) = storm.calm().await;
        let mut model = model.into_inner();
        model.began.sort_unstable();
        for told in &model.exhausted {
            let possible = model.began.partition_point(|began| began < told);
            assert!(possible >= CODES, "seed {seed}: told of the end after {possible} had asked");
        }
        let given = model.given.len();
        println!("seed {seed}: {given} codes given in {} requests", storm.asked.get());
        // Each user still has the same code.
        for (code, user) in &model.given {
            let again = api.claim(&pool, &format!("user-{user}")).await;
            assert_eq!(again.text_at("code"), *code, "seed {seed}");
        }
        // All other codes return to the pool and can be claimed.
        for late in 0..CODES - given {
            let code = patiently(Duration::from_secs(30), || async {
                let reply = api.claim(&pool, &format!("late-{late}")).await;
                reply.status.is_success().then(|| reply.text_at("code"))
            })
            .await;
            assert_eq!(model.given.insert(code, USERS + late), None, "seed {seed}: given twice");
        }
        api.claim(&pool, "too late").await.is_problem(409, "codes-exhausted");
        let all: BTreeSet<_> = (0..CODES).map(|n| format!("CODE-{n:06}")).collect();
        assert_eq!(model.given.into_keys().collect::<BTreeSet<_>>(), all, "seed {seed}: none is lost");
        patiently(Duration::from_secs(60), || async {
            let counts = api.get(&format!("/code-pools/{pool}")).await.ok()["counts"].clone();
            (counts["claimed"] == CODES && counts["remaining"] == 0).then_some(())
        })
        .await;
    }
}

//! Positions are exact under all conditions: concurrent joins, replays, faults and kills.

use std::{collections::BTreeMap, path::Path, time::Duration};

use groundswell::faults::Faults;
use scenarios::{Api, Dice, address, dynamodb, embedded, eventually, platform, still_platform};
use serde_json::{Value, json};

use crate::process::Victim;

/// Adds subscribers, many at once, some of them with a random referral. A join whose answer is lost is not
/// repeated.
async fn crowd(api: &Api, waitlist: &str, people: usize, seed: u64) {
    let mut dice = Dice(seed);
    let mut codes: Vec<String> = Vec::new();
    let mut left = people;
    while left > 0 {
        let wave = left.min(20);
        left -= wave;
        let joins = (0..wave).map(|_| {
            let code = if codes.is_empty() { None } else { Some(codes[dice.below(codes.len())].clone()) };
            let (api, waitlist) = (api.clone(), waitlist.to_owned());
            async move {
                let mut body = json!({ "waitlist_id": waitlist, "email": address("p"), "consent": true });
                if let Some(code) = code {
                    body["referral_code"] = json!(code);
                }
                api.secret("POST", "/subscribers").json(body).try_answer().await
            }
        });
        let replies = futures_util::future::join_all(joins).await;
        codes.extend(
            replies
                .into_iter()
                .flatten()
                .filter_map(|body| body["referral_code"].as_str().map(str::to_owned)),
        );
    }
}

/// Compares the entries of a waitlist with the projector's counts. Returns the number of entries.
async fn check(api: &Api, waitlist: &str) -> usize {
    let everybody = eventually(|| async {
        let everybody = api.all(&format!("/subscribers?waitlist_id={waitlist}")).await;
        let counts = &api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"];
        let referred = everybody.iter().filter(|entry| !entry["referred_by"].is_null()).count();
        let credited: u64 = everybody.iter().map(|entry| entry["referrals"].as_u64().unwrap()).sum();
        let settled = counts["in_line"] == everybody.len()
            && counts["active"] == everybody.len()
            && counts["referrals"] == referred
            && credited == referred as u64;
        settled.then_some(everybody)
    })
    .await;
    // Each subscriber has as many credits as friends.
    let mut friends: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in &everybody {
        if let Some(referrer) = entry["referred_by"].as_str() {
            *friends.entry(referrer).or_default() += 1;
        }
    }
    for entry in &everybody {
        let id = entry["id"].as_str().unwrap();
        assert_eq!(entry["referrals"], friends.get(id).copied().unwrap_or_default(), "credits of {id}");
    }
    let mut positions: Vec<_> =
        api.positions(waitlist).await.into_iter().map(|(_, position)| position).collect();
    positions.sort_unstable();
    let all: Vec<_> = (1..=everybody.len() as u64).collect();
    assert_eq!(positions, all, "gap-free and duplicate-free");
    let events = api.all(&format!("/waitlists/{waitlist}/events")).await;
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    let referred = everybody.iter().filter(|entry| !entry["referred_by"].is_null()).count();
    assert_eq!((count("subscriber.joined"), count("referral.credited")), (everybody.len(), referred));
    everybody.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_joins_with_referrals_leave_exact_positions_after_replays_too() {
    let data = tempfile::tempdir().unwrap();
    let Some(first) = platform(data.path(), true, Faults::default()).await else { return };
    let api = Api::new(first.credentials.clone());
    let waitlist = api
        .waitlist(
            json!({ "places_per_referral": 4, "reward_tiers": [{ "referrals": 2, "name": "Sticker" }] }),
        )
        .await;
    crowd(&api, &waitlist, 200, 1).await;
    assert_eq!(check(&api, &waitlist).await, 200);
    let before = picture(&api, &waitlist).await;
    drop(first);

    // The whole stream once more from its beginning, twice.
    for _ in 0..2 {
        std::fs::remove_file(data.path().join("stream-projector.checkpoint")).unwrap();
        let again = reopened(data.path(), true, Faults::default()).await;
        let api = Api::new(again.credentials.clone());
        let last = data.path().join("stream-projector.checkpoint");
        // Another join marks the end of the replay.
        let marker = api.join(&api.waitlist(json!({})).await, &address("marker"), None).await;
        eventually(|| async {
            let list = api.get(&format!("/subscribers/{}", marker.id())).await.ok()["waitlist_id"].clone();
            let events = api.get(&format!("/waitlists/{}/events", list.as_str().unwrap())).await.ok();
            (events["data"].as_array().unwrap().len() == 1 && last.exists()).then_some(())
        })
        .await;
        assert_eq!(check(&api, &waitlist).await, 200);
        assert_eq!(picture(&api, &waitlist).await, before);
        drop(again);
    }
}

/// Returns all derived data of a waitlist.
async fn picture(api: &Api, waitlist: &str) -> Value {
    let mut rewards = BTreeMap::new();
    let positions = api.positions(waitlist).await;
    for (id, _) in &positions {
        rewards.insert(id.clone(), api.get(&format!("/referrals/{id}/rewards")).await.ok()["data"].clone());
    }
    json!({
        "positions": positions,
        "rewards": rewards,
        "counts": api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"],
        "events": api.all(&format!("/waitlists/{waitlist}/events")).await,
        "board": api.get(&format!("/waitlists/{waitlist}/leaderboard")).await.ok(),
    })
}

/// Opens a directory whose platform has just been dropped. Retries, because the lock is released with the
/// platform's last task.
pub async fn reopened(data: &Path, keep_stream: bool, faults: Faults) -> groundswell::Platform {
    scenarios::log();
    eventually(|| async {
        groundswell::Platform::start(scenarios::options(data, keep_stream, faults.clone())).await.ok()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_conflicts_and_lost_answers_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    if scenarios::embedded().is_none() {
        return;
    }
    let faults = Faults::seeded(7, 60, 120, 30);
    // The start makes several calls, each of which may fail.
    let platform = reopened(data.path(), false, faults).await;
    let api = Api::new(platform.credentials.clone());
    let waitlist = eventually(|| async {
        let made = api.post("/waitlists", json!({ "name": "Faulty" })).await;
        (made.status == 201).then(|| made.id())
    })
    .await;
    let mut dice = Dice(3);
    let mut codes: Vec<String> = Vec::new();
    for wave in 0..6 {
        let joins = (0..10).map(|n| {
            let code = if codes.is_empty() { None } else { Some(codes[dice.below(codes.len())].clone()) };
            let (api, waitlist) = (api.clone(), waitlist.clone());
            async move {
                let email = format!("p{wave}-{n}@example.com");
                // Retries as any client does.
                eventually(|| async {
                    let reply = api.join(&waitlist, &email, code.as_deref()).await;
                    assert!(reply.status.as_u16() != 500, "{}", reply.text);
                    reply.status.is_success().then_some(reply)
                })
                .await
            }
        });
        let replies = futures_util::future::join_all(joins).await;
        codes.extend(replies.iter().map(|reply| reply.text_at("referral_code")));
    }
    // Reads the result without faults.
    drop(platform);
    let calm = reopened(data.path(), false, Faults::default()).await;
    let api = Api::new(calm.credentials.clone());
    assert_eq!(check(&api, &waitlist).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_does_not_end_is_said_to_be_one_of_the_moment() {
    let data = tempfile::tempdir().unwrap();
    let Some(calm) = platform(data.path(), false, Faults::default()).await else { return };
    let waitlist = Api::new(calm.credentials.clone()).waitlist(json!({})).await;
    drop(calm);
    let stormy = reopened(data.path(), false, Faults::seeded(1, 0, 1000, 0)).await;
    let api = Api::new(stormy.credentials.clone());
    api.join(&waitlist, &address("late"), None).await.is_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_five_times_at_random_moments_it_loses_nothing_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let mut waitlist = String::new();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..5u64 {
        let Some(victim) = Victim::start(data.path()).await else { return };
        let api = Api::new(victim.credentials.clone());
        if round == 0 {
            waitlist = api.waitlist(json!({ "places_per_referral": 3 })).await;
        }
        let codes: Vec<_> = api.all(&format!("/subscribers?waitlist_id={waitlist}")).await;
        let codes: Vec<_> =
            codes.iter().map(|entry| entry["referral_code"].as_str().unwrap().to_owned()).collect();
        // Joins continue until the process is killed, after a random number of answers.
        let mut dice = Dice(100 + round);
        let fatal = 10 + dice.below(60);
        let mut answers = 0;
        let mut pending = futures_util::stream::FuturesUnordered::new();
        let mut running = Some(victim);
        loop {
            while running.is_some() && pending.len() < 16 {
                let code = if codes.is_empty() { None } else { Some(codes[dice.below(codes.len())].clone()) };
                let (api, waitlist) = (api.clone(), waitlist.clone());
                pending.push(async move {
                    let mut body = json!({ "waitlist_id": waitlist, "email": address("k"), "consent": true });
                    if let Some(code) = code {
                        body["referral_code"] = json!(code);
                    }
                    api.secret("POST", "/subscribers").json(body).try_answer().await
                });
            }
            let Some(answer) = futures_util::StreamExt::next(&mut pending).await else { break };
            if let Some(id) = answer.and_then(|body| body["id"].as_str().map(str::to_owned)) {
                acknowledged.push(id);
            }
            answers += 1;
            if answers == fatal
                && let Some(victim) = running.take()
            {
                victim.kill();
            }
        }
    }
    let survivor = reopened(data.path(), false, Faults::default()).await;
    let api = Api::new(survivor.credentials.clone());
    let everybody = check(&api, &waitlist).await;
    assert!(everybody >= acknowledged.len() && acknowledged.len() >= 100);
    for id in &acknowledged {
        assert_eq!(api.get(&format!("/subscribers/{id}")).await.status, 200, "{id} was acknowledged");
    }
    println!("{} joins acknowledged over 5 kills, {everybody} kept", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_projectors_at_once_count_everything_once() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), true, Faults::default()).await else { return };
    let api = Api::new(running.credentials.clone());
    let waitlist = api.waitlist(json!({})).await;
    crowd(&api, &waitlist, 30, 5).await;
    check(&api, &waitlist).await;
    let before = picture(&api, &waitlist).await;
    // The same records in other batches, backwards, several batches at once.
    let records = running.stream_records().await.unwrap();
    assert!(records.len() > 60);
    let mut batches: Vec<Vec<Value>> = records.chunks(7).map(<[Value]>::to_vec).collect();
    batches.reverse();
    batches.extend(records.chunks(13).map(|chunk| chunk.iter().rev().cloned().collect()));
    let deliveries =
        batches.into_iter().map(|records| running.invoke("ProjectorFunction", json!({ "Records": records })));
    for answer in futures_util::future::join_all(deliveries).await {
        assert_eq!(answer.unwrap()["batchItemFailures"], json!([]));
    }
    assert_eq!(picture(&api, &waitlist).await, before);
    tokio::time::timeout(Duration::from_secs(60), check(&api, &waitlist)).await.unwrap();
}

/// Lambda begins the next batch with the record that a function reports, and halves a batch only if the function
/// fails. A record that cannot be read is therefore given up alone.
#[tokio::test]
async fn a_change_that_cannot_be_read_takes_no_other_along() {
    let Some(platform) = embedded() else { return };
    let record = |number: u32, kind: &str| {
        let key = json!({ "PK": { "S": "X" }, "SK": { "S": number.to_string() } });
        json!({
            "eventID": number.to_string(), "eventName": "INSERT", "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_795_167_000, "Keys": key, "SequenceNumber": number.to_string(),
                "SizeBytes": 10, "StreamViewType": "NEW_AND_OLD_IMAGES",
                "NewImage": { "PK": key["PK"], "SK": key["SK"], "_type": { "S": kind } },
            },
        })
    };
    let (good, bad) = (|number| record(number, "of no interest"), |number| record(number, "subscriber"));
    let failures = |answer: Value| answer["batchItemFailures"].clone();
    let handle = |records: Vec<Value>| platform.invoke("ProjectorFunction", json!({ "Records": records }));

    let answer = handle(vec![good(1), bad(2), good(3)]).await.unwrap();
    assert_eq!(failures(answer), json!([{ "itemIdentifier": "2" }]), "what comes before it is done");
    assert!(handle(vec![bad(2), good(3)]).await.is_err(), "the batch is halved");
    let answer = handle(vec![bad(2)]).await.unwrap();
    assert_eq!(failures(answer), json!([{ "itemIdentifier": "2" }]), "and in the end it is alone");
}

/// The batch is retried until all of it is counted.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_changes_cannot_be_counted_holds_up_no_other() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = still_platform(data.path()).await else { return };
    let another = platform.make_account("Another", "another@example.com").await.unwrap();
    let (broken, sound) = (Api::new(platform.credentials.clone()), Api::new(another));
    let mut waitlists = Vec::new();
    for api in [&broken, &sound] {
        let waitlist = api.waitlist(json!({})).await;
        api.join(&waitlist, &address("ada"), None).await;
        waitlists.push(waitlist);
    }
    let found = broken.get(&format!("/subscribers?waitlist_id={}", waitlists[0])).await.ok();
    let subscriber = found["data"][0]["id"].as_str().unwrap();
    let key = json!({ "PK": { "S": format!("SUB#{subscriber}") }, "SK": { "S": "CORE#STANDING" } });
    let item = json!({ "PK": key["PK"], "SK": key["SK"], "_type": { "S": "standing" } });
    assert_eq!(dynamodb(&platform, "PutItem", json!({ "Item": item })).await.0, 200);

    let records = platform.stream_records().await.unwrap();
    let handle = || platform.invoke("ProjectorFunction", json!({ "Records": records }));
    let counted = async |api: &Api, at: usize| {
        api.get(&format!("/waitlists/{}", waitlists[at])).await.ok()["counts"]["active"].clone()
    };
    handle().await.unwrap_err();
    assert_eq!((counted(&broken, 0).await, counted(&sound, 1).await), (json!(0), json!(1)));
    assert_eq!(dynamodb(&platform, "DeleteItem", json!({ "Key": key })).await.0, 200);
    handle().await.unwrap();
    assert_eq!((counted(&broken, 0).await, counted(&sound, 1).await), (json!(1), json!(1)));
}

#[tokio::test]
async fn what_is_due_does_not_wait_behind_what_cannot_be_read() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    for (partition, kind) in [("DUE#0", "send"), ("DELIVERDUE#0", "delivery")] {
        let text = |text: &str| json!({ "S": text });
        let item = json!({
            "PK": text("X"), "SK": text(kind), "_type": text(kind), "GSI2PK": text(partition), "GSI2SK": text("000#x"),
        });
        let (status, answer) = dynamodb(&platform, "PutItem", json!({ "Item": item })).await;
        assert_eq!(status, 200, "{answer}");
    }
    let now = jiff::Timestamp::now();
    assert_eq!(campaigns::sends::due(&platform.table, 0, now, 1).await.unwrap().len(), 0);
    assert_eq!(webhooks::due(&platform.table, 0, now, 1).await.unwrap().len(), 0);
}

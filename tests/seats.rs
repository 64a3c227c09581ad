//! A waitlist with a capacity gives out exactly its seats: never one more, and no seat is lost.

use std::path::Path;

use groundswell::faults::Faults;
use scenarios::{Api, Dice, Reply, address, eventually, platform};
use serde_json::json;

use crate::{positions::reopened, process::Victim};

/// Exercises a capacity that is reduced, and a number in line that is given up.
pub async fn tour(api: &Api) {
    let waitlist = api.waitlist(json!({ "capacity": 64 })).await;
    let email = address("same");
    let joins = (0..16).map(|_| api.join(&waitlist, &email, None));
    futures_util::future::join_all(joins).await;
    let mut last = String::new();
    for _ in 0..8 {
        last = api.join(&waitlist, &address("seated"), None).await.id();
    }
    // With a capacity of nine there are nine counters of one seat each. Some of the nine taken seats are on other
    // counters.
    let smaller = api.secret("PATCH", &format!("/waitlists/{waitlist}")).header("if-match", "*");
    smaller.json(json!({ "capacity": 9 })).send().await.ok();
    api.secret("DELETE", &format!("/subscribers/{last}")).send().await;
    assert_eq!(api.join(&waitlist, &address("seated"), None).await.status, 201);
    let verified = api.waitlist(json!({ "verification_policy": "double_opt_in", "capacity": 1 })).await;
    let email = address("verified");
    api.join(&verified, &email, None).await;
    api.verify(&email).await.ok();
}

/// Joins, and retries until there is a decision. Returns the reply and the number of undecided attempts.
async fn join(api: &Api, waitlist: &str) -> (Reply, usize) {
    let body = json!({ "waitlist_id": waitlist, "email": address("p"), "consent": true });
    for undecided in 0..20 {
        let reply = api.post("/subscribers", body.clone()).await;
        if !reply.is_undecided() {
            return (reply, undecided);
        }
    }
    panic!("no decision in twenty attempts");
}

/// Joins until the waitlist is full. Returns the number of entries.
async fn fill(api: &Api, waitlist: &str) -> usize {
    loop {
        let (reply, _) = join(api, waitlist).await;
        if reply.status == 409 {
            reply.is_problem(409, "waitlist-full");
            return api.all(&format!("/subscribers?waitlist_id={waitlist}")).await.len();
        }
        assert_eq!(reply.status, 201, "{}", reply.text);
    }
}

async fn with_capacity(data: &Path, capacity: usize) -> Option<String> {
    let calm = platform(data, false, Faults::default()).await?;
    Some(Api::new(calm.credentials.clone()).waitlist(json!({ "capacity": capacity })).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_conflicts_to_the_end_takes_no_seat_along() {
    let data = tempfile::tempdir().unwrap();
    let Some(waitlist) = with_capacity(data.path(), 3).await else { return };
    let stormy = reopened(data.path(), false, Faults::seeded(1, 0, 1000, 0)).await;
    let api = Api::new(stormy.credentials.clone());
    let refused = (0..2).map(|_| api.join(&waitlist, "late@example.com", None));
    for reply in futures_util::future::join_all(refused).await {
        reply.is_problem(503, "unavailable");
    }
    drop(stormy);
    let calm = reopened(data.path(), false, Faults::default()).await;
    assert_eq!(fill(&Api::new(calm.credentials.clone()), &waitlist).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_takes_no_second_seat_and_no_second_number() {
    let data = tempfile::tempdir().unwrap();
    let Some(waitlist) = with_capacity(data.path(), 25).await else { return };
    let lossy = reopened(data.path(), false, Faults::seeded(3, 0, 0, 150)).await;
    let api = Api::new(lossy.credentials.clone());
    for expected in 1..=25 {
        let (reply, undecided) = join(&api, &waitlist).await;
        assert!(reply.status.is_success(), "{}", reply.text);
        // A join without a decision may have succeeded, or may have left a gap in the numbers.
        if undecided > 0 {
            break;
        }
        assert_eq!(reply.json["position"], expected);
    }
    drop(lossy);
    let calm = reopened(data.path(), false, Faults::default()).await;
    assert_eq!(fill(&Api::new(calm.credentials.clone()), &waitlist).await, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_joins_it_leaks_no_seat() {
    const CAPACITY: usize = 120;
    let data = tempfile::tempdir().unwrap();
    let Some(waitlist) = with_capacity(data.path(), CAPACITY).await else { return };
    for round in 0..3u64 {
        let victim = eventually(|| async { Victim::start(data.path()).await }).await;
        let api = Api::new(victim.credentials.clone());
        let mut victim = Some(victim);
        let fatal = 8 + Dice(round).below(16);
        let (mut answers, mut pending) = (0, futures_util::stream::FuturesUnordered::new());
        loop {
            while victim.is_some() && pending.len() < 12 {
                let body = json!({ "waitlist_id": waitlist, "email": address("k"), "consent": true });
                pending.push(api.secret("POST", "/subscribers").json(body).try_answer());
            }
            if futures_util::StreamExt::next(&mut pending).await.is_none() {
                break;
            }
            answers += 1;
            if answers == fatal
                && let Some(victim) = victim.take()
            {
                victim.kill();
            }
        }
    }
    let survivor = reopened(data.path(), false, Faults::default()).await;
    assert_eq!(fill(&Api::new(survivor.credentials.clone()), &waitlist).await, CAPACITY);
}

#[tokio::test]
async fn a_capacity_that_comes_later_or_changes_counts_all_who_are_there() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let capacity = async |capacity: usize| {
        let patch = api.secret("PATCH", &format!("/waitlists/{waitlist}")).header("if-match", "*");
        patch.json(json!({ "capacity": capacity })).send().await.ok();
    };
    let rush = async |people: usize| {
        let joins = (0..people).map(|_| join(&api, &waitlist));
        let replies = futures_util::future::join_all(joins).await;
        replies.iter().filter(|(reply, _)| reply.status == 201).count()
    };
    let erase = async |people: usize| {
        let everybody = api.all(&format!("/subscribers?waitlist_id={waitlist}")).await;
        for person in &everybody[..people] {
            let path = format!("/subscribers/{}", person["id"].as_str().unwrap());
            assert_eq!(api.secret("DELETE", &path).send().await.status, 204);
        }
    };
    // The projector's counts follow with a short delay.
    let counted = async |people: usize| {
        eventually(|| async {
            let counts = api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"].clone();
            (counts["active"] == people).then_some(())
        })
        .await;
    };

    assert_eq!(rush(4).await, 4, "without a capacity");
    counted(4).await;
    capacity(6).await;
    assert_eq!(rush(8).await, 2);
    capacity(40).await;
    assert_eq!(rush(20).await, 20);
    // Fewer seats than are taken, on fewer counters than the taken seats are spread over.
    capacity(8).await;
    assert_eq!(rush(4).await, 0);
    erase(20).await;
    counted(6).await;
    assert_eq!(rush(10).await, 2);
    // A returned seat is free at once.
    erase(1).await;
    assert_eq!(rush(3).await, 1);
    capacity(9).await;
    assert_eq!(rush(3).await, 1);
}

#[tokio::test]
async fn with_double_opt_in_a_seat_is_taken_by_verifying() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in", "capacity": 2 })).await;
    let emails: Vec<_> = (0..5).map(|_| address("v")).collect();
    for email in &emails {
        assert_eq!(api.join(&waitlist, email, None).await.status, 202);
    }
    let replies = futures_util::future::join_all(emails.iter().map(|email| api.verify(email))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 2);
    for (reply, email) in replies.iter().zip(&emails) {
        let again = api.verify(email).await;
        assert_eq!(again.status, reply.status, "{}", again.text);
        if reply.status != 200 {
            reply.is_problem(409, "waitlist-full");
        }
    }
}

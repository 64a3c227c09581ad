//! Referrals: clicks, credits, rewards, fraud signals, review.

use scenarios::{Api, Reply, address, eventually, unique};
use serde_json::{Value, json};

/// Creates a waitlist and adds subscribers in this order.
async fn line(api: &Api, settings: Value, people: usize) -> (String, Vec<Reply>) {
    let waitlist = api.waitlist(settings).await;
    let mut joined = Vec::new();
    for n in 0..people {
        joined.push(api.join(&waitlist, &address(&format!("p{n}")), None).await);
    }
    (waitlist, joined)
}

async fn has_referrals(api: &Api, subscriber: &str, referrals: u64) -> Value {
    eventually(|| async {
        let stands = api.position(subscriber).await;
        // The position follows the count with a short delay.
        let ledger = api.get(&format!("/referrals/{subscriber}")).await.ok();
        (stands["referrals"] == referrals && ledger["referrals"] == referrals).then_some(())
    })
    .await;
    api.position(subscriber).await
}

async fn stands_at(api: &Api, subscriber: &str, position: u64) {
    eventually(|| async { (api.position(subscriber).await["position"] == position).then_some(()) }).await;
}

#[tokio::test]
async fn a_referral_moves_its_owner_up_and_never_above_the_first() {
    let api = Api::shared();
    let (waitlist, people) = line(&api, json!({ "places_per_referral": 2 }), 6).await;
    let last = &people[5];
    for (referrals, position) in [(1, 4), (2, 2), (3, 1), (4, 1)] {
        let friend = api.join(&waitlist, &address("friend"), Some(&last.text_at("referral_code"))).await;
        assert_eq!(friend.status, 201);
        has_referrals(&api, &last.id(), referrals).await;
        stands_at(&api, &last.id(), position).await;
    }
    let mut positions: Vec<_> =
        api.positions(&waitlist).await.into_iter().map(|(_, position)| position).collect();
    positions.sort_unstable();
    assert_eq!(positions, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_code_is_read_in_any_case_and_a_wrong_one_is_no_error() {
    let api = Api::shared();
    let (waitlist, people) = line(&api, json!({}), 1).await;
    let code = people[0].text_at("referral_code").to_lowercase();
    assert_eq!(api.join(&waitlist, &address("a"), Some(&code)).await.status, 201);
    has_referrals(&api, &people[0].id(), 1).await;
    for code in ["", "nonsense", "22222222", "💥", &"x".repeat(5000)] {
        let joined = api.join(&waitlist, &address("b"), Some(code)).await;
        assert_eq!(joined.status, 201, "{code}: {}", joined.text);
        assert!(api.get(&format!("/subscribers/{}", joined.id())).await.ok()["referred_by"].is_null());
    }
}

#[tokio::test]
async fn nobody_refers_themselves_by_another_spelling_or_in_a_circle() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let n = unique();
    let ada = api.join(&waitlist, &format!("ada{n}@gmail.com"), None).await;
    let code = ada.text_at("referral_code");
    for alias in
        [format!("a.d.a{n}@gmail.com"), format!("ADA{n}+x@googlemail.com"), format!("ada{n}@gmail.com")]
    {
        let reply = api.join(&waitlist, &alias, Some(&code)).await;
        assert_eq!((reply.status.as_u16(), reply.id()), (200, ada.id()));
    }
    let bo = api.join(&waitlist, &address("bo"), Some(&code)).await;
    // Ada joins again through Bo's link. She is already on the list, and Bo gets no credit.
    let circle = api.join(&waitlist, &format!("ada{n}@gmail.com"), Some(&bo.text_at("referral_code"))).await;
    assert_eq!(circle.status, 200);
    has_referrals(&api, &ada.id(), 1).await;
    let honest = api.join(&waitlist, &address("cy"), Some(&bo.text_at("referral_code"))).await;
    assert_eq!(honest.status, 201);
    has_referrals(&api, &bo.id(), 1).await;
    assert_eq!(api.position(&ada.id()).await["referrals"], 1);
}

#[tokio::test]
async fn clicks_are_counted_once_and_dead_links_are_no_error() {
    let api = Api::shared();
    let (_, people) = line(&api, json!({}), 1).await;
    let code = people[0].text_at("referral_code");
    let click = |key: String| {
        let body = json!({ "referral_code": code, "source": "chat" });
        api.public("POST", "/referrals").header("idempotency-key", &key).json(body).send()
    };
    let same = format!("click-{}", unique());
    let repeated = futures_util::future::join_all((0..5).map(|_| click(same.clone()))).await;
    assert!(repeated.iter().all(|reply| reply.status == 201 && reply.text == repeated[0].text));
    let different = futures_util::future::join_all((0..20).map(|n| click(format!("{same}-{n}")))).await;
    assert!(different.iter().all(|reply| reply.status == 201 && reply.json["tracked"] == true));
    let stats = api.get(&format!("/referrals/{}", people[0].id())).await.ok();
    assert_eq!(stats["clicks"], 21);
    let dead = api.public("POST", "/referrals").json(json!({ "referral_code": "gone" })).send().await;
    assert_eq!((dead.status.as_u16(), &dead.json["tracked"]), (201, &json!(false)));
}

#[tokio::test]
async fn clicks_are_limited_per_address_of_the_caller() {
    let Some(api) = Api::another_account().await else { return };
    let limits = json!({ "limits": { "clicks_per_ip_per_minute": 3 } });
    api.secret("PATCH", "/account").json(limits).send().await.ok();
    let (_, people) = line(&api, json!({}), 1).await;
    let click = |api: &Api, code: &str| {
        api.public("POST", "/referrals").json(json!({ "referral_code": code })).send()
    };
    let code = people[0].text_at("referral_code");
    let mut counted = 0;
    for n in 0..8 {
        let reply = click(&api, &code).await;
        match reply.status.as_u16() {
            201 => counted += 1,
            _ => reply.is_problem(429, "rate-limited"),
        }
        assert_eq!(reply.header("x-ratelimit-limit"), "3", "{n}");
    }
    assert!(counted <= 6, "a window may end once in between, not twice");
    // Clicks with unknown codes count towards the limit too, so codes cannot be guessed.
    click(&api, "gone").await.is_problem(429, "rate-limited");
    // Other addresses, and servers, are not limited.
    assert_eq!(click(&api.from_host(78), &code).await.status, 201);
    let body = json!({ "referral_code": code });
    assert_eq!(api.post("/referrals", body).await.status, 201);
    let stats = api.get(&format!("/referrals/{}", people[0].id())).await.ok();
    assert_eq!(stats["clicks"], counted + 2);
}

#[tokio::test]
async fn two_referrals_that_cross_a_tier_together_issue_its_reward_once() {
    let api = Api::shared();
    let tiers = json!({ "reward_tiers": [
        { "referrals": 2, "name": "Sticker" }, { "referrals": 3, "name": "Shirt", "reward": "A shirt" }, { "referrals": 50, "name": "Trip" },
    ] });
    let (waitlist, people) = line(&api, tiers, 1).await;
    let ada = people[0].id();
    let code = people[0].text_at("referral_code");
    let friends = (0..4).map(|n| {
        let (api, waitlist, code) = (api.clone(), waitlist.clone(), code.clone());
        async move { api.join(&waitlist, &address(&format!("f{n}")), Some(&code)).await }
    });
    for reply in futures_util::future::join_all(friends).await {
        assert_eq!(reply.status, 201);
    }
    has_referrals(&api, &ada, 4).await;
    let rewards = eventually(|| async {
        let rewards = api.get(&format!("/referrals/{ada}/rewards")).await.ok()["data"].clone();
        (rewards.as_array().unwrap().len() == 2).then_some(rewards)
    })
    .await;
    assert_eq!((&rewards[0]["name"], &rewards[1]["name"]), (&json!("Sticker"), &json!("Shirt")));
    let events = api.all(&format!("/waitlists/{waitlist}/events")).await;
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("reward.issued"), count("referral.credited")), (2, 4));
    let stats = api.get(&format!("/referrals/{ada}")).await.ok();
    assert_eq!(stats["next_tier"], json!({ "name": "Trip", "missing": 46 }));
    let own = api
        .public("GET", &format!("/referrals/{ada}/rewards"))
        .header("x-subscriber-token", &people[0].text_at("token"));
    assert_eq!(own.send().await.status, 200);
    let other = api.public("GET", &format!("/referrals/{ada}/rewards")).send().await;
    other.is_problem(403, "subscriber-token-required");
}

#[tokio::test]
async fn revoking_and_restoring_carry_position_and_rewards_along() {
    let api = Api::shared();
    let settings =
        json!({ "places_per_referral": 2, "reward_tiers": [{ "referrals": 1, "name": "Sticker" }] });
    let (waitlist, people) = line(&api, settings, 4).await;
    let dee = people[3].id();
    let friend = api.join(&waitlist, &address("friend"), Some(&people[3].text_at("referral_code"))).await;
    stands_at(&api, &dee, 2).await;
    let referral = friend.id().replace("sub_", "ref_");
    let review = async |verb: &str| api.post(&format!("/referrals/{referral}/{verb}"), json!({})).await;
    let reward = async |status: &str| {
        eventually(|| async {
            let rewards = api.get(&format!("/referrals/{dee}/rewards")).await.ok();
            (rewards["data"][0]["status"] == status).then_some(())
        })
        .await;
    };
    reward("issued").await;
    review("restore").await.is_problem(409, "referral-not-reviewable");
    assert_eq!(review("revoke").await.ok()["status"], "revoked");
    stands_at(&api, &dee, 4).await;
    reward("revoked").await;
    assert_eq!(api.position(&dee).await["referrals"], 0);
    review("revoke").await.is_problem(409, "referral-not-reviewable");
    assert_eq!(review("restore").await.ok()["status"], "credited");
    stands_at(&api, &dee, 2).await;
    reward("issued").await;

    let ledger = api.all(&format!("/referrals/{dee}/ledger")).await;
    let lines: Vec<_> = ledger
        .iter()
        .map(|line| (line["change"].as_str().unwrap(), line["places"].as_i64().unwrap()))
        .collect();
    assert_eq!(lines, [("credited", 2), ("revoked", -2), ("restored", 2)]);
    assert_eq!(ledger[0]["actor"], "platform");
    assert!(ledger[1]["actor"].as_str().unwrap().starts_with("key_"));
    let credits: i64 = ledger.iter().map(|line| line["referrals"].as_i64().unwrap()).sum();
    assert_eq!(api.position(&dee).await["referrals"], credits);
}

#[tokio::test]
async fn of_many_reviews_at_once_one_counts() {
    let api = Api::shared();
    let (waitlist, people) = line(&api, json!({}), 1).await;
    let friend = api.join(&waitlist, &address("friend"), Some(&people[0].text_at("referral_code"))).await;
    has_referrals(&api, &people[0].id(), 1).await;
    let path = format!("/referrals/{}/revoke", friend.id().replace("sub_", "ref_"));
    let replies = futures_util::future::join_all((0..6).map(|_| api.post(&path, json!({})))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert!(replies.iter().all(|reply| reply.status == 200 || reply.status == 409));
    assert_eq!(api.position(&people[0].id()).await["referrals"], 0);
    assert_eq!(api.all(&format!("/referrals/{}/ledger", people[0].id())).await.len(), 2);
}

#[tokio::test]
async fn suspicion_has_reasons_and_a_shared_network_alone_is_none() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let join = async |api: &Api, email: String, device: &str, code: Option<&str>| {
        let mut body =
            json!({ "waitlist_id": waitlist, "email": email, "consent": true, "fingerprint": device });
        if let Some(code) = code {
            body["referral_code"] = json!(code);
        }
        api.public("POST", "/subscribers").json(body).send().await
    };
    let ada = join(&api, address("ada"), "laptop", None).await;
    let code = ada.text_at("referral_code");
    let office = join(&api, address("office"), "desktop", Some(&code)).await;
    let double = join(&api, address("double"), "laptop", Some(&code)).await;
    let thrown = join(&api, format!("t{}@mailinator.com", unique()), "laptop", Some(&code)).await;
    has_referrals(&api, &ada.id(), 3).await;
    let found = eventually(|| async {
        let all = api.all(&format!("/referrals?waitlist_id={waitlist}")).await;
        (all.len() == 3 && all.iter().all(|entry| entry["status"] == "credited")).then_some(all)
    })
    .await;
    let of = |friend: &Reply| {
        let referral = found.iter().find(|entry| entry["referee_id"] == friend.id()).unwrap();
        let reasons: Vec<_> = referral["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reason| reason["signal"].as_str().unwrap())
            .collect();
        (referral["fraud_score"].as_u64().unwrap(), referral["flagged"].as_bool().unwrap(), reasons)
    };
    assert_eq!(of(&office), (20, false, vec!["same_network"]));
    assert_eq!(of(&double), (70, true, vec!["same_device", "same_network"]));
    assert_eq!(of(&thrown), (100, true, vec!["disposable_domain", "same_device", "same_network"]));
    let flagged = api.all(&format!("/referrals?waitlist_id={waitlist}&flagged=true")).await;
    let clear = api.all(&format!("/referrals?waitlist_id={waitlist}&flagged=false")).await;
    assert_eq!((flagged.len(), clear.len()), (2, 1));
    // No raw address of the network or the device is shown or stored.
    assert!(!serde_json::to_string(&found).unwrap().contains("127.0.0"));
}

#[tokio::test]
async fn the_leaderboard_is_ordered_and_masked() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let named = json!({ "waitlist_id": waitlist, "email": address("ada"), "name": "Ada King Lovelace", "consent": true });
    let ada = api.public("POST", "/subscribers").json(named).send().await;
    let bo = api.join(&waitlist, &address("bo"), None).await;
    for (owner, friends) in [(&ada, 2), (&bo, 3)] {
        for _ in 0..friends {
            api.join(&waitlist, &address("f"), Some(&owner.text_at("referral_code"))).await;
        }
    }
    let board = eventually(|| async {
        let board = api.public("GET", &format!("/waitlists/{waitlist}/leaderboard")).send().await.ok();
        (board["data"][0]["referrals"] == 3 && board["data"][1]["referrals"] == 2).then_some(board)
    })
    .await;
    assert_eq!(board["data"].as_array().unwrap().len(), 2, "only those who brought somebody");
    assert_eq!(board["data"][0], json!({ "rank": 1, "name": "b•••@e•••.com", "referrals": 3 }));
    assert_eq!(board["data"][1], json!({ "rank": 2, "name": "Ada L.", "referrals": 2 }));
}

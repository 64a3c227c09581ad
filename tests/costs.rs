//! Costs in operations, and the proof that the list of access patterns is the truth.

use std::collections::BTreeMap;

use groundswell::faults::Faults;
use scenarios::{Api, address, eventually, platform};
use serde_json::json;
use store::patterns;

/// The calls between two readings of the meter.
fn spent(
    before: &BTreeMap<&'static str, u64>,
    after: &BTreeMap<&'static str, u64>,
) -> BTreeMap<&'static str, u64> {
    after
        .iter()
        .map(|(name, calls)| (*name, calls - before.get(name).copied().unwrap_or_default()))
        .filter(|(_, calls)| *calls > 0)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_takes_at_most_four_reads_and_a_join_six_calls() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let waitlist = api.waitlist(json!({})).await;
    let ada = api.join(&waitlist, &address("ada"), None).await;
    // Quiet: all that follows from the join has been counted.
    eventually(|| async {
        (api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"]["active"] == 1).then_some(())
    })
    .await;

    let before = platform.meter.snapshot();
    api.position(&ada.id()).await;
    let calls = spent(&before, &platform.meter.snapshot());
    // One for the key, which every request needs; three for the position.
    assert_eq!(
        calls,
        BTreeMap::from([("key.read", 1), ("line.leaf", 1), ("line.tree", 1), ("subscriber.read", 1)])
    );

    let before = platform.meter.snapshot();
    api.join(&waitlist, &address("bo"), Some(&ada.text_at("referral_code"))).await;
    let calls = spent(&before, &platform.meter.snapshot());
    let of_the_request =
        ["key.read", "subscriber.join-context", "rate.count", "subscriber.number", "subscriber.join"];
    let calls: Vec<_> = of_the_request.iter().map(|name| calls[name]).collect();
    assert_eq!(calls, [1, 1, 2, 1, 1], "the rate takes an update and a read");
}

/// A tour of everything there is, after which every pattern has been used.
#[tokio::test(flavor = "multi_thread")]
async fn every_access_pattern_is_exercised_and_none_is_missing() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let token = platform.oidc.id_token(&api.credentials.oidc_username, std::time::Duration::from_secs(60));
    assert_eq!(api.call("GET", "/members").key(&token).send().await.status, 200);
    for path in ["/health/ready", "/account", "/api-keys", "/audit-log", "/waitlists"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    api.secret("PATCH", "/account").json(json!({ "name": "Tour" })).send().await.ok();
    api.post("/members", json!({ "email": address("m"), "role": "staff" })).await.ok();
    let key = api.post("/api-keys", json!({ "kind": "publishable" })).await.id();
    api.secret("DELETE", &format!("/api-keys/{key}")).send().await;

    let settings = json!({ "name": "Tour", "verification_policy": "double_opt_in", "reward_tiers": [{ "referrals": 1, "name": "x" }] });
    let created =
        api.secret("POST", "/waitlists").header("idempotency-key", "tour").json(settings).send().await;
    let waitlist = created.id();
    let mut people = Vec::new();
    for name in ["ada", "bo"] {
        let email = address(name);
        let code = people
            .last()
            .map(|person: &serde_json::Value| person["referral_code"].as_str().unwrap().to_owned());
        api.join(&waitlist, &email, code.as_deref()).await;
        people.push(api.verify(&email).await.ok());
        api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    }
    let ada = people[0]["id"].as_str().unwrap();
    let bo = people[1]["id"].as_str().unwrap();
    eventually(|| async {
        let rewards = api.get(&format!("/referrals/{ada}/rewards")).await.ok();
        (rewards["data"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    api.post("/referrals", json!({ "referral_code": people[0]["referral_code"] })).await.ok();
    for path in [
        format!("/subscribers/{ada}"),
        format!("/subscribers/{ada}/position"),
        format!("/subscribers?waitlist_id={waitlist}"),
        format!("/subscribers?waitlist_id={waitlist}&sort=hot"),
        format!("/referrals/{ada}"),
        format!("/referrals/{ada}/ledger"),
        format!("/referrals?waitlist_id={waitlist}"),
        format!("/waitlists/{waitlist}"),
        format!("/waitlists/{waitlist}/leaderboard"),
        format!("/waitlists/{waitlist}/events"),
    ] {
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }
    let revoke = format!("/referrals/{}/revoke", bo.replace("sub_", "ref_"));
    api.post(&revoke, json!({})).await.ok();
    api.post(&format!("/waitlists/{waitlist}/invitations"), json!({ "count": 1 })).await.ok();
    let export = api.post("/exports", json!({ "kind": "subscribers", "waitlist_id": waitlist })).await.id();
    eventually(|| async {
        (api.get(&format!("/exports/{export}")).await.ok()["status"] == "completed").then_some(())
    })
    .await;
    api.secret("DELETE", &format!("/subscribers/{bo}")).send().await;

    let pool = api.pool(json!({})).await;
    api.import(&pool, "code\nTOUR-0001\nTOUR-0002\n").await;
    let claim = api.claim(&pool, "ada").await;
    assert_eq!(api.claim(&pool, "bo").await.status, 201);
    api.claim(&pool, "cy").await.is_problem(409, "codes-exhausted");
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let code = codes[0]["id"].as_str().unwrap();
    for path in [
        "/code-pools".to_owned(),
        format!("/code-pools/{pool}"),
        format!("/code-pools/{pool}/imports"),
        format!("/distribute/{pool}"),
        format!("/codes/{code}"),
        format!("/claims/{}", claim.text_at("claim_id")),
    ] {
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }
    api.post(&format!("/codes/{code}/redeem"), json!({})).await.ok();
    let old = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(31 * 24);
    crate::codes::claim_at(&platform, &api, &pool, "dora", old).await;
    platform.invoke("JobsFunction", json!({ "schedule": "archive_codes" })).await.unwrap();
    eventually(|| async { platform.meter.snapshot().contains_key("archive.write").then_some(()) }).await;
    api.secret("DELETE", &format!("/code-pools/{pool}")).send().await;

    let unused = eventually(|| async {
        let used = platform.meter.snapshot();
        let unused: Vec<_> =
            patterns::ALL.iter().map(|pattern| pattern.id).filter(|id| !used.contains_key(id)).collect();
        // Mails and purges of exports happen a moment later.
        unused.is_empty().then_some(unused)
    })
    .await;
    assert!(unused.is_empty());
    let listed: Vec<_> = patterns::ALL.iter().map(|pattern| pattern.id).collect();
    for used in platform.meter.snapshot().keys() {
        assert!(listed.contains(used), "{used} is not listed");
    }
    println!("{} access patterns exercised", listed.len());
}

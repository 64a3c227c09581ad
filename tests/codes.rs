//! Code pools: settings, claims, reservations, visibility of codes, and derived data.

use std::collections::BTreeSet;

use codes::{
    claiming::{self, Offer},
    code_pool::Platform as Device,
    id::{ClaimId, CodePoolId},
};
use groundswell::{Platform, faults::Faults};
use jiff::{SignedDuration, Timestamp};
use scenarios::{Api, Reply, embedded, eventually, platform, unique};
use serde_json::{Value, json};

/// Creates a pool with these codes, one a line.
async fn pool_of(api: &Api, settings: Value, lines: &[&str]) -> String {
    let pool = api.pool(settings).await;
    let import = api.import(&pool, format!("code,platform,expires_at\n{}\n", lines.join("\n"))).await;
    assert_eq!(import["added"], lines.len(), "{import}");
    pool
}

async fn claim(api: &Api, pool: &str, body: Value) -> Reply {
    api.public("POST", &format!("/distribute/{pool}")).json(body).send().await
}

async fn counts(api: &Api, pool: &str) -> Value {
    api.get(&format!("/code-pools/{pool}")).await.ok()["counts"].clone()
}

/// Claims a code of the pool at a given time.
pub async fn claim_at(platform: &Platform, api: &Api, pool: &str, user: &str, at: Timestamp) -> ClaimId {
    api.import(pool, format!("code\nAT-{}\n", unique())).await;
    let pool: CodePoolId = pool.parse().unwrap();
    let account = &api.credentials.account_id;
    let counter = platform.table.look_up(codes::claims::counter(account, &pool)).await.unwrap().unwrap();
    let key = &counter.signing.signing_key;
    let request = claiming::Request {
        id: ClaimId::of(key, &pool, user),
        account_id: account.clone(),
        user: key.pseudonym("user", user),
        device: None,
        by_server: true,
        platform: Device::Universal,
        hold: None,
        with_text: false,
    };
    let look = claiming::look(&platform.table, &counter, &request, 1, at).await.unwrap();
    match claiming::offer(&platform.table, &counter, &request, look, at).await.unwrap() {
        Offer::Claim { writes, .. } => writes.apply(&platform.table).await.unwrap(),
        _ => panic!("the pool has a code for a new user"),
    }
    request.id
}

#[tokio::test]
async fn a_pool_is_made_changed_and_listed() {
    let api = Api::shared();
    let made = api.post("/code-pools", json!({ "name": "Autumn", "low_stock_thresholds": [10, 100] })).await;
    assert_eq!(made.status, 201);
    let pool = made.id();
    assert_eq!(made.header("location"), format!("/api/v1/code-pools/{pool}"));
    assert_eq!(made.json["low_stock_thresholds"], json!([100, 10]));
    assert_eq!((&made.json["platform"], &made.json["status"]), (&json!("universal"), &json!("active")));
    let read = api.get(&format!("/code-pools/{pool}")).await;
    assert_eq!(read.json["counts"], json!({ "imported": 0, "claimed": 0, "redeemed": 0, "remaining": 0 }));
    let patch = |seen: &str, body: Value| {
        api.secret("PATCH", &format!("/code-pools/{pool}")).header("if-match", seen).json(body).send()
    };
    let changed = patch(read.header("etag"), json!({ "status": "paused" })).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    patch(read.header("etag"), json!({ "status": "active" })).await.is_problem(412, "precondition-failed");
    let blind = api.secret("PATCH", &format!("/code-pools/{pool}")).json(json!({ "status": "active" }));
    blind.send().await.is_problem(428, "precondition-required");
    patch("*", json!({ "platform": "ios" })).await.refuses("platform");
    patch("*", json!({ "reservation_seconds": 0 })).await.refuses("reservation_seconds");
    let eleven: Vec<u32> = (1..=11).collect();
    patch("*", json!({ "low_stock_thresholds": eleven })).await.refuses("low_stock_thresholds");
    patch("*", json!({ "stauts": "active" })).await.is_problem(422, "validation-failed");
    api.post("/code-pools", json!({})).await.refuses("name");
    assert!(api.all("/code-pools").await.iter().any(|listed| listed["id"] == pool.as_str()));
}

#[tokio::test]
async fn a_user_has_one_code_and_sees_it_again() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({}), &["FIRST-CODE-001", "SECOND-CODE-2"]).await;
    let ada = claim(&api, &pool, json!({ "user": "Ada.L+x@Gmail.com", "fingerprint": "phone" })).await;
    assert_eq!(ada.status, 201, "{}", ada.text);
    let code = ada.text_at("code");
    assert!(["FIRST-CODE-001", "SECOND-CODE-2"].contains(&code.as_str()));
    assert_eq!((ada.text_at("status"), ada.header("cache-control")), ("claimed".to_owned(), "no-store"));
    for header in ["ratelimit", "ratelimit-policy", "x-ratelimit-remaining"] {
        assert!(!ada.header(header).is_empty(), "{header}");
    }
    // Other spellings of the address, with a new or a used idempotency key, get the same code.
    for user in ["adal@gmail.com", "Ada.L+x@Gmail.com"] {
        for key in ["k1", "k2", "k2"] {
            let call = api
                .public("POST", &format!("/distribute/{pool}"))
                .header("idempotency-key", &format!("{key}{user}"));
            let again = call.json(json!({ "user": user })).send().await;
            assert_eq!((again.status.as_u16(), again.text_at("code")), (200, code.clone()), "{}", again.text);
            assert_eq!(again.json["claim_id"], ada.json["claim_id"]);
        }
    }
    let call =
        api.public("POST", &format!("/distribute/{pool}")).header("idempotency-key", "k2adal@gmail.com");
    call.json(json!({ "user": "bo" })).send().await.is_problem(422, "idempotency-key-reused");
    let bo = claim(&api, &pool, json!({ "user": "bo" })).await;
    assert_ne!(bo.text_at("code"), code);
    let cy = claim(&api, &pool, json!({ "user": "cy" })).await;
    cy.is_problem(409, "codes-exhausted");
    assert_eq!(claim(&api, &pool, json!({ "user": "bo" })).await.text_at("code"), bo.text_at("code"));
}

#[tokio::test]
async fn a_get_gives_nothing_away() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({}), &["THE-ONLY-CODE-1"]).await;
    for _ in 0..20 {
        let seen = api.public("GET", &format!("/distribute/{pool}")).send().await;
        assert_eq!(seen.json["available"], true, "{}", seen.text);
        assert!(!seen.text.contains("ONLY"), "{}", seen.text);
    }
    assert_eq!(claim(&api, &pool, json!({ "user": "ada" })).await.status, 201);
    let seen = api.public("GET", &format!("/distribute/{pool}")).send().await.ok();
    assert_eq!(seen["available"], false);
}

#[tokio::test]
async fn codes_are_masked_and_a_reveal_is_on_record() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({}), &["ABCDEFGHIJKLXYZ"]).await;
    let claimed = api.claim(&pool, "ada").await;
    let listed = api.get(&format!("/code-pools/{pool}/codes")).await;
    assert_eq!(listed.json["data"][0]["masked_code"], "ABC•••XYZ");
    let id = listed.json["data"][0]["id"].as_str().unwrap().to_owned();
    let claim_path = format!("/claims/{}", claimed.text_at("claim_id"));
    for path in [format!("/code-pools/{pool}/codes"), format!("/codes/{id}"), claim_path] {
        let shown = api.get(&path).await;
        assert!(shown.status == 200 && !shown.text.contains("DEFGHIJKL"), "{}", shown.text);
    }
    let revealed = api.post(&format!("/codes/{id}/reveal"), json!({})).await;
    assert_eq!((revealed.status.as_u16(), revealed.text_at("code")), (200, "ABCDEFGHIJKLXYZ".to_owned()));
    let log = api.get("/audit-log?limit=100").await.ok();
    let reveals = |log: &Value| {
        let entries = log["data"].as_array().unwrap().clone();
        entries
            .iter()
            .filter(|entry| entry["action"] == "code.revealed" && entry["target"] == id.as_str())
            .count()
    };
    assert_eq!(reveals(&log), 1);
    assert!(!log.to_string().contains("ABCDEFGHIJKLXYZ"));
    // A repetition with the same idempotency key reveals the code again, and the audit log has one entry for
    // both.
    for _ in 0..2 {
        let call =
            api.secret("POST", &format!("/codes/{id}/reveal")).header("idempotency-key", &format!("r{id}"));
        assert_eq!(call.json(json!({})).send().await.text_at("code"), "ABCDEFGHIJKLXYZ");
    }
    assert_eq!(reveals(&api.get("/audit-log?limit=100").await.ok()), 2);
    let public = api.public("POST", &format!("/codes/{id}/reveal")).json(json!({})).send().await;
    public.is_problem(403, "secret-key-required");
}

#[tokio::test]
async fn each_refusal_has_a_problem_of_its_own() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({ "platform": "ios" }), &["CODE-0001", "CODE-0002,universal"]).await;
    let set = |body: Value| {
        let path = format!("/code-pools/{pool}");
        let api = api.clone();
        async move { api.secret("PATCH", &path).header("if-match", "*").json(body).send().await.ok() }
    };
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    for (settings, status, slug) in [
        (json!({ "status": "paused" }), 409, "code-pool-paused"),
        (json!({ "status": "completed" }), 410, "code-pool-completed"),
        (json!({ "status": "active", "expires_at": past }), 410, "code-pool-expired"),
    ] {
        set(settings).await;
        claim(&api, &pool, json!({ "user": "ada" })).await.is_problem(status, slug);
        let seen = api.public("GET", &format!("/distribute/{pool}")).send().await.ok();
        assert_eq!(seen["available"], false, "{slug}");
    }
    set(json!({ "expires_at": null })).await;
    claim(&api, &pool, json!({ "user": "ada", "platform": "android" }))
        .await
        .is_problem(409, "wrong-platform");
    assert_eq!(claim(&api, &pool, json!({ "user": "ada", "platform": "ios" })).await.status, 201);
    assert_eq!(claim(&api, &pool, json!({ "user": "bo" })).await.status, 201);
    claim(&api, &pool, json!({ "user": "cy" })).await.is_problem(409, "codes-exhausted");
    // A user keeps a claimed code, whatever happens to the pool.
    set(json!({ "status": "completed" })).await;
    assert_eq!(claim(&api, &pool, json!({ "user": "ada" })).await.status, 200);
    let refused = api.post(&format!("/code-pools/{pool}/imports"), json!({})).await;
    refused.is_problem(410, "code-pool-completed");

    for (body, path) in [
        (json!({}), "user"),
        (json!({ "user": "" }), "user"),
        (json!({ "user": 7 }), "user"),
        (json!({ "user": "x".repeat(257) }), "user"),
        (json!({ "user": "a\u{0}b" }), "user"),
        (json!({ "user": "ada@example.com." }), "user"),
        (json!({ "user": "ada\u{200f}" }), "user"),
        (json!({ "user": "a", "platform": "windows" }), "platform"),
        (json!({ "user": "a", "reserve": 0 }), "reserve"),
        (json!({ "user": "a", "reserve": "yes" }), "reserve"),
        (json!({ "user": "a", "reserve": 1e9 }), "reserve"),
    ] {
        claim(&api, &pool, body).await.refuses(path);
    }
    // Cursors of other lists, and invalid cursors.
    for cursor in ["MXzDqQ", "MXxa", "MXxwb29sX3g"] {
        for list in ["codes", "imports", "events"] {
            let page = api.get(&format!("/code-pools/{pool}/{list}?cursor={cursor}")).await;
            assert_eq!(page.status, 200, "{list} {cursor}: {}", page.text);
        }
    }
    for call in [
        api.public("POST", "/distribute/pool_x").json(json!({ "user": "a" })),
        api.public("POST", "/claims/claim_x/confirm").json(json!({})),
        api.secret("GET", "/codes/code_x"),
        api.secret("GET", &format!("/code-pools/{pool}/imports/imp_x")),
    ] {
        call.send().await.is_problem(404, "not-found");
    }
}

#[tokio::test]
async fn only_allowed_pages_may_claim() {
    let api = Api::shared();
    let settings = json!({ "allowed_origins": ["https://shop.example.com"] });
    let pool = pool_of(&api, settings, &["CODE-0001"]).await;
    let from = |origin: &str| {
        let call = api.public("POST", &format!("/distribute/{pool}")).header("origin", origin);
        call.json(json!({ "user": "ada" })).send()
    };
    from("https://evil.example.com").await.is_problem(403, "origin-not-allowed");
    assert_eq!(from("https://shop.example.com").await.status, 201);
}

#[tokio::test]
async fn claims_are_limited_by_address_and_uploads_by_account() {
    let Some(api) = Api::another_account().await else { return };
    let limits = json!({ "limits": { "claims_per_ip_per_minute": 2, "uploads_per_minute": 2 } });
    let changed = api.secret("PATCH", "/account").json(limits).send().await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let pool = pool_of(&api, json!({}), &["CODE-0001", "CODE-0002", "CODE-0003"]).await;
    // The minute may end between two calls, so more calls than the limit may succeed.
    let mut refused = None;
    for n in 0..8 {
        let reply = claim(&api, &pool, json!({ "user": format!("u{n}") })).await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("at most two a minute");
    refused.is_problem(429, "rate-limited");
    assert!(!refused.header("retry-after").is_empty() && refused.header("x-ratelimit-limit") == "2");
    assert_eq!(api.claim(&pool, "by a server").await.status.as_u16() / 100, 2, "a secret key is not limited");
    let mut uploads = Vec::new();
    for _ in 0..6 {
        uploads.push(api.post(&format!("/code-pools/{pool}/imports"), json!({})).await);
    }
    assert!(uploads.iter().all(|reply| reply.status == 429 || !reply.header("ratelimit").is_empty()));
    uploads.last().unwrap().is_problem(429, "rate-limited");
}

#[tokio::test]
async fn platforms_are_kept_apart() {
    let api = Api::shared();
    let lines = ["I-0001,ios", "A-0001,android", "W-0001,web", "U-0001,universal", "U-0002"];
    let pool = pool_of(&api, json!({}), &lines).await;
    let get = |user: &'static str, platform: &'static str| {
        let api = api.clone();
        let pool = pool.clone();
        async move { claim(&api, &pool, json!({ "user": user, "platform": platform })).await }
    };
    // Codes for the requested platform are given before codes for all platforms.
    assert_eq!(get("a", "ios").await.text_at("code"), "I-0001");
    assert_eq!(get("b", "android").await.text_at("code"), "A-0001");
    assert!(get("c", "ios").await.text_at("code").starts_with("U-"));
    assert!(get("d", "universal").await.text_at("code").starts_with("U-"));
    get("e", "android").await.is_problem(409, "codes-exhausted");
    assert_eq!(get("f", "web").await.text_at("code"), "W-0001");
}

#[tokio::test]
async fn what_ends_soonest_goes_first_and_what_has_ended_never() {
    let api = Api::shared();
    let now = Timestamp::now();
    let at = |seconds: i64| (now + SignedDuration::from_secs(seconds)).to_string();
    let (soon, hour, day, year) = (at(3), at(3600), at(86_400), at(365 * 86_400));
    let lines = [
        format!("LAST-0001,,{year}"),
        "NEVER-0001".to_owned(),
        format!("SECOND-0001,,{day}"),
        format!("FIRST-0001,,{hour}"),
        format!("GONE-0001,,{soon}"),
    ];
    let pool = pool_of(&api, json!({}), &lines.each_ref().map(String::as_str)).await;
    eventually(|| async { (Timestamp::now() > now + SignedDuration::from_secs(4)).then_some(()) }).await;
    for (user, code) in [("a", "FIRST-0001"), ("b", "SECOND-0001"), ("c", "LAST-0001"), ("d", "NEVER-0001")] {
        let given = claim(&api, &pool, json!({ "user": user })).await;
        assert_eq!(given.text_at("code"), code);
    }
    claim(&api, &pool, json!({ "user": "e" })).await.is_problem(409, "codes-exhausted");
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let expired = codes.iter().filter(|code| code["status"] == "expired").count();
    assert_eq!((codes.len(), expired), (5, 1));
}

#[tokio::test]
async fn a_reservation_holds_a_code_and_does_not_show_it() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({ "reservation_seconds": 60 }), &["RESERVED-CODE-1"]).await;
    let reserved = claim(&api, &pool, json!({ "user": "ada", "reserve": true })).await;
    assert_eq!((reserved.status.as_u16(), reserved.text_at("status")), (201, "reserved".to_owned()));
    assert!(reserved.json["code"].is_null() && !reserved.text.contains("VED-CODE"), "{}", reserved.text);
    let until: Timestamp = reserved.text_at("reserved_until").parse().unwrap();
    assert!(until > Timestamp::now() && until < Timestamp::now() + SignedDuration::from_secs(61));
    let codes = api.get(&format!("/code-pools/{pool}/codes")).await.ok();
    assert_eq!(codes["data"][0]["status"], "reserved");
    claim(&api, &pool, json!({ "user": "bo" })).await.is_problem(409, "codes-exhausted");
    let again = claim(&api, &pool, json!({ "user": "ada", "reserve": 5 })).await;
    assert_eq!(
        (again.status.as_u16(), &again.json["reserved_until"]),
        (200, &reserved.json["reserved_until"])
    );

    // A page cannot reserve a code for longer than the pool's setting.
    let other = pool_of(&api, json!({ "reservation_seconds": 60 }), &["RESERVED-CODE-2"]).await;
    let long = claim(&api, &other, json!({ "user": "ada", "reserve": 86_400 })).await;
    let end: Timestamp = long.text_at("reserved_until").parse().unwrap();
    assert!(end < Timestamp::now() + SignedDuration::from_secs(61));

    let id = reserved.text_at("claim_id");
    let settle = |what: &str| api.public("POST", &format!("/claims/{id}/{what}")).json(json!({})).send();
    let released = settle("release").await;
    assert_eq!((released.status.as_u16(), released.text_at("status")), (200, "released".to_owned()));
    assert_eq!(settle("release").await.status, 200, "once more changes nothing");
    settle("confirm").await.is_problem(409, "reservation-lapsed");
    assert_eq!(claim(&api, &pool, json!({ "user": "bo", "reserve": true })).await.status, 201);
    claim(&api, &pool, json!({ "user": "ada" })).await.is_problem(409, "codes-exhausted");
}

#[tokio::test]
async fn a_confirmed_reservation_is_a_claim() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({}), &["CONFIRMED-CODE", "ASKED-FOR-CODE"]).await;
    let reserved = claim(&api, &pool, json!({ "user": "ada", "reserve": true })).await;
    // A pause does not affect existing reservations.
    let paused = api.secret("PATCH", &format!("/code-pools/{pool}")).header("if-match", "*");
    paused.json(json!({ "status": "paused" })).send().await.ok();
    let id = reserved.text_at("claim_id");
    let settle = |what: &str| api.public("POST", &format!("/claims/{id}/{what}")).json(json!({})).send();
    let confirmed = settle("confirm").await;
    assert_eq!((confirmed.status.as_u16(), confirmed.text_at("status")), (200, "claimed".to_owned()));
    assert_eq!(settle("confirm").await.text_at("code"), confirmed.text_at("code"));
    settle("release").await.is_problem(409, "claim-confirmed");
    let open = api.secret("PATCH", &format!("/code-pools/{pool}")).header("if-match", "*");
    open.json(json!({ "status": "active" })).send().await.ok();
    // A claim by a user with a reservation confirms the reservation.
    claim(&api, &pool, json!({ "user": "bo", "reserve": true })).await.ok();
    let asked = claim(&api, &pool, json!({ "user": "bo" })).await;
    assert_eq!((asked.status.as_u16(), asked.text_at("status")), (200, "claimed".to_owned()));
    assert_ne!(asked.text_at("code"), confirmed.text_at("code"));
    eventually(|| async { (counts(&api, &pool).await["claimed"] == 2).then_some(()) }).await;
}

/// A page can claim for any user that it names. A pool that must prevent this accepts claims from servers only.
#[tokio::test]
async fn a_pool_for_servers_gives_pages_nothing() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({ "claims": "server_only" }), &["SERVED-CODE-01", "SERVED-CODE-02"]).await;
    let given = api.claim(&pool, "ada").await;
    assert_eq!(given.status, 201, "{}", given.text);
    for body in [
        json!({ "user": "ada" }),
        json!({ "user": "ada", "reserve": true }),
        json!({ "user": "a stranger" }),
        json!({ "user": "a stranger", "reserve": 60 }),
    ] {
        let refused = claim(&api, &pool, body).await;
        refused.is_problem(403, "server-only");
        assert!(!refused.text.contains("SERVED") && !refused.text.contains("DED"), "{}", refused.text);
    }
    assert_eq!(counts(&api, &pool).await["remaining"], 1, "pages took nothing");
    // A page can no longer settle a reservation that it made before the pool was closed to pages.
    let set = async |claims: &str| {
        let call = api.secret("PATCH", &format!("/code-pools/{pool}")).header("if-match", "*");
        call.json(json!({ "claims": claims })).send().await.ok()
    };
    set("anyone").await;
    let reserved = claim(&api, &pool, json!({ "user": "bo", "reserve": true })).await;
    assert_eq!(reserved.status, 201, "{}", reserved.text);
    assert_eq!(set("server_only").await["claims"], "server_only");
    for step in ["confirm", "release"] {
        let path = format!("/claims/{}/{step}", reserved.text_at("claim_id"));
        api.public("POST", &path).json(json!({})).send().await.is_problem(403, "server-only");
    }
    let confirm = format!("/claims/{}/confirm", reserved.text_at("claim_id"));
    assert_eq!(api.post(&confirm, json!({})).await.text_at("status"), "claimed");
    let unknown = api.secret("PATCH", &format!("/code-pools/{pool}")).header("if-match", "*");
    unknown.json(json!({ "claims": "nobody" })).send().await.refuses("claims");
}

/// In any pool, a page can neither see nor change a code that a server claimed or reserved.
#[tokio::test]
async fn what_a_server_reserves_or_claims_no_page_gets() {
    let api = Api::shared();
    let lines = ["SERVER-CODE-01", "SERVER-CODE-02", "SERVER-CODE-03"];
    let pool = pool_of(&api, json!({}), &lines).await;
    let distribute = format!("/distribute/{pool}");
    let settle = async |claim: &str, step: &str| {
        api.public("POST", &format!("/claims/{claim}/{step}")).json(json!({})).send().await
    };
    let status = async |claim: &str| api.get(&format!("/claims/{claim}")).await.ok()["status"].clone();
    let reserved = api.post(&distribute, json!({ "user": "ada", "reserve": 600 })).await.text_at("claim_id");
    // A page that reserved first loses control once the server continues with the reservation.
    let first = claim(&api, &pool, json!({ "user": "bo", "reserve": 5 })).await.text_at("claim_id");
    let taken = api.post(&distribute, json!({ "user": "bo", "reserve": 600 })).await;
    assert_eq!((taken.status.as_u16(), taken.text_at("claim_id")), (200, first.clone()));
    // The duration is the server's, not the page's.
    let until: Timestamp = taken.text_at("reserved_until").parse().unwrap();
    assert!(until > Timestamp::now() + SignedDuration::from_secs(500), "{until}");
    for (user, id) in [("ada", &reserved), ("bo", &first)] {
        for step in ["confirm", "release"] {
            settle(id, step).await.is_problem(403, "server-only");
        }
        for body in [json!({ "user": user }), json!({ "user": user, "reserve": true })] {
            let refused = claim(&api, &pool, body).await;
            refused.is_problem(403, "server-only");
            assert!(!refused.text.contains("SER•"), "not even masked: {}", refused.text);
        }
        assert_eq!(status(id).await, "reserved", "the page changed nothing");
    }
    // A confirmed or claimed code is still shown to the server only.
    assert_eq!(
        api.post(&format!("/claims/{reserved}/confirm"), json!({})).await.text_at("status"),
        "claimed"
    );
    let given = api.claim(&pool, "cy").await.text_at("claim_id");
    for (user, id) in [("ada", &reserved), ("cy", &given)] {
        claim(&api, &pool, json!({ "user": user })).await.is_problem(403, "server-only");
        settle(id, "confirm").await.is_problem(403, "server-only");
    }
    assert_eq!(api.claim(&pool, "ada").await.status, 200, "the server sees it again");
    // A page can confirm its own reservation.
    assert_eq!(api.post(&format!("/claims/{first}/release"), json!({})).await.text_at("status"), "released");
    let own = claim(&api, &pool, json!({ "user": "di", "reserve": true })).await.text_at("claim_id");
    assert_eq!(settle(&own, "confirm").await.text_at("status"), "claimed");
}

#[tokio::test]
async fn a_lapsed_reservation_returns_to_the_pool() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({}), &["LAPSING-CODE"]).await;
    let ada = claim(&api, &pool, json!({ "user": "ada", "reserve": 5 })).await;
    claim(&api, &pool, json!({ "user": "bo" })).await.is_problem(409, "codes-exhausted");
    let bo = eventually(|| async {
        let reply = claim(&api, &pool, json!({ "user": "bo" })).await;
        (reply.status == 201).then_some(reply)
    })
    .await;
    assert_eq!(bo.text_at("code"), "LAPSING-CODE");
    let confirm = format!("/claims/{}/confirm", ada.text_at("claim_id"));
    api.public("POST", &confirm).json(json!({})).send().await.is_problem(409, "reservation-lapsed");
    claim(&api, &pool, json!({ "user": "ada" })).await.is_problem(409, "codes-exhausted");
}

#[tokio::test]
async fn a_code_is_redeemed_once() {
    let api = Api::shared();
    let pool = pool_of(&api, json!({}), &["TILL-CODE-01", "TILL-CODE-02"]).await;
    let claimed = api.claim(&pool, "ada").await.text_at("code");
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let id_of = |status: &str| {
        let code = codes.iter().find(|code| code["status"] == status).unwrap();
        code["id"].as_str().unwrap().to_owned()
    };
    let (taken, free) = (id_of("claimed"), id_of("available"));
    assert_eq!(api.post(&format!("/codes/{taken}/reveal"), json!({})).await.text_at("code"), claimed);
    let redeem = |id: &str| {
        let api = api.clone();
        let path = format!("/codes/{id}/redeem");
        async move { api.post(&path, json!({})).await }
    };
    redeem(&free).await.is_problem(409, "code-not-claimed");
    let tills = futures_util::future::join_all((0..8).map(|_| redeem(&taken))).await;
    assert_eq!(tills.iter().filter(|reply| reply.status == 200).count(), 1);
    for refused in tills.iter().filter(|reply| reply.status != 200) {
        refused.is_problem(409, "code-redeemed");
    }
    eventually(|| async { (counts(&api, &pool).await["redeemed"] == 1).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn low_stock_is_said_once_for_each_threshold_and_replays_change_no_number() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), true, Faults::default()).await else { return };
    let api = Api::new(running.credentials.clone());
    let lines: Vec<String> = (0..20).map(|n| format!("STOCK-{n:04}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let pool = pool_of(&api, json!({ "low_stock_thresholds": [15, 5, 0] }), &lines).await;
    let claims = (0..20).map(|n| {
        let (api, pool) = (api.clone(), pool.clone());
        async move { api.claim(&pool, &format!("u{n}")).await.ok() }
    });
    futures_util::future::join_all(claims).await;
    let low = || async {
        let events = api.all(&format!("/code-pools/{pool}/events")).await;
        let low = events.into_iter().filter(|event| event["type"] == "code_pool.low_stock");
        low.map(|event| event["data"]["threshold"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    eventually(|| async { (counts(&api, &pool).await["claimed"] == 20).then_some(()) }).await;
    let said = low().await;
    assert_eq!((said.len(), said.iter().copied().collect::<BTreeSet<_>>()), (3, BTreeSet::from([0, 5, 15])));
    // The whole stream once more, backwards and in other batches.
    let records = running.stream_records().await.unwrap();
    for batch in records.chunks(7).rev() {
        let answer = running.invoke("ProjectorFunction", json!({ "Records": batch })).await.unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]));
    }
    let expected = json!({ "imported": 20, "claimed": 20, "redeemed": 0, "remaining": 0 });
    assert_eq!((counts(&api, &pool).await, low().await.len()), (expected, 3));
    // The stock is filled up and exhausted again, which causes another event.
    api.import(&pool, "code\nMORE-0001\n").await;
    api.claim(&pool, "one more").await.ok();
    eventually(|| async { (low().await.len() == 4).then_some(()) }).await;
}

#[tokio::test]
async fn codes_used_long_ago_move_into_a_file_and_stay_their_users() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let now = Timestamp::now();
    let days = |days: i64| now - SignedDuration::from_hours(days * 24);
    let old = claim_at(running, &api, &pool, "old", days(31)).await;
    let young = claim_at(running, &api, &pool, "young", days(29)).await;
    let text = api.claim(&pool, "old").await.text_at("code");
    running.invoke("JobsFunction", json!({ "schedule": "archive_codes" })).await.unwrap();
    let read = async |id: &ClaimId| {
        codes::claims::read(&running.table, &api.credentials.account_id, id).await.unwrap().unwrap()
    };
    let archived = eventually(|| async { Some(read(&old).await).filter(|claim| claim.code.is_none()) }).await;
    assert!(read(&young).await.code.is_some());
    let place = archived.archived.unwrap();
    let line = running.bucket.read(&place.object, place.offset, place.length).await.unwrap();
    let line = String::from_utf8(line).unwrap();
    assert!(line.starts_with(&format!("{text},")) && !line.contains('\n'), "{line}");
    // The user keeps an archived code. The code is masked, revealed and deduplicated at imports as before.
    assert_eq!(api.claim(&pool, "old").await.text_at("code"), text);
    let reveal = format!("/codes/{}/reveal", archived.code_id);
    assert_eq!(api.post(&reveal, json!({})).await.text_at("code"), text);
    let again = api.import(&pool, format!("code\n{text}\n")).await;
    assert_eq!((&again["added"], &again["duplicates"]), (&json!(0), &json!(1)));
    eventually(|| async { (counts(&api, &pool).await["claimed"] == 2).then_some(()) }).await;
}

#[tokio::test]
async fn a_deleted_pool_leaves_nothing_behind() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let pool = pool_of(&api, json!({}), &["GOING-0001", "GOING-0002", "GOING-0003"]).await;
    api.import(&pool, "nonsense\n").await;
    let claim = api.claim(&pool, "ada").await;
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let deleted = api.secret("DELETE", &format!("/code-pools/{pool}")).send().await;
    assert_eq!(deleted.status, 202);
    api.claim(&pool, "bo").await.is_problem(404, "not-found");
    scenarios::patiently(std::time::Duration::from_secs(60), || async {
        (api.get(&format!("/code-pools/{pool}")).await.status == 404).then_some(())
    })
    .await;
    for id in codes.iter().map(|code| code["id"].as_str().unwrap()) {
        api.get(&format!("/codes/{id}")).await.is_problem(404, "not-found");
    }
    api.get(&format!("/claims/{}", claim.text_at("claim_id"))).await.is_problem(404, "not-found");
    let pool: CodePoolId = pool.parse().unwrap();
    assert!(codes::claims::shelf(&running.table, &pool).await.unwrap().is_none());
    assert!(codes::imports::list(&running.table, &pool, None, 10).await.unwrap().data.is_empty());
    for folder in ["imports", "reports", "archive"] {
        let list = running.bucket.client().list_objects_v2().bucket(&running.bucket.name);
        let left = list.prefix(format!("{folder}/{pool}/")).send().await.unwrap();
        assert_eq!(left.contents().len(), 0, "{folder}");
    }
}

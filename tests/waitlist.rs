//! Waitlists: settings, slugs, ETags, pagination, deletion.

use scenarios::{Api, address, eventually, unique};
use serde_json::{Value, json};

#[tokio::test]
async fn a_waitlist_reads_back_as_it_was_set() {
    let api = Api::shared();
    let settings = json!({
        "name": "Aurora", "slug": format!("aurora-{}", unique()), "status": "draft", "locale": "pt-BR",
        "branding": { "logo_url": "https://example.com/a.png", "primary_color": "#ff8800", "headline": "Soon", "description": null },
        "allowed_origins": ["https://example.com"], "verification_policy": "double_opt_in",
        "email_policy": "block", "places_per_referral": 7, "capacity": 1000,
        "reward_tiers": [{ "referrals": 3, "name": "Sticker" }, { "referrals": 10, "name": "Shirt", "reward": "A shirt" }],
        "page_url": "https://example.com/?utm=x",
    });
    let created = api.post("/waitlists", settings.clone()).await;
    assert_eq!((created.status.as_u16(), created.header("etag")), (201, "\"1\""));
    assert_eq!(created.header("location"), format!("/api/v1/waitlists/{}", created.id()));
    let read = api.get(&format!("/waitlists/{}", created.id())).await;
    for (name, value) in settings.as_object().unwrap() {
        assert_eq!(&read.json[name], value, "{name}");
    }
    let counts =
        json!({ "pending": 0, "active": 0, "invited": 0, "converted": 0, "in_line": 0, "referrals": 0 });
    assert_eq!(read.json["counts"], counts);
}

#[tokio::test]
async fn a_slug_is_unique_in_its_account_only() {
    let api = Api::shared();
    let slug = format!("slug-{}", unique());
    let make = |api: &Api| {
        let api = api.clone();
        let slug = slug.clone();
        async move { api.post("/waitlists", json!({ "name": "x", "slug": slug })).await }
    };
    let (one, two) = tokio::join!(make(&api), make(&api));
    let (winner, loser) = if one.status == 201 { (one, two) } else { (two, one) };
    assert_eq!(winner.status, 201);
    loser.is_problem(409, "slug-taken");
    if let Some(other) = Api::another_account().await {
        assert_eq!(make(&other).await.status, 201);
    }
    // A slug that is derived from the name and already taken gets another form.
    let name = format!("Same {}", unique());
    for _ in 0..3 {
        assert_eq!(api.post("/waitlists", json!({ "name": name })).await.status, 201);
    }
    // A change of the slug frees the old one.
    let path = format!("/waitlists/{}", winner.id());
    let moved = json!({ "slug": format!("moved-{}", unique()) });
    let patched = api.secret("PATCH", &path).header("if-match", "\"1\"").json(moved).send().await;
    assert_eq!(patched.status, 200, "{}", patched.text);
    assert_eq!(make(&api).await.status, 201);
    let back = json!({ "slug": slug });
    let taken = api.secret("PATCH", &path).header("if-match", "\"2\"").json(back).send().await;
    taken.is_problem(409, "slug-taken");
}

#[tokio::test]
async fn nobody_overwrites_what_they_have_not_seen() {
    let api = Api::shared();
    let path = format!("/waitlists/{}", api.waitlist(json!({})).await);
    let patch = |tag: Option<&str>, body: Value| {
        let call = api.secret("PATCH", &path);
        let call = if let Some(tag) = tag { call.header("if-match", tag) } else { call };
        call.json(body).send()
    };
    patch(None, json!({ "name": "x" })).await.is_problem(428, "precondition-required");
    let first = patch(Some("\"1\""), json!({ "name": "first" })).await;
    assert_eq!((first.status.as_u16(), first.header("etag")), (200, "\"2\""));
    patch(Some("\"1\""), json!({ "name": "second" })).await.is_problem(412, "precondition-failed");
    patch(Some("W/\"2\""), json!({ "name": "second" })).await.is_problem(412, "precondition-failed");
    // One of several concurrent changes succeeds.
    let attempts = (0..8).map(|n| patch(Some("\"2\""), json!({ "name": format!("n{n}") })));
    let replies = futures_util::future::join_all(attempts).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.is_problem(412, "precondition-failed");
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_resets() {
    let api = Api::shared();
    let id = api
        .waitlist(json!({ "capacity": 5, "branding": { "headline": "Hi", "primary_color": "#000000" } }))
        .await;
    let patch = |body: Value| {
        api.secret("PATCH", &format!("/waitlists/{id}")).header("if-match", "*").json(body).send()
    };
    let changed = patch(json!({ "branding": { "headline": null }, "capacity": null })).await.ok();
    assert_eq!(changed["branding"]["primary_color"], "#000000");
    assert!(changed["branding"]["headline"].is_null() && changed["capacity"].is_null());
    patch(json!({ "branding": { "primary_color": "red" } })).await.refuses("branding.primary_color");
    patch(json!({ "name": null })).await.refuses("name");
    patch(json!([1])).await.refuses("");
    let put = api.secret("PUT", &format!("/waitlists/{id}")).header("if-match", "*");
    let replaced = put.json(json!({ "name": "Fresh" })).send().await.ok();
    assert!(replaced["branding"]["primary_color"].is_null());
    assert_eq!(replaced["slug"], changed["slug"]);
}

#[tokio::test]
async fn lists_go_page_by_page() {
    let Some(api) = Api::another_account().await else { return };
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(api.waitlist(json!({})).await);
    }
    let listed = eventually(|| async {
        let all = api.all("/waitlists").await;
        (all.len() == 5).then_some(all)
    });
    let ids: Vec<_> = listed.await.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, made, "oldest first");
    let first = api.get("/waitlists?limit=2").await.ok();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.get(&format!("/waitlists?limit=2&cursor={cursor}")).await.ok();
    assert_eq!(second["data"][0]["id"], made[2].as_str());
}

#[tokio::test]
async fn a_page_sees_what_it_needs_and_no_more() {
    let api = Api::shared();
    let id = api.waitlist(json!({ "allowed_origins": ["https://a.example"] })).await;
    let path = format!("/waitlists/{id}/public");
    let page = api.public("GET", &path).header("origin", "https://a.example").send().await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("access-control-allow-origin"), "https://a.example");
    assert!(page.json.get("allowed_origins").is_none() && page.json.get("capacity").is_none());
    assert!(page.header("cache-control").contains("max-age"));

    let refused = api.public("GET", &path).header("origin", "https://b.example").send().await;
    refused.is_problem(403, "origin-not-allowed");
    assert_eq!(refused.header("access-control-allow-origin"), "");
    let join = json!({ "waitlist_id": id, "email": address("x"), "consent": true });
    let refused =
        api.public("POST", "/subscribers").header("origin", "https://b.example").json(join).send().await;
    refused.is_problem(403, "origin-not-allowed");
    assert_eq!(api.public("GET", &path).send().await.status, 200, "a server has no origin");

    // A preflight request carries no key.
    let preflight = api.call("OPTIONS", &path).header("origin", "https://a.example").send().await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "https://a.example");
    assert!(preflight.header("access-control-allow-headers").contains("Idempotency-Key"));
}

#[tokio::test]
async fn only_an_open_waitlist_is_joined_and_a_full_one_is_full() {
    let api = Api::shared();
    for status in ["draft", "closed", "launched"] {
        let id = api.waitlist(json!({ "status": status })).await;
        api.join(&id, &address("x"), None).await.is_problem(409, "waitlist-not-open");
    }
    let id = api.waitlist(json!({ "capacity": 3 })).await;
    let joins = (0..10).map(|n| {
        let (api, id) = (api.clone(), id.clone());
        async move { api.join(&id, &address(&format!("p{n}")), None).await }
    });
    let replies = futures_util::future::join_all(joins).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 3);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.is_problem(409, "waitlist-full");
    }
    // An erased subscriber frees a seat.
    let gone = replies.iter().find(|reply| reply.status == 201).unwrap().id();
    api.secret("DELETE", &format!("/subscribers/{gone}")).send().await;
    eventually(|| async { (api.join(&id, &address("late"), None).await.status == 201).then_some(()) }).await;
}

#[tokio::test]
async fn a_deleted_waitlist_is_gone_with_everybody_on_it() {
    let api = Api::shared();
    let slug = format!("doomed-{}", unique());
    let id = api.waitlist(json!({ "slug": slug })).await;
    let email = address("ada");
    let ada = api.join(&id, &email, None).await;
    let bo = api.join(&id, &address("bo"), Some(&ada.text_at("referral_code"))).await;
    let path = format!("/waitlists/{id}");
    let unseen = api.secret("DELETE", &path).header("if-match", "\"99\"").send().await;
    unseen.is_problem(412, "precondition-failed");
    for _ in 0..2 {
        let accepted = api.secret("DELETE", &path).send().await;
        assert_eq!(
            (accepted.status.as_u16(), accepted.header("location")),
            (202, format!("/api/v1{path}").as_str())
        );
    }
    assert_eq!(api.get(&path).await.ok()["deleting"], true);
    api.join(&id, &address("late"), None).await.is_problem(409, "waitlist-not-open");
    let patch = api.secret("PATCH", &path).header("if-match", "*").json(json!({ "name": "x" })).send().await;
    patch.is_problem(409, "waitlist-deleting");
    eventually(|| async { (api.get(&path).await.status == 404).then_some(()) }).await;
    for gone in [ada.id(), bo.id()] {
        api.get(&format!("/subscribers/{gone}")).await.is_problem(404, "not-found");
    }
    assert_eq!(api.post("/waitlists", json!({ "name": "x", "slug": slug })).await.status, 201);
}

#[tokio::test]
async fn a_deletion_goes_on_wherever_it_was_cut_off() {
    let Some(platform) = scenarios::embedded() else { return };
    let api = Api::shared();
    let id = api.waitlist(json!({})).await;
    let mut people = vec![api.join(&id, &address("ada"), None).await];
    for _ in 0..20 {
        let code = people[0].text_at("referral_code");
        people.push(api.join(&id, &address("friend"), Some(&code)).await);
    }
    assert_eq!(api.secret("DELETE", &format!("/waitlists/{id}")).send().await.status, 202);
    // The job is delivered several times at once, and some deliveries are aborted halfway.
    let body = json!({ "kind": "delete_waitlist", "waitlist_id": id }).to_string();
    let event = json!({ "Records": [{
        "messageId": "m1", "receiptHandle": "r", "body": body, "attributes": {}, "messageAttributes": {},
        "md5OfBody": "", "eventSource": "aws:sqs", "eventSourceARN": "arn", "awsRegion": "us-east-1",
    }] });
    let deliveries = (1..=6).map(|n| {
        let delivery = platform.invoke("JobsFunction", event.clone());
        tokio::time::timeout(std::time::Duration::from_millis(15 * n), delivery)
    });
    futures_util::future::join_all(deliveries).await;
    eventually(|| async { (api.get(&format!("/waitlists/{id}")).await.status == 404).then_some(()) }).await;
    for person in &people {
        let subscriber = person.id();
        api.get(&format!("/subscribers/{subscriber}")).await.is_problem(404, "not-found");
        let referral = subscriber.replace("sub_", "ref_");
        api.post(&format!("/referrals/{referral}/revoke"), json!({})).await.is_problem(404, "not-found");
    }
}

#[tokio::test]
async fn an_idempotent_creation_happens_once() {
    let api = Api::shared();
    let key = format!("create-{}", unique());
    let create =
        |body: Value| api.secret("POST", "/waitlists").header("idempotency-key", &key).json(body).send();
    let body = json!({ "name": "Once", "slug": format!("once-{}", unique()) });
    let replies = futures_util::future::join_all((0..8).map(|_| create(body.clone()))).await;
    for reply in &replies {
        assert_eq!((reply.status.as_u16(), &reply.text), (201, &replies[0].text));
    }
    create(json!({ "name": "Other" })).await.is_problem(422, "idempotency-key-reused");
    let bad =
        api.secret("POST", "/waitlists").header("idempotency-key", &"x".repeat(256)).json(body).send().await;
    bad.refuses("Idempotency-Key");
}

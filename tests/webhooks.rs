//! Webhooks: which endpoints get which events, signatures, retries, and forbidden addresses.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::network::Networks;
use futures_util::{StreamExt, future::join_all, stream};
use groundswell::{Platform, faults::Faults};
use jiff::{SignedDuration, Timestamp};
use scenarios::{
    Api, Owned, Reply as Answer, address, eventually, in_flight, patiently, platform,
    receiver::{Receiver, Reply},
    server::Request,
};
use serde_json::{Value, json};
use webhook_sender::WebhookSender;
use webhooks::{
    Target,
    webhook::{Attempt, Delivery, EndpointUrl, WebhookEndpoint},
};

pub async fn owned(api: &Api) -> Vec<Owned> {
    // No server listens there. One attempt is enough.
    let endpoint = api.post("/webhook-endpoints", json!({ "url": "http://127.0.0.1:9/" })).await.id();
    let delivery = api.post(&format!("/webhook-endpoints/{endpoint}/test"), json!({})).await.id();
    let change = json!({ "url": "https://example.com/mine-now" });
    vec![
        Owned { change, ..Owned::new("webhook-endpoints", endpoint) },
        Owned::new("deliveries", delivery),
    ]
}

/// Creates an endpoint at the receiver for these types of events, or for all if none is named. Returns its id and
/// its secret.
async fn endpoint(api: &Api, receiver: &Receiver, types: &[&str]) -> (String, String) {
    let made = api.post("/webhook-endpoints", json!({ "url": receiver.url, "event_types": types })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    (made.id(), made.text_at("secret"))
}

/// Waits until the receiver has at least `count` requests of this type, and returns them.
async fn told(receiver: &Receiver, kind: &str, count: usize) -> Vec<Request> {
    eventually(|| async { Some(receiver.told_of(kind)).filter(|told| told.len() >= count) }).await
}

/// Waits until at least `count` deliveries to an endpoint have the wanted status. Returns them, newest first.
async fn deliveries(api: &Api, endpoint: &str, count: usize, wanted: &str) -> Vec<Value> {
    let path = format!("/webhook-endpoints/{endpoint}/deliveries");
    patiently(Duration::from_secs(60), || async {
        let all = api.all(&path).await;
        let found: Vec<_> = all.into_iter().filter(|delivery| delivery["status"] == wanted).collect();
        (found.len() >= count).then_some(found)
    })
    .await
}

/// Waits until the newest delivery to an endpoint has been attempted, and returns it.
async fn tried(api: &Api, endpoint: &str) -> Value {
    eventually(|| async {
        let found = api.all(&format!("/webhook-endpoints/{endpoint}/deliveries")).await.remove(0);
        (found["attempts"] != json!([])).then_some(found)
    })
    .await
}

async fn test_message(api: &Api, endpoint: &str) -> String {
    let asked = api.post(&format!("/webhook-endpoints/{endpoint}/test"), json!({})).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    asked.id()
}

async fn patch(api: &Api, endpoint: &str, patch: Value) -> Answer {
    let path = format!("/webhook-endpoints/{endpoint}");
    let seen = api.get(&path).await.header("etag").to_owned();
    api.secret("PATCH", &path).header("if-match", &seen).json(patch).send().await
}

#[tokio::test]
async fn an_endpoint_is_told_of_what_it_wants_signed_as_the_specification_says() {
    let (Some(api), Some(stranger)) = (Api::another_account().await, Api::another_account().await) else {
        return;
    };
    let (some, all, strangers) =
        (Receiver::willing().await, Receiver::willing().await, Receiver::willing().await);
    let (id, secret) = endpoint(&api, &some, &["subscriber.joined", "referral.credited"]).await;
    endpoint(&api, &all, &[]).await;
    let (_, other_secret) = endpoint(&stranger, &strangers, &[]).await;

    let waitlist = api.waitlist(json!({ "reward_tiers": [{ "referrals": 1, "name": "x" }] })).await;
    let ada = api.join(&waitlist, &address("ada"), None).await;
    let bo = api.join(&waitlist, &address("bo"), Some(&ada.text_at("referral_code"))).await;
    let joined = told(&some, "subscriber.joined", 2).await;
    let credited = told(&some, "referral.credited", 1).await.remove(0);
    told(&all, "reward.issued", 1).await;
    assert!(some.told_of("reward.issued").is_empty());

    for request in joined.iter().chain([&credited]) {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook"));
        assert_eq!(request.header("content-type"), "application/json");
        assert!(request.header("user-agent").starts_with("Groundswell-Webhooks/"));
        assert!(request.is_signed_by(&secret) && !request.is_signed_by(&other_secret));
        let body = request.json();
        assert_eq!(body["id"], request.header("webhook-id"));
        assert_eq!(body["version"], 1);
        let at: Timestamp = body["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(Timestamp::now().duration_since(at) < SignedDuration::from_mins(1));
        let mut tampered = request.clone();
        tampered.body = request.body.replace(&waitlist, "wl_another");
        assert!(!tampered.is_signed_by(&secret));
    }
    let referral = bo.id().replace("sub_", "ref_");
    let expected = json!({ "waitlist_id": waitlist, "subscriber_id": ada.id(), "referral_id": referral });
    assert_eq!(credited.json()["data"], expected);

    let log = deliveries(&api, &id, 3, "delivered").await;
    let logged: BTreeSet<_> = log.iter().map(|delivery| delivery["event_id"].as_str().unwrap()).collect();
    assert!(logged.contains(credited.header("webhook-id")) && logged.len() == 3);
    for delivery in &log {
        assert_eq!(delivery["webhook_endpoint_id"], id.as_str());
        assert_eq!(delivery["next_attempt_at"], Value::Null);
        let [attempt] = &delivery["attempts"].as_array().unwrap()[..] else { panic!("{delivery}") };
        assert_eq!((&attempt["status_code"], &attempt["response"]), (&json!(200), &json!("noted")));
        let alone = api.get(&format!("/deliveries/{}", delivery["id"].as_str().unwrap())).await.ok();
        assert_eq!(alone, *delivery);
    }
    // Another account gets only the events of its own waitlist, and no event is delivered twice.
    let theirs = stranger.waitlist(json!({})).await;
    stranger.join(&theirs, &address("eve"), None).await.ok();
    told(&strangers, "subscriber.joined", 1).await;
    assert!(strangers.told().iter().all(|request| request.json()["data"]["waitlist_id"] == theirs.as_str()));
    assert!(some.ids().values().chain(all.ids().values()).all(|times| *times == 1));
}

/// Events of each type have the documented content.
#[tokio::test]
async fn what_comes_is_what_the_document_shows() {
    let Some(api) = Api::another_account().await else { return };
    let receiver = Receiver::willing().await;
    endpoint(&api, &receiver, &[]).await;
    let waitlist = api.waitlist(json!({})).await;
    let ada = api.join(&waitlist, &address("ada"), None).await;
    let bo = api.join(&waitlist, &address("bo"), Some(&ada.text_at("referral_code"))).await;
    eventually(|| async { (api.position(&ada.id()).await["position"] == 1).then_some(()) }).await;
    let feature = api.post("/features", json!({ "waitlist_id": waitlist, "title": "x" })).await.id();
    let own = |method: &str, path: &str| {
        api.public(method, path).header("x-subscriber-token", &ada.text_at("token"))
    };
    own("POST", &format!("/features/{feature}/vote")).json(json!({})).send().await.ok();
    let comment =
        own("POST", "/comments").json(json!({ "feature_id": feature, "text": "x" })).send().await.id();
    let verdict = api.secret("PUT", &format!("/comments/{comment}/moderate"));
    verdict.json(json!({ "status": "approved" })).send().await.ok();
    let referral = bo.id().replace("sub_", "ref_");
    eventually(|| async {
        api.post(&format!("/referrals/{referral}/revoke"), json!({})).await.status.is_success().then_some(())
    })
    .await;
    api.post(&format!("/waitlists/{waitlist}/invitations"), json!({ "subscriber_ids": [ada.id()] }))
        .await
        .ok();
    let pool = api.pool(json!({ "low_stock_thresholds": [1] })).await;
    api.import(&pool, "code\nONE\nTWO\n").await;
    api.claim(&pool, "ada").await.ok();
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let claimed = codes.iter().find(|code| code["status"] == "claimed").unwrap();
    api.post(&format!("/codes/{}/redeem", claimed["id"].as_str().unwrap()), json!({})).await.ok();
    let program = api.program(json!({ "stamps_required": 1, "milestones": [1] })).await;
    let customer = api.customer(&program).await;
    let given = api.post("/stamps", json!({ "program_id": program, "customer_id": customer })).await;
    assert_eq!(given.status, 201, "{}", given.text);
    assert_eq!(api.secret("DELETE", &format!("/stamps/{}", given.id())).send().await.status, 200);

    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/webhooks.md")).unwrap();
    for kind in [
        "subscriber.joined",
        "subscriber.invited",
        "referral.credited",
        "referral.revoked",
        "feature.voted",
        "comment.posted",
        "comment.approved",
        "import.completed",
        "code.claimed",
        "code.redeemed",
        "code_pool.low_stock",
        "customer.enrolled",
        "stamp.given",
        "stamp.voided",
        "milestone.reached",
        "card_reward.issued",
        "card_reward.withdrawn",
    ] {
        let came = told(&receiver, kind, 1).await.remove(0).json();
        let (_, section) = document.split_once(&format!("\n### {kind}\n")).unwrap();
        let example = section.split("```json\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
        let example: Value = serde_json::from_str(example).unwrap();
        let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&came), fields(&example), "{came}");
        assert_eq!(fields(&came["data"]), fields(&example["data"]), "{came}");
        for (field, value) in came["data"].as_object().unwrap() {
            let prefix =
                |value: &Value| value.as_str().and_then(|id| id.split('_').next()).map(str::to_owned);
            assert_eq!(prefix(value), prefix(&example["data"][field]), "{field} of {came}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_changes_with_an_overlap() {
    let Some(api) = Api::another_account().await else { return };
    let receiver = Receiver::willing().await;
    let body = json!({ "url": receiver.url, "description": "Our shop" });
    let once = || {
        api.secret("POST", "/webhook-endpoints").header("idempotency-key", "one").json(body.clone()).send()
    };
    let made = once().await;
    let (id, first) = (made.id(), made.text_at("secret"));
    assert_eq!(made.header("location"), format!("/api/v1/webhook-endpoints/{id}"));
    let again = once().await;
    assert_eq!((again.status.as_u16(), again.id()), (201, id.clone()));
    let path = format!("/webhook-endpoints/{id}");
    let listed = api.get("/webhook-endpoints").await.ok();
    for shown in [&again.json, &api.get(&path).await.json, &listed["data"][0]] {
        assert_eq!(shown["secret"], Value::Null);
        assert_eq!(
            (&shown["id"], &shown["status"], &shown["description"]),
            (&json!(id), &json!("enabled"), &json!("Our shop"))
        );
    }
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);

    let rotate = async |overlap: u32| {
        let rotated = api.post(&format!("{path}/rotate-secret"), json!({ "overlap_seconds": overlap })).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text);
        rotated.text_at("secret")
    };
    let second = rotate(3600).await;
    test_message(&api, &id).await;
    let request = told(&receiver, "webhook.test", 1).await.remove(0);
    assert_eq!(request.header("webhook-signature").split(' ').count(), 2);
    assert!(request.is_signed_by(&first) && request.is_signed_by(&second) && first != second);
    let third = rotate(0).await;
    test_message(&api, &id).await;
    let request = told(&receiver, "webhook.test", 2).await.remove(1);
    assert!(request.is_signed_by(&third) && !request.is_signed_by(&second) && !request.is_signed_by(&first));
    api.post(&format!("{path}/rotate-secret"), json!({ "overlap_seconds": 604_801 }))
        .await
        .refuses("overlap_seconds");
    let entries = api.all("/audit-log").await;
    let actions: Vec<_> = entries.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(
        actions[..5],
        ["tested", "secret_rotated", "tested", "secret_rotated", "created"]
            .map(|action| format!("webhook_endpoint.{action}"))
    );
    assert!(!entries.iter().any(|entry| entry.to_string().contains("whsec")));
}

#[tokio::test]
async fn an_endpoint_is_made_changed_and_removed() {
    let Some(api) = Api::another_account().await else { return };
    let receiver = Receiver::willing().await;
    let (id, _) = endpoint(&api, &receiver, &["code.claimed", "code.claimed", "code.redeemed"]).await;
    let path = format!("/webhook-endpoints/{id}");
    let made = api.get(&path).await;
    assert_eq!(made.json["event_types"], json!(["code.claimed", "code.redeemed"]));
    api.secret("PATCH", &path).json(json!({})).send().await.is_problem(428, "precondition-required");
    let stale = api.secret("PATCH", &path).header("if-match", "\"9\"").json(json!({})).send().await;
    stale.is_problem(412, "precondition-failed");
    let changed =
        patch(&api, &id, json!({ "event_types": [], "description": "All", "status": "disabled" })).await.ok();
    assert_eq!((&changed["status"], &changed["disabled_reason"]), (&json!("disabled"), &json!("requested")));
    assert_eq!((&changed["event_types"], &changed["url"]), (&json!([]), &json!(receiver.url)));

    // A disabled endpoint gets no events, and test messages to it are refused.
    api.post(&format!("{path}/test"), json!({})).await.is_problem(409, "endpoint-disabled");
    let other = Receiver::willing().await;
    endpoint(&api, &other, &["subscriber.joined"]).await;
    let waitlist = api.waitlist(json!({})).await;
    api.join(&waitlist, &address("unheard"), None).await;
    told(&other, "subscriber.joined", 1).await;
    patch(&api, &id, json!({ "status": "enabled" })).await.ok();
    let heard = api.join(&waitlist, &address("heard"), None).await;
    for (receiver, count) in [(&receiver, 1), (&other, 2)] {
        let request = told(receiver, "subscriber.joined", count).await.remove(count - 1);
        assert_eq!(request.json()["data"]["subscriber_id"], heard.id().as_str());
    }

    assert_eq!(api.secret("DELETE", &path).send().await.status, 204);
    for gone in [path.clone(), format!("{path}/deliveries")] {
        api.get(&gone).await.is_problem(404, "not-found");
    }
    api.join(&waitlist, &address("later"), None).await;
    told(&other, "subscriber.joined", 3).await;
    assert_eq!(receiver.told_of("subscriber.joined").len(), 1);
}

#[tokio::test]
async fn what_can_not_be_an_endpoint_is_refused() {
    let Some(api) = Api::another_account().await else { return };
    for url in [
        "",
        "nonsense",
        "http://example.com/",
        "ftp://example.com/",
        "https://user:pw@example.com/",
        "https://example.com/#fragment",
        "https://intranet/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://[fd00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0xa9fea9fe/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "javascript:alert(1)",
        &format!("https://example.com/{}", "x".repeat(2000)),
    ] {
        api.post("/webhook-endpoints", json!({ "url": url })).await.refuses("url");
    }
    let url = "https://example.com/";
    api.post("/webhook-endpoints", json!({})).await.refuses("url");
    api.post("/webhook-endpoints", json!({ "url": 7 })).await.refuses("url");
    api.post("/webhook-endpoints", json!({ "url": url, "event_types": ["nothing.happened"] }))
        .await
        .refuses("event_types[0]");
    api.post("/webhook-endpoints", json!({ "url": url, "event_types": "all" })).await.refuses("event_types");
    api.post("/webhook-endpoints", json!({ "url": url, "secret": "mine" })).await.refuses("secret");
    let (id, _) = endpoint(&api, &Receiver::willing().await, &[]).await;
    patch(&api, &id, json!({ "url": "https://10.0.0.1/" })).await.refuses("url");
    patch(&api, &id, json!({ "secret": "mine" })).await.refuses("secret");
    patch(&api, &id, json!({ "url": null })).await.refuses("url");
}

/// The limit is twenty endpoints, also for concurrent requests.
#[tokio::test]
async fn an_account_has_twenty_endpoints_at_most() {
    let Some(api) = Api::another_account().await else { return };
    let url = "https://example.com/";
    let make = |n: usize| api.post("/webhook-endpoints", json!({ "url": format!("{url}{n}") }));
    let made = make(0).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let at_once = in_flight(24);
    let more: Vec<_> = stream::iter((1..25).map(make)).buffer_unordered(at_once).collect().await;
    for made in more.iter().filter(|made| made.status != 201) {
        made.is_problem(409, "too-many-endpoints");
    }
    let there = async || api.get("/webhook-endpoints").await.ok()["data"].as_array().unwrap().len();
    assert_eq!((more.iter().filter(|made| made.status == 201).count(), there().await), (19, 20));
    make(25).await.is_problem(409, "too-many-endpoints");
    // A removed endpoint makes room for one more.
    let path = format!("/webhook-endpoints/{}", made.id());
    assert_eq!(api.secret("DELETE", &path).send().await.status, 204);
    let again = join_all((26..30).map(make)).await;
    assert_eq!((again.iter().filter(|made| made.status == 201).count(), there().await), (1, 20));
}

/// A test message goes to any URL, so test messages are rate-limited.
#[tokio::test]
async fn tests_of_an_endpoint_are_limited() {
    let Some(api) = Api::another_account().await else { return };
    let receiver = Receiver::willing().await;
    let (id, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
    let (other, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
    let path = format!("/webhook-endpoints/{id}/test");
    let mut asked = 0;
    for _ in 0..45 {
        let reply = api.post(&path, json!({})).await;
        match reply.status.as_u16() {
            202 => asked += 1,
            _ => reply.is_problem(429, "rate-limited"),
        }
        assert_eq!(reply.header("x-ratelimit-limit"), "20");
    }
    assert!(asked < 45, "none was refused");
    test_message(&api, &other).await;
    told(&receiver, "webhook.test", asked + 1).await;
    let log = deliveries(&api, &id, asked, "delivered").await;
    assert_eq!(log.len(), asked);
    let replay = format!("/deliveries/{}/replay", log[0]["id"].as_str().unwrap());
    let replayed = api.post(&replay, json!({})).await;
    assert_eq!((replayed.status.as_u16(), replayed.header("x-ratelimit-limit")), (202, "300"));
}

#[tokio::test]
async fn what_answers_strangely_is_not_followed_not_waited_for_and_tried_again() {
    let Some(api) = Api::another_account().await else { return };
    let inside = Receiver::willing().await;
    let location = format!("Location: {}\r\n", inside.url);
    let answers = [
        (Reply::With(302, location.clone()), json!(302)),
        (Reply::With(307, location), json!(307)),
        (Reply::Status(404), json!(404)),
        (Reply::Status(500), json!(500)),
        (Reply::Endless(500), json!(500)),
        (Reply::Drop, Value::Null),
    ];
    for (reply, status) in answers {
        let receiver = Receiver::start(move |_, _| reply.clone()).await;
        let (id, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
        let asked = test_message(&api, &id).await;
        let delivery = eventually(|| async {
            let delivery = api.get(&format!("/deliveries/{asked}")).await.ok();
            (delivery["attempts"].as_array().unwrap().len() == 1).then_some(delivery)
        })
        .await;
        let attempt = &delivery["attempts"][0];
        assert_eq!(
            (&attempt["status_code"], &delivery["status"]),
            (&status, &json!("pending")),
            "{delivery}"
        );
        assert_eq!(attempt["error"].is_string(), status.is_null(), "{delivery}");
        assert!(attempt["response"].as_str().unwrap_or_default().len() <= 512);
        let next: Timestamp = delivery["next_attempt_at"].as_str().unwrap().parse().unwrap();
        assert!(next > Timestamp::now());
    }
    assert!(inside.told().is_empty(), "a redirect was followed");
}

/// The time-out of an attempt is fifteen seconds.
#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let Some(api) = Api::another_account().await else { return };
    let receiver = Receiver::start(|_, _| Reply::Hang).await;
    let (id, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
    test_message(&api, &id).await;
    let delivery = tried(&api, &id).await;
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["error"], "no answer within 15 s");
    assert!(attempt["duration_ms"].as_u64() >= Some(15_000), "{attempt}");
}

/// Limits for an answer of any kind: fifteen seconds and 64 KiB.
#[tokio::test]
async fn an_answer_without_an_end_is_not_waited_for() {
    const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n";
    const HEAD: &str = "HTTP/1.1 200 OK\r\n";
    let Some(api) = Api::another_account().await else { return };
    let second = Duration::from_secs(1);
    let (late, too_much) = ("no answer within 15 s", "the answer has no end within 64 KiB");
    let tries = [
        (Reply::Raw(EARLY, EARLY, Duration::ZERO), too_much),
        (Reply::Raw(EARLY, EARLY, second / 10), late),
        (Reply::Raw(HEAD, "x", second), late),
        (Reply::Raw(HEAD, "a-long-header-without-an-end", Duration::ZERO), "message head is too large"),
        (Reply::Raw(HEAD, "x: y\r\n", Duration::ZERO), "message head is too large"),
    ];
    let judged = tries.map(async |(reply, error)| {
        let shown = reply.clone();
        let receiver = Receiver::start(move |_, _| reply.clone()).await;
        let (id, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
        test_message(&api, &id).await;
        let delivery = tried(&api, &id).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["status_code"], Value::Null, "{shown:?}: {attempt}");
        assert!(attempt["error"].as_str().unwrap().contains(error), "{shown:?}: {attempt}");
        assert_eq!(delivery["status"], "pending", "{shown:?}: {delivery}");
    });
    join_all(judged).await;
}

/// A worker that is lost during an attempt cannot mark its endpoint as slow. The worker that gets the message
/// next does.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_costs_a_worker_counts_as_slow() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let receiver =
        Receiver::start(|_, before| if before == 0 { Reply::Hang } else { Reply::Status(200) }).await;
    let (id, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
    let now = Timestamp::now();
    let task = tell(&api, &id, now);
    let sender = sender(&platform);
    lose(&sender, &[(task.clone(), 1)], now, &receiver).await;
    let answer = sender.handle_at(received(&[(task, 2)]), now).await.unwrap();
    assert!(answer.batch_item_failures.is_empty());
    // The message moved to the queue for slow endpoints, and was delivered from there.
    let log = deliveries(&api, &id, 1, "delivered").await;
    assert_eq!((log[0]["attempts"].as_array().unwrap().len(), receiver.told().len()), (1, 2));
    let delivery = log[0]["id"].as_str().unwrap().parse().unwrap();
    let account = &api.credentials.account_id;
    let target = webhooks::target(&platform.table, account, &delivery).await.unwrap().unwrap();
    assert!(target.slow_until.is_some());
}

/// A delivery that was lost with a worker is attempted after the others of its batch, so that the others are not
/// repeated if the next worker is lost as well.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_costs_worker_after_worker_takes_nobody_along() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let deadly = Receiver::start(|_, _| Reply::Hang).await;
    let others = Receiver::willing().await;
    let (deadly_id, _) = endpoint(&api, &deadly, &["comment.erased"]).await;
    let (others_id, _) = endpoint(&api, &others, &["comment.erased"]).await;
    let now = Timestamp::now();
    let slow = |id: &str| json!({ "kind": "slow", "task": tell(&api, id, now) });
    let batch = [(slow(&deadly_id), 2), (slow(&others_id), 1), (slow(&others_id), 1), (slow(&others_id), 1)];
    lose(&sender(&platform), &batch, now, &deadly).await;
    assert_eq!(deliveries(&api, &others_id, 3, "delivered").await.len(), 3);
    assert_eq!(others.ids().into_values().collect::<Vec<_>>(), [1; 3]);
}

/// Makes a batch of tasks, each with the number of times that it was received.
fn received(tasks: &[(Value, u32)]) -> webhook_sender::Invocation {
    let records = tasks.iter().enumerate().map(|(n, (task, count))| {
        let attributes = json!({ "ApproximateReceiveCount": count.to_string() });
        json!({ "messageId": n.to_string(), "body": task.to_string(), "attributes": attributes })
    });
    serde_json::from_value(json!({ "Records": records.collect::<Vec<_>>() })).unwrap()
}

/// Processes a batch with a worker that is lost as soon as this receiver gets a request.
async fn lose(sender: &WebhookSender, tasks: &[(Value, u32)], now: Timestamp, receiver: &Receiver) {
    let told = eventually(|| async { (!receiver.told().is_empty()).then_some(()) });
    tokio::select! {
        _ = sender.handle_at(received(tasks), now) => panic!("it was not lost"),
        () = told => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_holds_up_nobody_else() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let (slow, quick) = (Receiver::start(|_, _| Reply::Held(200)).await, Receiver::willing().await);
    let slow_id = endpoint(&api, &slow, &["subscriber.joined"]).await.0;
    endpoint(&api, &quick, &["subscriber.joined"]).await;
    let waitlist = api.waitlist(json!({})).await;
    // More events than there are workers for quick endpoints, while no endpoint is known to be slow.
    let people = 40;
    let joins = (0..people).map(|_| async { api.join(&waitlist, &address("p"), None).await.ok() });
    stream::iter(joins).buffer_unordered(10).collect::<Vec<_>>().await;
    told(&quick, "subscriber.joined", people).await;
    // No attempt at the slow endpoint has ended yet, and no other delivery has waited for it.
    let log = api.all(&format!("/webhook-endpoints/{slow_id}/deliveries")).await;
    assert!(log.is_empty(), "{log:?}");
    slow.release();
    // The first workers hung up after one second and passed their messages on. Each event was still taken in one
    // recorded attempt.
    let log = deliveries(&api, &slow_id, people, "delivered").await;
    assert!(log.iter().all(|delivery| delivery["attempts"].as_array().unwrap().len() == 1), "{log:?}");
}

/// A slow endpoint is served by the workers for slow endpoints until it has been quick again for some time.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_quick_again_is_told_with_the_others() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let receiver = Receiver::start(|_, _| Reply::Held(200)).await;
    let (id, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
    let slow = test_message(&api, &id).await;
    let slow_until = || async {
        let account = &api.credentials.account_id;
        let target = webhooks::target(&platform.table, account, &slow.parse().unwrap()).await;
        target.unwrap().unwrap().slow_until
    };
    let until = eventually(slow_until).await;
    receiver.release();
    deliveries(&api, &id, 1, "delivered").await;
    let among_slow = |at| work(&platform, json!({ "kind": "slow", "task": tell(&api, &id, at) }), at);
    among_slow(Timestamp::now()).await;
    assert_eq!(slow_until().await, Some(until));
    among_slow(Timestamp::now() + SignedDuration::from_mins(11)).await;
    assert_eq!(slow_until().await, None);
    assert_eq!(deliveries(&api, &id, 3, "delivered").await.len(), 3);
}

/// The status decides. The rest of an answer may take any time.
#[tokio::test]
async fn a_message_is_taken_although_the_answer_never_ends() {
    let Some(api) = Api::another_account().await else { return };
    let receiver = Receiver::start(|_, _| Reply::Endless(200)).await;
    let (id, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
    test_message(&api, &id).await;
    deliveries(&api, &id, 1, "delivered").await;
    assert_eq!(receiver.told().len(), 1);
}

/// Makes a sender of the platform whose time the test sets.
pub fn sender(platform: &Platform) -> WebhookSender {
    let variables = platform.environment("WebhookSenderFunction").unwrap();
    let env = aws::Env::new(variables, aws::plain_http_client());
    WebhookSender::from_env(&env.with_meter(platform.meters["webhook-sender"].clone())).unwrap()
}

/// Has the platform's sender process a task at a given time.
pub async fn work(platform: &Platform, task: Value, at: Timestamp) {
    let event = json!({ "Records": [{ "messageId": "1", "body": task.to_string() }] });
    let answer = sender(platform).handle_at(serde_json::from_value(event).unwrap(), at).await.unwrap();
    assert!(answer.batch_item_failures.is_empty());
}

/// Makes a task with a message that no other source sends to the endpoint.
pub fn tell(api: &Api, endpoint: &str, at: Timestamp) -> Value {
    let message = webhooks::test_message(&endpoint.parse().unwrap(), at);
    json!({ "kind": "tell", "account_id": api.credentials.account_id, "endpoint_id": endpoint, "message": message })
}

async fn stored(platform: &Platform, delivery: &str) -> Option<Delivery> {
    webhooks::delivery(&platform.table, &delivery.parse().unwrap()).await.unwrap()
}

/// Attempts the delivery at its due time, through a queue that delivers everything twice. Returns the time, or
/// `None` if no attempt is left.
async fn live_on(platform: &Platform, api: &Api, delivery: &str) -> Option<Timestamp> {
    let found = stored(platform, delivery).await.unwrap();
    let due = found.due_at?;
    let task = json!({ "kind": "deliver", "account_id": api.credentials.account_id, "delivery_id": delivery, "tried": found.tried });
    for _ in 0..2 {
        work(platform, task.clone(), due).await;
    }
    Some(due)
}

/// Attempts the delivery at each due time until no attempt is left. Returns the times.
async fn live_through(platform: &Platform, api: &Api, delivery: &str) -> Vec<Timestamp> {
    let mut times = Vec::new();
    while let Some(time) = live_on(platform, api, delivery).await {
        times.push(time);
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_tried_for_days_then_the_endpoint_is_disabled_and_its_owner_told() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let receiver =
        Receiver::start(move |_, _| Reply::Status(if is_well.load(Ordering::Relaxed) { 200 } else { 503 }))
            .await;
    let (id, _) = endpoint(&api, &receiver, &["subscriber.joined"]).await;
    let waitlist = api.waitlist(json!({})).await;
    api.join(&waitlist, &address("ada"), None).await;
    let delivery = deliveries(&api, &id, 1, "pending").await.remove(0)["id"].as_str().unwrap().to_owned();
    let began = Timestamp::now();
    let times = live_through(&platform, &api, &delivery).await;
    // The platform made the first attempt itself.
    assert_eq!((times.len(), receiver.told().len()), (11, 12));
    let days = times[10].duration_since(began).as_secs_f64() / 86_400.0;
    assert!((5.0..6.5).contains(&days), "{days} days");
    let ids = receiver.ids();
    assert_eq!(ids.len(), 1, "the same message by the same id: {ids:?}");
    let stamps: BTreeSet<_> =
        receiver.told().iter().map(|r| r.header("webhook-timestamp").to_owned()).collect();
    assert_eq!(stamps.len(), 12, "each attempt is signed anew");

    let failed = api.get(&format!("/deliveries/{delivery}")).await.ok();
    assert_eq!((&failed["status"], failed["attempts"].as_array().unwrap().len()), (&json!("failed"), 12));
    let disabled = api.get(&format!("/webhook-endpoints/{id}")).await.ok();
    assert_eq!((&disabled["status"], &disabled["disabled_reason"]), (&json!("disabled"), &json!("failing")));
    let mail = api.mail(&api.credentials.oidc_username).await;
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains(&id) && text.contains(&receiver.url) && text.contains("five days"), "{text}");
    assert_eq!(api.all("/audit-log").await[0]["action"], "webhook_endpoint.disabled");

    // A disabled endpoint gets no more events until it works and somebody enables it. Missed events can be
    // replayed by hand.
    let replay = format!("/deliveries/{delivery}/replay");
    api.post(&replay, json!({})).await.is_problem(409, "endpoint-disabled");
    well.store(true, Ordering::Relaxed);
    patch(&api, &id, json!({ "status": "enabled" })).await.ok();
    let again = api.secret("POST", &replay).header("idempotency-key", "one").json(json!({})).send().await;
    assert_eq!((again.status.as_u16(), again.text_at("status")), (202, "pending".to_owned()));
    deliveries(&api, &id, 1, "delivered").await;
    let same = api.secret("POST", &replay).header("idempotency-key", "one").json(json!({})).send().await;
    assert_eq!((same.status.as_u16(), same.json), (202, again.json));
    assert_eq!(
        receiver.ids().into_iter().collect::<Vec<_>>(),
        [(failed["event_id"].as_str().unwrap().to_owned(), 13)]
    );
    // A single failure does not disable the endpoint again, because earlier failures are forgotten.
    well.store(false, Ordering::Relaxed);
    test_message(&api, &id).await;
    deliveries(&api, &id, 1, "pending").await;
    assert_eq!(api.get(&format!("/webhook-endpoints/{id}")).await.ok()["status"], "enabled");
    assert_eq!(api.mails(&api.credentials.oidc_username, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_recovers_in_between_is_not_disabled() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    // The endpoint takes the fifth attempt of each message.
    let receiver = Receiver::start(|_, before| Reply::Status(if before < 4 { 503 } else { 200 })).await;
    let (id, _) = endpoint(&api, &receiver, &["subscriber.joined"]).await;
    let waitlist = api.waitlist(json!({})).await;
    for name in ["ada", "bo"] {
        api.join(&waitlist, &address(name), None).await;
        let delivery = deliveries(&api, &id, 1, "pending").await.remove(0);
        assert_eq!(live_through(&platform, &api, delivery["id"].as_str().unwrap()).await.len(), 4);
    }
    assert_eq!(deliveries(&api, &id, 2, "delivered").await.len(), 2);
    assert_eq!(api.get(&format!("/webhook-endpoints/{id}")).await.ok()["status"], "enabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_queued_by_the_schedule() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let receiver = Receiver::start(|_, before| Reply::Status(if before == 0 { 503 } else { 200 })).await;
    let (id, _) = endpoint(&api, &receiver, &["subscriber.joined"]).await;
    let waitlist = api.waitlist(json!({})).await;
    for _ in 0..3 {
        api.join(&waitlist, &address("p"), None).await;
    }
    deliveries(&api, &id, 3, "pending").await;
    let look = || serde_json::from_value(json!({ "schedule": "deliveries" })).unwrap();
    sender(&platform).handle_at(look(), Timestamp::now()).await.unwrap();
    let soon = Timestamp::now() + SignedDuration::from_mins(2);
    // Twice at once: each delivery is queued once.
    let sender = sender(&platform);
    let (one, two) = tokio::join!(sender.handle_at(look(), soon), sender.handle_at(look(), soon));
    assert!(one.is_ok() && two.is_ok());
    deliveries(&api, &id, 3, "delivered").await;
    assert_eq!(receiver.ids().into_values().collect::<Vec<_>>(), [2, 2, 2]);
}

/// A message that an endpoint never takes does not count against the endpoint once the message is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_given_up_is_not_held_against_its_endpoint() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let ill = Arc::new(AtomicBool::new(false));
    let is_ill = ill.clone();
    let receiver = Receiver::start(move |request, _| {
        let is_taken = request.json()["type"] == "webhook.test" && !is_ill.load(Ordering::Relaxed);
        Reply::Status(if is_taken { 200 } else { 503 })
    })
    .await;
    let (id, _) = endpoint(&api, &receiver, &["subscriber.joined"]).await;
    let waitlist = api.waitlist(json!({})).await;
    api.join(&waitlist, &address("ada"), None).await;
    let delivery = deliveries(&api, &id, 1, "pending").await.remove(0)["id"].as_str().unwrap().to_owned();
    while let Some(time) = live_on(&platform, &api, &delivery).await {
        if time < Timestamp::now() + SignedDuration::from_hours(4 * 24) {
            // Meanwhile the endpoint takes another message.
            work(&platform, tell(&api, &id, time), time).await;
        }
    }
    assert_eq!(api.get(&format!("/deliveries/{delivery}")).await.ok()["status"], "failed");
    // Days later the endpoint fails once.
    ill.store(true, Ordering::Relaxed);
    let later = Timestamp::now() + SignedDuration::from_hours(11 * 24);
    work(&platform, tell(&api, &id, later), later).await;
    assert_eq!(api.get(&format!("/webhook-endpoints/{id}")).await.ok()["status"], "enabled");
    deliveries(&api, &id, 1, "pending").await;
}

/// A failure at the old URL does not count against an endpoint whose URL was changed during the attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_mended_during_a_call_is_told_where_it_is_now() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let (old, new) = (Receiver::start(|_, _| Reply::Held(410)).await, Receiver::willing().await);
    let (id, _) = endpoint(&api, &old, &["comment.erased"]).await;
    test_message(&api, &id).await;
    eventually(|| async { (!old.told().is_empty()).then_some(()) }).await;
    patch(&api, &id, json!({ "url": new.url })).await.ok();
    old.release();
    let delivered = deliveries(&api, &id, 1, "delivered").await;
    assert_eq!(delivered[0]["attempts"].as_array().unwrap().len(), 1, "{delivered:?}");
    assert_eq!(new.told().len(), 1);
    assert_eq!(api.get(&format!("/webhook-endpoints/{id}")).await.ok()["status"], "enabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_for_a_deleted_endpoint_is_forgotten() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let receiver = Receiver::start(|_, _| Reply::Status(503)).await;
    let (id, _) = endpoint(&api, &receiver, &["comment.erased"]).await;
    let asked = test_message(&api, &id).await;
    deliveries(&api, &id, 1, "pending").await;
    eventually(|| async { (receiver.told().len() == 1).then_some(()) }).await;
    assert_eq!(api.secret("DELETE", &format!("/webhook-endpoints/{id}")).send().await.status, 204);
    eventually(|| async {
        let soon = Timestamp::now() + SignedDuration::from_mins(2);
        let look = serde_json::from_value(json!({ "schedule": "deliveries" })).unwrap();
        sender(&platform).handle_at(look, soon).await.unwrap();
        stored(&platform, &asked).await.is_none().then_some(())
    })
    .await;
    assert_eq!(receiver.told().len(), 1);
}

/// DynamoDB may keep expired items for days.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_does_not_hide_what_is_due() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let now = Timestamp::now();
    let url = EndpointUrl::parse("https://example.com/", &Networks::default()).unwrap();
    let account = platform.credentials.account_id.clone();
    let target = Target {
        endpoint: WebhookEndpoint::new(account, url, None, Vec::new(), now),
        failing_since: Some(now),
        slow_until: None,
        delivery: None,
    };
    let tried = |at: Timestamp| {
        let message = webhooks::test_message(&target.endpoint.id, at);
        let delivery = Delivery::new(&target.endpoint.id, target.endpoint.account_id.clone(), message, at);
        delivery.attempted(Attempt::refused("nobody", at), false, None, 0, at)
    };
    for _ in 0..80 {
        for at in [now - SignedDuration::from_hours(60 * 24), now + SignedDuration::from_hours(1)] {
            assert!(webhooks::note(&platform.table, &target, &tried(at), None, at).await.unwrap());
        }
    }
    let later = now + SignedDuration::from_hours(2);
    for shard in 0..table::LIST_SHARDS {
        let due = webhooks::due(&platform.table, shard, later, 1).await.unwrap();
        assert!(matches!(&due[..], [delivery] if delivery.created_at > now), "{due:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_says_it_is_gone_is_disabled_at_once() {
    let Some(api) = Api::another_account().await else { return };
    let receiver = Receiver::start(|_, _| Reply::Status(410)).await;
    let (id, _) = endpoint(&api, &receiver, &["subscriber.joined"]).await;
    let waitlist = api.waitlist(json!({})).await;
    join_all(
        (0..5)
            .map(|n| async move { n })
            .map(|_| async { api.join(&waitlist, &address("p"), None).await.ok() }),
    )
    .await;
    let disabled = eventually(|| async {
        let found = api.get(&format!("/webhook-endpoints/{id}")).await.ok();
        (found["status"] == "disabled").then_some(found)
    })
    .await;
    assert_eq!(disabled["disabled_reason"], "gone");
    let failed = deliveries(&api, &id, 1, "failed").await;
    assert_eq!(failed[0]["next_attempt_at"], Value::Null);
}

/// A stream that is read twice delivers no recorded event again. Throttles and conflicts lose no event.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_stream_tells_nothing_again() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), true, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let receiver = Receiver::willing().await;
    let (id, _) = endpoint(&api, &receiver, &["subscriber.joined"]).await;
    let waitlist = api.waitlist(json!({})).await;
    for _ in 0..20 {
        api.join(&waitlist, &address("p"), None).await;
    }
    deliveries(&api, &id, 20, "delivered").await;
    for records in platform.stream_records().await.unwrap().chunks(50) {
        platform.invoke("ProjectorFunction", json!({ "Records": records })).await.unwrap();
    }
    // Once the queue is empty, all messages of the replay have been processed.
    eventually(|| async {
        let depth = platform.queue_depth("webhooks").unwrap();
        (depth.visible + depth.in_flight == 0).then_some(())
    })
    .await;
    assert_eq!(receiver.ids().into_values().collect::<Vec<_>>(), [1; 20]);
}

/// If the store throttles, conflicts and loses answers, all events are still delivered.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_store_is_in_trouble() {
    let data = tempfile::tempdir().unwrap();
    let faults = Faults::seeded(7, 40, 40, 20);
    let Some(platform) = platform(data.path(), false, faults).await else { return };
    let api = Api::new(platform.credentials.clone());
    let receiver = Receiver::willing().await;
    let once = |path: &'static str, key: String, body: Value| {
        let api = &api;
        eventually(move || {
            let (key, body) = (key.clone(), body.clone());
            async move {
                api.secret("POST", path).header("idempotency-key", &key).json(body).send().await.json["id"]
                    .as_str()
                    .map(str::to_owned)
            }
        })
    };
    let body = json!({ "url": receiver.url, "event_types": ["subscriber.joined"] });
    let id = once("/webhook-endpoints", "endpoint".to_owned(), body).await;
    let waitlist = once("/waitlists", "waitlist".to_owned(), json!({ "name": "In trouble" })).await;
    let mut joined = BTreeSet::new();
    for n in 0..40 {
        let body = json!({ "waitlist_id": waitlist, "email": address("p"), "consent": true });
        joined.insert(once("/subscribers", format!("p{n}"), body).await);
    }
    let told = || {
        receiver
            .told()
            .into_iter()
            .map(|request| request.json()["data"]["subscriber_id"].as_str().unwrap().to_owned())
    };
    patiently(Duration::from_secs(120), || async {
        (told().collect::<BTreeSet<_>>() == joined).then_some(())
    })
    .await;
    let path = format!("/webhook-endpoints/{id}/deliveries?limit=100");
    patiently(Duration::from_secs(60), || async {
        let log = api.get(&path).await.json;
        let delivered =
            log["data"].as_array()?.iter().filter(|delivery| delivery["status"] == "delivered").count();
        (delivered == joined.len()).then_some(())
    })
    .await;
}

//! The response time does not reveal whether an address is known: the same calls are made for known and new
//! addresses.

use groundswell::{Platform, faults::Faults, recorder::Record};
use jiff::SignedDuration;
use scenarios::{Api, Call, address, link_token, phone, platform, unique};
use serde_json::json;
use waitlists::subscriber::Subscriber;

/// Returns the calls to DynamoDB that a function makes for a request, in order, each with the number of items
/// that it writes.
async fn calls(platform: &Platform, function: &str, request: Call) -> Vec<(String, usize)> {
    platform.recorder.record();
    let reply = request.send().await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let records = platform.recorder.take();
    let calls = records.into_iter().filter_map(|record| match record {
        Record::Call(call) if call.function == function => Some(call),
        _ => None,
    });
    // Concurrent calls end in any order.
    let mut calls: Vec<_> = calls.collect();
    calls.sort_by_key(|call| call.sent_at);
    calls
        .into_iter()
        .map(|call| {
            let items = call.charges.iter().filter(|charge| charge.index.is_none() && charge.writes > 0.0);
            (call.operation, items.count())
        })
        .collect()
}

/// Changes a subscriber directly in the table.
async fn change(platform: &Platform, api: &Api, path: &str, by: impl Fn(Subscriber) -> Subscriber) {
    let found = api.get(path).await.ok();
    let id = found["data"][0]["id"].as_str().unwrap().parse().unwrap();
    scenarios::eventually(|| async {
        let read = waitlists::subscribers::find(&platform.table, &id).await.unwrap().unwrap();
        let rev = read.rev;
        let changed = Subscriber { rev: rev + 1, ..by(read) };
        waitlists::subscribers::update(&changed, rev).applies(&platform.table).await.unwrap().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_makes_the_same_calls_for_a_known_and_a_new_address() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let referrer = address("referrer");
    api.join(&waitlist, &referrer, None).await;
    let code = api.verify(&referrer).await.text_at("referral_code");

    // States of a known address, made by their owners and by strangers.
    let mut known = Vec::new();
    for state in
        ["mailed just now", "mailed long ago", "verified", "unsubscribed", "asked to come back", "erased"]
    {
        let email = address("known");
        api.join(&waitlist, &email, None).await;
        let path = format!("/subscribers?waitlist_id={waitlist}&email={email}");
        let ago = |subscriber: Subscriber| Subscriber {
            mail_requested_at: subscriber.mail_requested_at.map(|at| at - SignedDuration::from_mins(11)),
            ..subscriber
        };
        match state {
            "mailed long ago" => change(&platform, &api, &path, ago).await,
            "verified" => {
                api.verify(&email).await.ok();
                change(&platform, &api, &path, ago).await;
            }
            "unsubscribed" | "asked to come back" => {
                let stop = link_token(&api.mail(&email).await, "/unsubscribe?token=");
                let unsubscribe = api.call("POST", &format!("/subscribers/unsubscribe?token={stop}"));
                assert_eq!(unsubscribe.send().await.status, 204);
                if state == "asked to come back" {
                    api.join(&waitlist, &email, None).await;
                }
            }
            "erased" => {
                let id = api.get(&path).await.ok()["data"][0]["id"].as_str().unwrap().to_owned();
                api.secret("DELETE", &format!("/subscribers/{id}")).send().await;
            }
            _ => {}
        }
        known.push((state, email));
    }

    // Each join from an address of its own, whose rate limit has no recent requests.
    let mut host = 10;
    let mut join = |email: &str, key: bool, code: Option<&str>| {
        host += 1;
        let mut body = json!({ "waitlist_id": waitlist, "email": email, "consent": true });
        if let Some(code) = code {
            body["referral_code"] = json!(code);
        }
        let call = api.from_host(host).public("POST", "/subscribers").json(body);
        if key { call.header("idempotency-key", &format!("timing-{}", unique())) } else { call }
    };
    for (key, code) in
        [(false, None), (true, None), (false, Some(code.as_str())), (true, Some(code.as_str()))]
    {
        let new = calls(&platform, "SubscriberFunction", join(&address("new"), key, code)).await;
        let written = 3 + usize::from(key) + usize::from(code.is_some());
        assert_eq!(new.last(), Some(&("DynamoDB.TransactWriteItems".to_owned(), written)), "{new:?}");
        assert!(new.len() <= 4 + usize::from(key), "{new:?}");
        for (state, email) in &known {
            let same = calls(&platform, "SubscriberFunction", join(email, key, code)).await;
            assert_eq!(same, new, "{state}, with a key: {key}, with a code: {}", code.is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_by_a_page_makes_the_same_calls_for_a_known_and_a_new_number() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let (program, other) = (api.program(json!({})).await, api.program(json!({})).await);
    let body = |program: &str, phone: &str| json!({ "program_id": program, "phone": phone, "consent": true });

    let mut host = 10;
    let mut enrol = |phone: &str, key: bool| {
        host += 1;
        let call = api.from_host(host).public("POST", "/enrollments").json(body(&program, phone));
        if key { call.header("idempotency-key", &format!("timing-{}", unique())) } else { call }
    };
    for key in [false, true] {
        let (by_page, by_server, elsewhere) = (phone(), phone(), phone());
        assert_eq!(enrol(&by_page, false).send().await.status, 202);
        for (program, phone) in [(&program, &by_server), (&other, &elsewhere)] {
            assert_eq!(api.post("/enrollments", body(program, phone)).await.status, 201);
        }
        let new = calls(&platform, "StampFunction", enrol(&phone(), key)).await;
        let written = 3 + usize::from(key);
        assert_eq!(new.last(), Some(&("DynamoDB.TransactWriteItems".to_owned(), written)), "{new:?}");
        for phone in [&by_page, &by_server, &elsewhere] {
            let same = calls(&platform, "StampFunction", enrol(phone, key)).await;
            assert_eq!(same, new, "with a key: {key}");
        }
    }
}

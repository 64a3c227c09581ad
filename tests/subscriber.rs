//! Subscribers: join, verification, invitation, erasure, export.

use scenarios::{
    Api, Reply, address, embedded, eventually, lacks, link_token,
    receiver::{self, Receiver},
    unique,
};
use serde_json::{Value, json};

/// Waits until a subscriber has at least `count` events. Returns their types, oldest first.
async fn events(api: &Api, waitlist: &str, subscriber: &str, count: usize) -> Vec<String> {
    eventually(|| async {
        let all = api.all(&format!("/waitlists/{waitlist}/events")).await;
        let mut kinds: Vec<_> = all
            .iter()
            .filter(|event| event["subscriber_id"] == subscriber)
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect();
        kinds.reverse();
        (kinds.len() >= count).then_some(kinds)
    })
    .await
}

#[tokio::test]
async fn joining_gives_position_code_link_and_token() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({ "page_url": "https://example.com/launch" })).await;
    for expected in 1..=3 {
        let joined = api.join(&waitlist, &address("p"), None).await;
        assert_eq!(joined.status, 201, "{}", joined.text);
        assert_eq!((&joined.json["position"], &joined.json["total"]), (&json!(expected), &json!(expected)));
        assert_eq!(joined.json["status"], "active");
        let code = joined.text_at("referral_code");
        assert_eq!(joined.json["referral_url"], format!("https://example.com/launch?ref={code}"));
        assert_eq!(joined.header("location"), format!("/api/v1/subscribers/{}", joined.id()));
        assert_eq!(api.position(&joined.id()).await["position"], expected);

        let path = format!("/subscribers/{}/position", joined.id());
        let token = joined.text_at("token");
        let own = api.public("GET", &path).header("x-subscriber-token", &token).send().await;
        assert_eq!(own.status, 200);
        api.public("GET", &path).send().await.is_problem(403, "subscriber-token-required");
        let forged =
            api.public("GET", &path).header("x-subscriber-token", &token.replace("st.", "vt.")).send().await;
        forged.is_problem(403, "subscriber-token-required");
    }
}

#[tokio::test]
async fn joining_again_makes_no_second_entry_and_no_second_event() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let n = unique();
    let first = api.join(&waitlist, &format!("Ada.Lovelace{n}@gmail.com"), None).await;
    assert_eq!(first.status, 201);
    for spelling in [
        format!("Ada.Lovelace{n}@gmail.com"),
        format!("adalovelace{n}+news@GMAIL.com"),
        format!("a.d.a.lovelace{n}@googlemail.com"),
    ] {
        let again = api.join(&waitlist, &spelling, None).await;
        assert_eq!(again.status, 200, "{spelling}: {}", again.text);
        assert_eq!(again.id(), first.id());
        assert_eq!(again.json["position"], 1);
        assert!(again.json.get("token").is_none(), "never the token");
    }
    let read = api.get(&format!("/subscribers/{}", first.id())).await.ok();
    assert_eq!(read["email"], format!("Ada.Lovelace{n}@gmail.com"), "the address as typed");

    // The event of a second subscriber comes after all events that the repetitions could have caused.
    let second = api.join(&waitlist, &address("bo"), None).await;
    assert_eq!(second.json["position"], 2);
    events(&api, &waitlist, &second.id(), 1).await;
    assert_eq!(events(&api, &waitlist, &first.id(), 1).await, ["subscriber.joined"]);
    assert_eq!(api.all(&format!("/subscribers?waitlist_id={waitlist}")).await.len(), 2);
    let found =
        api.get(&format!("/subscribers?waitlist_id={waitlist}&email=adalovelace{n}@gmail.com")).await.ok();
    assert_eq!(found["data"][0]["id"], first.id());
}

#[tokio::test]
async fn of_many_joins_at_once_with_one_address_one_makes_the_entry() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let email = address("crowd");
    let replies = futures_util::future::join_all((0..20).map(|_| api.join(&waitlist, &email, None))).await;
    let created: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(created.len(), 1);
    for reply in &replies {
        assert!(reply.status == 201 || reply.status == 200, "{}", reply.text);
        assert_eq!(reply.id(), created[0].id());
    }
    // The numbers in line of the other attempts leave no gaps in the positions.
    let next = api.join(&waitlist, &address("next"), None).await;
    assert_eq!(next.json["position"], 2);
    eventually(|| async {
        (api.position(&next.id()).await
            == json!({ "id": next.id(), "status": "active", "position": 2, "total": 2, "referrals": 0 }))
        .then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_repeats_the_answer_with_its_token() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let key = format!("join-{}", unique());
    let body = json!({ "waitlist_id": waitlist, "email": address("ada"), "consent": true });
    let send =
        |body: Value| api.public("POST", "/subscribers").header("idempotency-key", &key).json(body).send();
    let replies = futures_util::future::join_all((0..10).map(|_| send(body.clone()))).await;
    let created: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert!(!created.is_empty());
    for reply in created {
        assert_eq!(reply.text, replies.iter().find(|reply| reply.status == 201).unwrap().text);
        assert!(reply.json["token"].is_string());
    }
    let later = send(body.clone()).await;
    assert_eq!((later.status.as_u16(), later.json["token"].is_string()), (201, true));
    let mut other = body.clone();
    other["name"] = json!("Other");
    send(other).await.is_problem(422, "idempotency-key-reused");
    // A key belongs to its caller: the same idempotency key with another API key of the account is independent.
    let elsewhere =
        api.secret("POST", "/subscribers").header("idempotency-key", &key).json(body).send().await;
    assert_eq!(elsewhere.status, 200, "{}", elsewhere.text);
}

#[tokio::test]
async fn a_mail_waits_until_ses_takes_it_and_one_that_it_never_takes_is_dropped() {
    let Some(platform) = embedded() else { return };
    let api = Api::shared();
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let email = address("ada");
    api.join(&waitlist, &email, None).await;
    let found = api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    let subscriber = found["data"][0]["id"].as_str().unwrap();

    let refused = |status, code| receiver::Reply::Json(status, json!({ "__type": code, "message": "No." }));
    let ses = Receiver::start(move |_, before| match before {
        0 | 1 => refused(429, "TooManyRequestsException"),
        2 => receiver::Reply::Json(200, json!({ "MessageId": "taken" })),
        _ => refused(400, "MessageRejected"),
    })
    .await;
    let mut variables = platform.environment("MessageSenderFunction").unwrap();
    variables.insert("AWS_ENDPOINT_URL_SESV2".to_owned(), ses.url.replace("/hook", ""));
    let env = aws::Env::new(variables, aws::plain_http_client());
    let sender = message_sender::MessageSender::from_env(&env).unwrap();
    for (message_id, asked) in [("patient", 3), ("refused", 4)] {
        let message_id = format!("{message_id}-{subscriber}");
        for _ in ["first", "again"] {
            let body =
                json!({ "kind": "subscriber_mail", "subscriber_id": subscriber, "message_id": message_id });
            let event = json!({ "Records": [{ "messageId": "1", "body": body.to_string() }] });
            let answer = sender.handle(serde_json::from_value(event).unwrap()).await.unwrap();
            assert!(answer.batch_item_failures.is_empty(), "{message_id}");
            assert_eq!(ses.told().len(), asked, "{message_id}");
        }
    }
}

#[tokio::test]
async fn double_opt_in_answers_all_alike_and_the_rest_comes_by_mail() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let email = address("ada");
    let unknown = api.join(&waitlist, &email, None).await;
    assert_eq!((unknown.status.as_u16(), unknown.text.as_str()), (202, r#"{"status":"pending"}"#));
    let known = api.join(&waitlist, &email.to_uppercase(), None).await;
    let visible = |reply: &Reply| {
        let mut names: Vec<_> = reply.headers.keys().map(ToString::to_string).collect();
        names.sort();
        (reply.status, reply.text.clone(), names)
    };
    assert_eq!(visible(&known), visible(&unknown));

    let mail = api.mail(&email).await;
    assert!(mail["subject"].as_str().unwrap().starts_with("Confirm your place"));
    assert_eq!(
        api.mails(&email, 1).await.len(),
        1,
        "anybody may type anybody's address: one mail in ten minutes"
    );

    // A GET of the link, as by a mail scanner, changes nothing.
    let token = link_token(&mail, "/verify?token=");
    let page = api.call("GET", &format!("//verify?token={token}")).send().await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let pending = api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    assert_eq!(pending["data"][0]["status"], "pending");

    let first = api.verify(&email).await.ok();
    assert_eq!((&first["status"], &first["position"]), (&json!("active"), &json!(1)));
    assert!(first["token"].is_string());
    let second = api.verify(&email).await.ok();
    assert_eq!(second, first, "verifying twice is harmless");
    let known = api.join(&waitlist, &email, None).await;
    assert_eq!(visible(&known), visible(&unknown), "a verified address is no different");
    let id = first["id"].as_str().unwrap();
    assert_eq!(events(&api, &waitlist, id, 2).await, ["subscriber.joined", "subscriber.verified"]);
}

#[tokio::test]
async fn an_unverified_friend_earns_nobody_a_credit() {
    let api = Api::shared();
    let waitlist =
        api.waitlist(json!({ "verification_policy": "double_opt_in", "places_per_referral": 5 })).await;
    let mut people = Vec::new();
    for name in ["ada", "bo", "cy"] {
        let email = address(name);
        api.join(&waitlist, &email, None).await;
        people.push(api.verify(&email).await.ok());
    }
    let cy = people[2]["id"].as_str().unwrap();
    let friend = address("friend");
    api.join(&waitlist, &friend, people[2]["referral_code"].as_str()).await;
    api.mail(&friend).await;
    let stands = api.position(cy).await;
    assert_eq!(
        (&stands["referrals"], &stands["position"], &stands["total"]),
        (&json!(0), &json!(3), &json!(3))
    );
    for _ in 0..3 {
        assert_eq!(api.verify(&friend).await.status, 200);
    }
    let stands =
        eventually(|| async { Some(api.position(cy).await).filter(|now| now["position"] == 1) }).await;
    assert_eq!((&stands["referrals"], &stands["total"]), (&json!(1), &json!(4)));
}

#[tokio::test]
async fn links_in_mails_are_for_their_purpose_and_their_time() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let email = address("ada");
    api.join(&waitlist, &email, None).await;
    let mail = api.mail(&email).await;
    let verify = link_token(&mail, "/verify?token=");
    let stop = link_token(&mail, "/unsubscribe?token=");
    let post = |path: &'static str, token: String| {
        let api = api.clone();
        async move { api.call("POST", path).json(json!({ "token": token })).send().await }
    };
    for token in
        [stop.clone(), String::new(), "x".repeat(10_000), verify.replace("vt.", "st."), format!("{verify}A")]
    {
        post("/subscribers/verify", token).await.is_problem(401, "invalid-token");
    }
    post("/subscribers/unsubscribe", verify).await.is_problem(401, "invalid-token");

    // RFC 8058: a form post to the URL of the header, with the token in the URL and without a key or a session.
    let mut path = format!("/subscribers/unsubscribe?token={stop}");
    if !lacks("the headers of a mail") {
        let header = mail["headers"]["List-Unsubscribe"].as_str().unwrap();
        assert_eq!(mail["headers"]["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
        path = header.trim_matches(['<', '>']).split_once("/api/v1").unwrap().1.to_owned();
    }
    for _ in 0..2 {
        let form =
            api.call("POST", &path).body("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click");
        assert_eq!(form.send().await.status, 204);
    }
    let found = api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    assert!(found["data"][0]["unsubscribed_at"].is_string());
    assert_eq!(api.call("GET", &format!("//unsubscribe?token={stop}")).send().await.status, 200);
}

#[tokio::test]
async fn throw_away_addresses_are_allowed_flagged_or_blocked() {
    let api = Api::shared();
    for (policy, status) in [("allow", 201), ("flag", 201), ("block", 422)] {
        let waitlist = api.waitlist(json!({ "email_policy": policy })).await;
        let reply = api.join(&waitlist, &format!("x{}@mailinator.com", unique()), None).await;
        assert_eq!(reply.status, status, "{policy}");
        if status == 201 {
            let read = api.get(&format!("/subscribers/{}", reply.id())).await.ok();
            assert_eq!(read["disposable"], policy == "flag", "{policy}");
        } else {
            reply.is_problem(422, "disposable-email");
        }
    }
}

#[tokio::test]
async fn a_robot_that_fills_the_honeypot_is_told_nothing() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let email = address("bot");
    let body = json!({ "waitlist_id": waitlist, "email": email, "consent": true, "website": "https://spam.example" });
    let reply = api.public("POST", "/subscribers").json(body).send().await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (202, r#"{"status":"pending"}"#));
    assert_eq!(api.join(&waitlist, &address("human"), None).await.json["position"], 1);
    let found = api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    assert_eq!(found["data"], json!([]));
}

#[tokio::test]
async fn joins_are_limited_per_address_of_the_caller() {
    let Some(api) = Api::another_account().await else { return };
    let limits = json!({ "limits": { "joins_per_ip_per_minute": 3 } });
    api.secret("PATCH", "/account").json(limits).send().await.ok();
    let waitlist = api.waitlist(json!({})).await;
    let mut refused = 0;
    for n in 0..8 {
        let reply = api.join(&waitlist, &address("x"), None).await;
        if reply.status == 429 {
            reply.is_problem(429, "rate-limited");
            assert_eq!(reply.header("x-ratelimit-limit"), "3");
            assert_eq!(reply.header("x-ratelimit-remaining"), "0");
            let wait: u64 = reply.header("retry-after").parse().unwrap();
            assert!((1..=80).contains(&wait) && reply.header("ratelimit").starts_with("\"minute\";r=0;t="));
            refused += 1;
        } else {
            assert_eq!((reply.status.as_u16(), reply.header("x-ratelimit-limit")), (201, "3"), "{n}");
        }
    }
    assert!(refused >= 2, "a window may end once in between, not twice");
    // Other addresses, and servers, are not limited. The refused joins have left no gap in the line.
    let other = api.from_host(77).join(&waitlist, &address("y"), None).await;
    assert_eq!(other.status, 201);
    let body = json!({ "waitlist_id": waitlist, "email": address("z"), "consent": true });
    let last = api.post("/subscribers", body).await;
    assert_eq!(last.status, 201);
    let joined = 10 - refused;
    assert_eq!(last.ok()["position"], joined);
    eventually(|| async {
        let list = api.get(&format!("/waitlists/{waitlist}")).await.ok();
        (list["counts"]["in_line"] == joined).then_some(())
    })
    .await;
}

/// One IPv6 connection has 2^64 addresses.
#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_line_is_one_caller_whatever_address_it_takes() {
    let (Some(platform), Some(api)) = (embedded(), Api::another_account().await) else { return };
    let limits = json!({ "limits": { "joins_per_ip_per_minute": 2, "clicks_per_ip_per_minute": 2 } });
    api.secret("PATCH", "/account").json(limits).send().await.ok();
    let waitlist = api.waitlist(json!({})).await;
    // The gateway's event sets the caller's address, because a test cannot call from such an address.
    let sample = |name: &str| -> Value {
        let path = format!("{}/../events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let from = async |function: &str, sample: &Value, body: Value, address: &str| {
        let mut event = sample.clone();
        event["body"] = json!(body.to_string());
        let key = format!("{function}-{address}");
        event["multiValueHeaders"]["Idempotency-Key"] = json!([key]);
        event["headers"]["Idempotency-Key"] = json!(key);
        event["requestContext"]["identity"]["sourceIp"] = json!(address);
        event["requestContext"]["authorizer"]["account_id"] = json!(api.credentials.account_id);
        platform.invoke(function, event).await.unwrap()["statusCode"].as_u64().unwrap()
    };
    let (join, click) = (sample("subscriber-join"), sample("referral-click"));
    for (function, sample, mine) in [("SubscriberFunction", &join, true), ("ReferralFunction", &click, false)]
    {
        let body = || match mine {
            true => json!({ "waitlist_id": waitlist, "email": address("six"), "consent": true }),
            false => json!({ "referral_code": "gone" }),
        };
        let mut refused = 0;
        for n in 0..8 {
            let status = from(function, sample, body(), &format!("2001:db8:0:7:{n}::{n}")).await;
            assert!(status == 201 || status == 429, "{function}: {status}");
            refused += u32::from(status == 429);
        }
        assert!(refused >= 3, "{function}: a window may end once in between, not twice");
        assert_eq!(from(function, sample, body(), "2001:db8:0:8::1").await, 201, "{function}");
    }
}

#[tokio::test]
async fn the_first_in_line_are_invited_in_order_and_get_a_mail() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let mut people = Vec::new();
    for n in 0..5 {
        let email = address(&format!("p{n}"));
        people.push((api.join(&waitlist, &email, None).await.id(), email));
    }
    eventually(|| async {
        let counts = api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"].clone();
        (counts["in_line"] == 5).then_some(())
    })
    .await;
    let path = format!("/waitlists/{waitlist}/invitations");
    let invite = |body| api.post(&path, body);
    let first = invite(json!({ "count": 2 })).await.ok();
    assert_eq!(first, json!({ "invited": [people[0].0, people[1].0], "skipped": [] }));
    // A second invitation at once, before any subscriber has left the line, invites the next ones.
    let second = invite(json!({ "count": 1 })).await.ok();
    assert_eq!(second["invited"], json!([people[2].0]));
    let named = invite(json!({ "subscriber_ids": [people[4].0, people[0].0] })).await.ok();
    assert_eq!((&named["invited"], &named["skipped"]), (&json!([people[4].0]), &json!([people[0].0])));
    let mail = api.mail(&people[0].1).await;
    assert!(mail["subject"].as_str().unwrap().starts_with("It's your turn"));

    // A position that is read during a change of the line may mix old and new values.
    eventually(|| async {
        let now = api.position(&people[3].0).await;
        (now["position"] == 1 && now["total"] == 1).then_some(())
    })
    .await;
    assert_eq!(api.position(&people[0].0).await["position"], Value::Null);
    let late = api.join(&waitlist, &address("late"), None).await;
    assert_eq!(late.json["position"], 2, "whoever left stands before nobody");
    for body in [
        json!({}),
        json!({ "count": 0 }),
        json!({ "count": 100 }),
        json!({ "count": 1, "subscriber_ids": [] }),
    ] {
        invite(body).await.refuses("count");
    }
    invite(json!({ "subscriber_ids": [] })).await.refuses("subscriber_ids");
    let stranger = api.join(&api.waitlist(json!({})).await, &address("x"), None).await.id();
    invite(json!({ "subscriber_ids": [stranger] })).await.is_problem(404, "not-found");
}

#[tokio::test]
async fn a_subscriber_is_converted_once() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let id = api.join(&waitlist, &address("ada"), None).await.id();
    let convert = async || api.post(&format!("/subscribers/{id}/convert"), json!({})).await;
    let first = convert().await.ok();
    assert_eq!(first["status"], "converted");
    assert_eq!(convert().await.ok()["converted_at"], first["converted_at"]);
    assert_eq!(events(&api, &waitlist, &id, 2).await, ["subscriber.joined", "subscriber.converted"]);
    let counts = eventually(|| async {
        let counts = api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"].clone();
        (counts["converted"] == 1).then_some(counts)
    });
    assert_eq!(counts.await["in_line"], 0);
    let pending = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let email = address("bo");
    api.join(&pending, &email, None).await;
    let found = api.get(&format!("/subscribers?waitlist_id={pending}&email={email}")).await.ok();
    let path = format!("/subscribers/{}/convert", found["data"][0]["id"].as_str().unwrap());
    api.post(&path, json!({})).await.is_problem(409, "not-in-line");
}

#[tokio::test]
async fn an_erased_subscriber_leaves_counts_and_nothing_else() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let email = address("Zaphod");
    let ada = api.join(&waitlist, &email, None).await;
    let bo = api.join(&waitlist, &address("bo"), Some(&ada.text_at("referral_code"))).await;
    let cy = api.join(&waitlist, &address("cy"), Some(&bo.text_at("referral_code"))).await;
    eventually(|| async { (api.position(&bo.id()).await["referrals"] == 1).then_some(()) }).await;

    let erase = || api.secret("DELETE", &format!("/subscribers/{}", ada.id())).send();
    assert_eq!(erase().await.status, 204);
    erase().await.is_problem(404, "not-found");
    api.get(&format!("/subscribers/{}", ada.id())).await.is_problem(404, "not-found");
    let positions = eventually(|| async {
        let now = api.position(&cy.id()).await;
        (now["total"] == 2).then_some(now)
    });
    assert_eq!(positions.await["position"], 2);
    assert_eq!(api.position(&bo.id()).await["position"], 1);
    let kinds = events(&api, &waitlist, &ada.id(), 3).await;
    assert_eq!(kinds.last().map(String::as_str), Some("subscriber.erased"));
    assert_eq!(
        api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"]["referrals"],
        2,
        "counts stay"
    );

    // The address may join again as a new subscriber. The old code credits nobody and causes no error.
    let anew = api.join(&waitlist, &email, Some(&ada.text_at("referral_code"))).await;
    assert_eq!((anew.status.as_u16(), &anew.json["position"]), (201, &json!(3)));
    assert_ne!(anew.id(), ada.id());
    assert!(api.get(&format!("/subscribers/{}", anew.id())).await.ok()["referred_by"].is_null());
}

#[tokio::test]
async fn a_hot_list_puts_the_engaged_first() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let ada = api.join(&waitlist, &address("ada"), None).await;
    let bo = api.join(&waitlist, &address("bo"), None).await;
    for _ in 0..2 {
        api.join(&waitlist, &address("friend"), Some(&bo.text_at("referral_code"))).await;
    }
    api.join(&waitlist, &address("friend"), Some(&ada.text_at("referral_code"))).await;
    let hot = eventually(|| async {
        let page = api.get(&format!("/subscribers?waitlist_id={waitlist}&sort=hot&limit=2")).await.ok();
        (page["data"][0]["referrals"] == 2 && page["data"][1]["referrals"] == 1).then_some(page)
    })
    .await;
    assert_eq!((&hot["data"][0]["id"], &hot["data"][1]["id"]), (&json!(bo.id()), &json!(ada.id())));
    assert!(hot["data"][0]["hot_score"].as_f64() > hot["data"][1]["hot_score"].as_f64());
    let cursor = hot["next_cursor"].as_str().unwrap();
    eventually(|| async {
        let rest =
            api.get(&format!("/subscribers?waitlist_id={waitlist}&sort=hot&cursor={cursor}")).await.ok();
        (rest["data"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_list_goes_through_everybody_once() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let mut joined = Vec::new();
    for _ in 0..23 {
        joined.push(api.join(&waitlist, &address("p"), None).await.id());
    }
    let listed = eventually(|| async {
        let mut listed = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = api.get(&format!("/subscribers?waitlist_id={waitlist}&limit=5{cursor}")).await.ok();
            let data = page["data"].as_array().unwrap();
            listed.extend(data.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break (listed.len() == 23).then_some(listed),
            }
        }
    })
    .await;
    assert_eq!(listed, joined, "oldest first");
}

#[tokio::test]
async fn an_export_is_a_csv_that_no_spreadsheet_runs() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    for name in
        ["=cmd|' /C calc'!A0", "+1+1", "-1", "@SUM(1)", "＝SUM(1)", "Ada;=1+1", "Plain, \"quoted\"", "李小龙"]
    {
        let body = json!({ "waitlist_id": waitlist, "email": address("x"), "name": name, "consent": true });
        assert_eq!(api.post("/subscribers", body).await.status, 201);
    }
    let email = format!("=formula{}@example.com", unique());
    let victim = api.join(&waitlist, &email, None).await;
    let key = format!("export-{}", unique());
    let start = || {
        let body = json!({ "kind": "subscribers", "waitlist_id": waitlist });
        api.secret("POST", "/exports").header("idempotency-key", &key).json(body).send()
    };
    let started = start().await;
    assert_eq!(started.status, 202);
    assert_eq!(start().await.id(), started.id());
    let path = started.header("location").trim_start_matches("/api/v1").to_owned();
    let done = eventually(|| async {
        Some(api.get(&path).await.ok()).filter(|export| export["status"] == "completed")
    })
    .await;
    assert_eq!(done["rows"], 9);
    let url = done["url"].as_str().unwrap();
    let file = reqwest::get(url).await.unwrap();
    assert_eq!(file.status(), 200);
    assert_eq!(file.headers()["content-type"], "text/csv; charset=utf-8");
    let text = file.text().await.unwrap();
    assert!(text.starts_with("id,email,name,status,referral_code"));
    assert_eq!(text.lines().count(), 10);
    for cell in [
        "'=cmd|' /C calc'!A0",
        "'+1+1",
        "'-1",
        "'@SUM(1)",
        "'＝SUM(1)",
        "Ada;'=1+1",
        "\"Plain, \"\"quoted\"\"\"",
        "李小龙",
        "'=formula",
    ] {
        assert!(text.contains(&format!(",{cell}")), "{cell} in {text}");
    }
    let (rest, last) = url.split_at(url.find("X-Amz-Signature=").unwrap() + "X-Amz-Signature=".len());
    let forged = format!("{rest}{}", last.replace(['0', '1', '2'], "3"));
    assert_eq!(reqwest::get(forged).await.unwrap().status(), 403);

    // An erased subscriber is removed from exports too.
    let erased = api.secret("DELETE", &format!("/subscribers/{}", victim.id())).send().await;
    assert_eq!(erased.status, 204);
    eventually(|| async { (api.get(&path).await.ok()["status"] == "expired").then_some(()) }).await;
    eventually(|| async { (reqwest::get(url).await.unwrap().status() == 404).then_some(()) }).await;
    let by_get = api.get(&format!("/subscribers/export?waitlist_id={waitlist}")).await;
    assert_eq!(by_get.status, 202);
}

#[tokio::test]
async fn a_message_that_the_queue_delivers_twice_is_sent_once() {
    let Some(platform) = embedded() else { return };
    let api = Api::shared();
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let email = address("ada");
    api.join(&waitlist, &email, None).await;
    api.mail(&email).await;
    let found = api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    let id = found["data"][0]["id"].as_str().unwrap();
    let body = json!({ "kind": "subscriber_mail", "subscriber_id": id, "message_id": format!("{id}:1") });
    let event = json!({ "Records": [{
        "messageId": "m1", "receiptHandle": "r", "body": body.to_string(), "attributes": {},
        "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs", "eventSourceARN": "arn", "awsRegion": "us-east-1",
    }] });
    let deliveries = (0..4).map(|_| platform.invoke("MessageSenderFunction", event.clone()));
    for answer in futures_util::future::join_all(deliveries).await {
        assert_eq!(answer.unwrap()["batchItemFailures"], json!([]));
    }
    assert_eq!(api.mails(&email, 1).await.len(), 1);
}

/// Returns the subscriber with this address.
async fn found(api: &Api, waitlist: &str, email: &str) -> Value {
    let found = api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    found["data"][0].clone()
}

/// Joins again with another consent text and another source.
async fn rejoin(api: &Api, key: &str, waitlist: &str, email: &str) -> Reply {
    let consent = json!({ "granted": true, "text": "Once more" });
    let body = json!({ "waitlist_id": waitlist, "email": email, "consent": consent, "source": "return" });
    api.call("POST", "/subscribers").key(key).json(body).send().await
}

async fn unsubscribe(api: &Api, mail: &Value) {
    let path = format!("/subscribers/unsubscribe?token={}", link_token(mail, "/unsubscribe?token="));
    assert_eq!(api.call("POST", &path).send().await.status, 204);
}

async fn confirm(api: &Api, mail: &Value) -> Reply {
    let token = link_token(mail, "/verify?token=");
    api.call("POST", "/subscribers/verify").json(json!({ "token": token })).send().await
}

/// Waits until the mails that were requested before are very likely handled.
async fn mails_are_out(api: &Api) {
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let marker = address("marker");
    api.join(&waitlist, &marker, None).await;
    api.mail(&marker).await;
}

#[tokio::test]
async fn whoever_unsubscribed_comes_back_by_a_mail_only() {
    let api = Api::shared();
    let (publishable, secret) = (&api.credentials.publishable_key, &api.credentials.secret_key);
    for policy in ["none", "double_opt_in"] {
        let waitlist = api.waitlist(json!({ "verification_policy": policy })).await;
        let (email, other) = (address("ada"), address("bo"));
        for email in [&email, &other] {
            api.join(&waitlist, email, None).await;
            if policy == "double_opt_in" {
                api.verify(email).await.ok();
            }
        }
        let id = found(&api, &waitlist, &email).await["id"].clone();
        let path = format!("/waitlists/{waitlist}/invitations");
        api.post(&path, json!({ "subscriber_ids": [id] })).await.ok();
        let mut mails = if policy == "none" { 1 } else { 2 };
        let invitation = api.mails(&email, mails).await.swap_remove(0);
        unsubscribe(&api, &invitation).await;
        let first = found(&api, &waitlist, &email).await;
        assert!(first["unsubscribed_at"].is_string());

        // The answers do not reveal an unsubscribed address. Forms and keys can only request a mail.
        let stranger = rejoin(&api, publishable, &waitlist, &other).await;
        for key in [secret, publishable] {
            let answer = rejoin(&api, key, &waitlist, &email).await;
            assert_eq!(answer.status, stranger.status, "{policy}");
            let fields = |reply: &Reply| reply.json.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(fields(&answer), fields(&stranger), "{policy}");
        }
        mails += 1;
        let asks = api.mails(&email, mails).await.swap_remove(0);
        assert!(asks["subject"].as_str().unwrap().starts_with("Come back"), "{asks}");
        mails_are_out(&api).await;
        assert_eq!(api.mails(&email, mails).await.len(), mails, "one a day");
        let still = found(&api, &waitlist, &email).await;
        assert_eq!(
            (&still["unsubscribed_at"], &still["consent"]),
            (&first["unsubscribed_at"], &first["consent"])
        );
        let token = link_token(&asks, "/verify?token=");
        assert_eq!(api.call("GET", &format!("//verify?token={token}")).send().await.status, 200);
        assert!(found(&api, &waitlist, &email).await["unsubscribed_at"].is_string());

        confirm(&api, &asks).await.ok();
        let back = found(&api, &waitlist, &email).await;
        assert_eq!((&back["unsubscribed_at"], &back["status"]), (&Value::Null, &json!("invited")));
        assert_eq!((&back["consent"]["text"], &back["source"]), (&json!("Once more"), &json!("return")));
        assert!(back["consent"]["at"].as_str() > first["consent"]["at"].as_str());
        mails += 1;
        let invitation = api.mails(&email, mails).await.swap_remove(0);
        assert!(invitation["subject"].as_str().unwrap().starts_with("It's your turn"));
        confirm(&api, &asks).await.ok();
        assert_eq!(found(&api, &waitlist, &email).await["consent"], back["consent"], "harmless to repeat");
        let id = id.as_str().unwrap();
        let kinds = eventually(|| async {
            let kinds = events(&api, &waitlist, id, 4).await;
            kinds.contains(&"subscriber.resubscribed".to_owned()).then_some(kinds)
        })
        .await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "subscriber.resubscribed").count(), 1, "{kinds:?}");

        // A link only revokes the unsubscription before it, not a later one.
        unsubscribe(&api, &invitation).await;
        confirm(&api, &asks).await.ok();
        assert!(found(&api, &waitlist, &email).await["unsubscribed_at"].is_string(), "{policy}");
    }
}

#[tokio::test]
async fn an_address_that_unsubscribed_before_it_was_verified_can_be_verified_later() {
    let api = Api::shared();
    let key = &api.credentials.publishable_key;
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    for link in ["old", "new"] {
        let email = address(link);
        api.join(&waitlist, &email, None).await;
        let old = api.mail(&email).await;
        unsubscribe(&api, &old).await;
        assert_eq!(rejoin(&api, key, &waitlist, &email).await.status, 202);
        let new = api.mails(&email, 2).await.swap_remove(0);
        assert!(new["subject"].as_str().unwrap().starts_with("Come back"));
        confirm(&api, if link == "old" { &old } else { &new }).await.ok();
        let back = found(&api, &waitlist, &email).await;
        assert_eq!((&back["unsubscribed_at"], &back["status"]), (&Value::Null, &json!("active")), "{link}");
        assert_eq!(back["consent"]["text"], "Once more");
        let path = format!("/waitlists/{waitlist}/invitations");
        api.post(&path, json!({ "subscriber_ids": [back["id"]] })).await.ok();
        let invitation = api.mails(&email, 3).await.swap_remove(0);
        assert!(invitation["subject"].as_str().unwrap().starts_with("It's your turn"));
    }
}

#[tokio::test]
async fn whoever_unsubscribed_is_asked_to_come_back_once_a_day() {
    let Some(platform) = embedded() else { return };
    let api = Api::shared();
    let key = &api.credentials.publishable_key;
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let email = address("ada");
    api.join(&waitlist, &email, None).await;
    api.verify(&email).await.ok();
    unsubscribe(&api, &api.mail(&email).await).await;
    let id = found(&api, &waitlist, &email).await["id"].as_str().unwrap().parse().unwrap();
    let mut mails = 1;
    for hours in [0, 25] {
        let read = waitlists::subscribers::find(&platform.table, &id).await.unwrap().unwrap();
        let rev = read.rev;
        let asked = read.return_requested_at.map(|at| at - jiff::SignedDuration::from_hours(hours));
        let earlier = waitlists::subscriber::Subscriber { return_requested_at: asked, rev: rev + 1, ..read };
        assert!(waitlists::subscribers::update(&earlier, rev).applies(&platform.table).await.unwrap());
        for _ in 0..3 {
            rejoin(&api, key, &waitlist, &email).await;
        }
        mails += 1;
        let asks = api.mails(&email, mails).await.swap_remove(0);
        // An unsubscribe through the mail rejects the stranger's request. It causes no further mail.
        unsubscribe(&api, &asks).await;
        rejoin(&api, key, &waitlist, &email).await;
        mails_are_out(&api).await;
        assert_eq!(api.mails(&email, mails).await.len(), mails);
        confirm(&api, &asks).await.ok();
        assert!(found(&api, &waitlist, &email).await["unsubscribed_at"].is_string());
    }
}

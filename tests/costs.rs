//! Costs in operations, and a test that the list of access patterns is complete and exact.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use groundswell::{Options, Platform, faults::Faults};
use scenarios::{
    Api, address, embedded, eventually, platform,
    receiver::{Receiver, Reply},
    twilio::{Behaviour, FakeTwilio},
    unique, until,
};
use serde_json::json;

/// Returns the calls between two readings of the meter.
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
    // Waits until all effects of the join are counted and its event is matched with webhook endpoints.
    eventually(|| async {
        let told = platform.meter.snapshot().contains_key("webhook.endpoints");
        (told && api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"]["active"] == 1).then_some(())
    })
    .await;

    let before = platform.meter.snapshot();
    api.position(&ada.id()).await;
    let calls = spent(&before, &platform.meter.snapshot());
    // One read for the API key, as in every request, and three for the position.
    assert_eq!(
        calls,
        BTreeMap::from([("key.read", 1), ("line.leaf", 1), ("line.tree", 1), ("subscriber.read", 1)])
    );

    let before = platform.meter.snapshot();
    // From another address, whose rate limit has no recent requests.
    api.from_host(2).join(&waitlist, &address("bo"), Some(&ada.text_at("referral_code"))).await;
    let calls = spent(&before, &platform.meter.snapshot());
    let of_the_request =
        ["key.read", "subscriber.join-context", "rate.count", "subscriber.number", "subscriber.join"];
    let calls: Vec<_> = of_the_request.iter().map(|name| calls[name]).collect();
    assert_eq!(calls, [1, 1, 1, 1, 1]);
}

/// A tour through all features, after which every access pattern has been used.
#[tokio::test(flavor = "multi_thread")]
async fn every_access_pattern_is_exercised_and_none_is_missing() {
    let data = tempfile::tempdir().unwrap();
    if embedded().is_none() {
        return;
    }
    let twilio = FakeTwilio::start(&sid("AC"), &"0".repeat(32), answer, || Duration::ZERO).await;
    let options = Options {
        twilio: Some(twilio.url.clone()),
        ..scenarios::options(data.path(), false, Faults::default())
    };
    let platform = scenarios::start(options).await;
    let api = Api::new(platform.credentials.clone());
    let token = platform.oidc.id_token(&api.credentials.oidc_username, Duration::from_secs(60));
    assert_eq!(api.call("GET", "/members").key(&token).send().await.status, 200);
    for path in ["/health/ready", "/account", "/api-keys", "/audit-log", "/waitlists"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    api.secret("PATCH", "/account").json(json!({ "name": "Tour" })).send().await.ok();
    // The deletion of an owner counts the remaining owners.
    let owner = json!({ "email": address("m"), "role": "owner" });
    let once = |path: &str| api.secret("POST", path).header("idempotency-key", path);
    let member =
        api.call("POST", "/members").key(&token).header("idempotency-key", "tour").json(owner).send().await;
    let gone = api.call("DELETE", &format!("/members/{}", member.id())).key(&token).send().await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    let key = api.post("/api-keys", json!({ "kind": "publishable" })).await.id();
    api.secret("DELETE", &format!("/api-keys/{key}")).send().await;

    let settings = json!({ "name": "Tour", "verification_policy": "double_opt_in", "reward_tiers": [{ "referrals": 1, "name": "x" }] });
    let waitlist = once("/waitlists").json(settings).send().await.id();
    let renamed = api.secret("PATCH", &format!("/waitlists/{waitlist}")).header("if-match", "*");
    renamed.json(json!({ "slug": format!("tour-{}", unique()) })).send().await.ok();
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
    let click = json!({ "referral_code": people[0]["referral_code"] });
    // With a publishable key, because clicks from a server are not rate-limited.
    let visit = api.public("POST", "/referrals").header("idempotency-key", "visit");
    visit.json(click).send().await.ok();
    let own = people[0]["token"].as_str().unwrap();
    let seen = api.public("GET", &format!("/referrals/{ada}")).header("x-subscriber-token", own).send().await;
    assert_eq!(seen.status, 200, "{}", seen.text);
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
        format!("/analytics/waitlists/{waitlist}"),
        format!("/analytics/referrals/{waitlist}"),
        "/analytics/funnel".to_owned(),
    ] {
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }
    let revoke = format!("/referrals/{}/revoke", bo.replace("sub_", "ref_"));
    api.post(&revoke, json!({})).await.ok();
    let invitations = format!("/waitlists/{waitlist}/invitations");
    once(&invitations).json(json!({ "count": 1 })).send().await.ok();
    mail_that_nobody_takes(&platform, &api, &waitlist).await;
    let export = api.post("/exports", json!({ "kind": "subscribers", "waitlist_id": waitlist })).await.id();
    eventually(|| async {
        (api.get(&format!("/exports/{export}")).await.ok()["status"] == "completed").then_some(())
    })
    .await;
    api.secret("DELETE", &format!("/subscribers/{bo}")).send().await;

    crate::tours(&api).await;
    webhooks(&platform, &api).await;
    campaigns(&platform, &api, &twilio).await;

    let pool = api.pool(json!({})).await;
    api.import(&pool, "code\nTOUR-0001\nTOUR-0002\n").await;
    let empty = api.import(&pool, "platform\nios\n").await;
    assert_eq!(empty["status"], "failed", "{empty}");
    import_without_its_file(&platform, &api, &pool).await;
    let claim = api.claim(&pool, "ada").await;
    assert_eq!(api.claim(&pool, "bo").await.status, 201);
    api.claim(&pool, "cy").await.is_problem(409, "codes-exhausted");
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let code = codes[0]["id"].as_str().unwrap();
    for path in [
        "/code-pools".to_owned(),
        format!("/code-pools/{pool}"),
        format!("/code-pools/{pool}/events"),
        format!("/code-pools/{pool}/imports"),
        format!("/analytics/code-pools/{pool}"),
        format!("/distribute/{pool}"),
        format!("/codes/{code}"),
        format!("/claims/{}", claim.text_at("claim_id")),
    ] {
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }
    once(&format!("/codes/{code}/redeem")).json(json!({})).send().await.ok();
    let old = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(31 * 24);
    crate::codes::claim_at(&platform, &api, &pool, "dora", old).await;
    platform.invoke("JobsFunction", json!({ "schedule": "archive_codes" })).await.unwrap();
    let request = json!({ "operation": "create_account", "name": "Acme", "owner": "ada@example.com" });
    platform.invoke("JobsFunction", request).await.unwrap();
    eventually(|| async { platform.meter.snapshot().contains_key("archive.write").then_some(()) }).await;
    api.secret("DELETE", &format!("/code-pools/{pool}")).send().await;
    api.secret("DELETE", &format!("/waitlists/{waitlist}")).send().await;

    // Each function makes exactly the calls in the list, so that the permissions derived from the list are
    // neither too few nor too many. Some calls happen a moment later.
    until(Duration::from_secs(30), || async {
        let differences = unlike_the_list(&platform);
        if differences.is_empty() { Ok(()) } else { Err(format!("\n{}", differences.join("\n"))) }
    })
    .await;
    println!("{} access patterns exercised", families::patterns().count());
}

fn sid(prefix: &str) -> String {
    format!("{prefix}{}", "0".repeat(32))
}

/// Decides Twilio's behaviour on the tour by the last digit of the number.
fn answer(form: &BTreeMap<String, String>, before: usize) -> Behaviour {
    match (form["To"].chars().last(), before) {
        (Some('1'), _) => Behaviour::Refuse { status: 400, code: 21610 },
        (Some('2'), 0) => Behaviour::TooMany { retry_after: 1 },
        (Some('5'), 0) => Behaviour::Drop,
        _ => Behaviour::Accept,
    }
}

/// Exercises campaigns.
async fn campaigns(platform: &Platform, api: &Api, twilio: &FakeTwilio) {
    let once = |path: &str| api.secret("POST", path).header("idempotency-key", path);
    let settings =
        json!({ "account_sid": sid("AC"), "auth_token": "0".repeat(32), "sms_sender": "+4930123456" });
    for _ in 0..2 {
        api.secret("PUT", "/providers/twilio").json(settings.clone()).send().await.ok();
    }
    let program = api.program(json!({ "milestones": [1] })).await;
    let pool = api.pool(json!({})).await;
    api.import(&pool, "code\nTOUR-1001\nTOUR-1002\nTOUR-1003\nTOUR-1004\nTOUR-1005\n").await;
    let mut customers = Vec::new();
    for digit in 1..=5 {
        let number = scenarios::phone();
        let number = format!("{}{digit}", &number[..number.len() - 1]);
        let body = json!({ "program_id": program, "phone": number, "consent": true });
        customers.push(api.post("/enrollments", body).await.text_at("customer_id"));
    }
    let mut made = Vec::new();
    for (n, trigger) in [
        json!({ "kind": "segment" }),
        json!({ "kind": "birthday" }),
        json!({ "kind": "milestone", "visits": 1 }),
    ]
    .into_iter()
    .enumerate()
    {
        let settings = json!({ "name": "Tour", "program_id": program, "trigger": trigger, "code_pool_id": pool,
            "template": { "channel": "sms", "text": "{{code}}" } });
        let made_once = api.secret("POST", "/campaigns").header("idempotency-key", &format!("tour-{n}"));
        let campaign = made_once.json(settings).send().await.id();
        once(&format!("/campaigns/{campaign}/activate")).json(json!({})).send().await.ok();
        made.push(campaign);
    }
    let sends = async || api.all(&format!("/campaigns/{}/sends", made[0])).await;
    // One customer opts out, one message is deferred, and one message gets no callback.
    eventually(|| async {
        for unknown in sends().await.iter().filter(|send| send["status"] == "unknown") {
            scenarios::overdue(&platform.table, unknown).await;
        }
        platform.invoke("CampaignSchedulerFunction", json!({ "schedule": "campaigns" })).await.unwrap();
        let counts = api.get(&format!("/campaigns/{}", made[0])).await.ok()["counts"].clone();
        (counts["audience"] == 5 && counts["open"] == 0).then_some(())
    })
    .await;
    let taken = twilio.taken();
    twilio.status(&taken[0], "failed", Some(63018)).await;
    twilio.status(&taken[1], "failed", Some(63033)).await;
    twilio.reply(&taken[1], "START").await;
    // A deferred message becomes due while its campaign is paused.
    once(&format!("/campaigns/{}/pause", made[0])).json(json!({})).send().await.ok();
    let deferred = sends().await.into_iter().find(|send| send["status"] == "deferred").unwrap();
    scenarios::overdue(&platform.table, &deferred).await;
    eventually(|| async {
        platform.invoke("CampaignSchedulerFunction", json!({ "schedule": "campaigns" })).await.unwrap();
        sends().await.iter().any(|send| send["status"] == "queued").then_some(())
    })
    .await;
    let account = &api.credentials.account_id;
    let key = accounts::signing_key(&platform.table, account).await.unwrap();
    let token = domain::token::issue(&key, domain::token::Purpose::OptOut, &customers[0], None);
    let stopped = api.call("POST", &format!("/customers/unsubscribe?token={token}")).send().await;
    assert_eq!(stopped.status, 204, "{}", stopped.text);
    let visit = json!({ "program_id": program, "customer_id": customers[2] });
    api.post("/stamps", visit).await.ok();
    let test = format!("/campaigns/{}/test", made[0]);
    once(&test).json(json!({ "customer_id": customers[2] })).send().await.ok();
    // The second of two messages finds no code.
    let pool = api.pool(json!({})).await;
    api.import(&pool, "code\nTOUR-2001\n").await;
    let settings = json!({ "name": "Tour", "program_id": program, "trigger": { "kind": "segment" },
        "code_pool_id": pool, "template": { "channel": "sms", "text": "{{code}}" } });
    let draft = api.post("/campaigns", settings).await.id();
    for customer in &customers[3..] {
        let test = json!({ "customer_id": customer });
        api.post(&format!("/campaigns/{draft}/test"), test).await.ok();
    }
    eventually(|| async {
        let sends = api.all(&format!("/campaigns/{draft}/sends")).await;
        let with = |status: &str| sends.iter().filter(|send| send["status"] == status).count();
        (sends.len() == 2 && with("refused") == 1).then_some(())
    })
    .await;
    made.push(draft);
    for path in [
        "/campaigns".to_owned(),
        "/providers/twilio".to_owned(),
        format!("/campaigns/{}", made[0]),
        format!("/campaigns/{}/events", made[0]),
        format!("/campaigns/{}/sends", made[0]),
        format!("/analytics/campaigns/{}", made[0]),
    ] {
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }
    for campaign in made {
        api.secret("DELETE", &format!("/campaigns/{campaign}")).send().await;
    }
    assert_eq!(api.secret("DELETE", "/providers/twilio").send().await.status, 204);
}

/// Exercises messages to webhook endpoints.
async fn webhooks(platform: &Platform, api: &Api) {
    let receiver = Receiver::start(|request, before| match (request.path.as_str(), before) {
        ("/hook?first", 0) => Reply::Status(503),
        ("/hook?slow", _) => Reply::Held(200),
        ("/hook?gone", _) => Reply::Status(410),
        _ => Reply::Status(200),
    })
    .await;
    let once = |path: &str| api.secret("POST", path).header("idempotency-key", path);
    let mut made = Vec::new();
    for what in ["first", "slow", "gone"] {
        let key = format!("webhooks-{what}");
        let call = api.secret("POST", "/webhook-endpoints").header("idempotency-key", &key);
        let body = json!({ "url": format!("{}?{what}", receiver.url), "event_types": ["comment.erased"] });
        let id = call.json(body).send().await.id();
        let asked = once(&format!("/webhook-endpoints/{id}/test")).json(json!({})).send().await.ok();
        made.push((id, asked["id"].as_str().unwrap().to_owned()));
    }
    eventually(|| async { platform.meter.snapshot().contains_key("webhook.slow").then_some(()) }).await;
    receiver.release();
    let status = |delivery: String| async move {
        api.get(&format!("/deliveries/{delivery}")).await.ok()["status"].as_str().unwrap().to_owned()
    };
    eventually(|| async { (status(made[2].1.clone()).await == "failed").then_some(()) }).await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(2);
    eventually(|| async {
        let look = serde_json::from_value(json!({ "schedule": "deliveries" })).unwrap();
        crate::webhooks::sender(platform).handle_at(look, soon).await.unwrap();
        (status(made[0].1.clone()).await == "delivered").then_some(())
    })
    .await;
    once(&format!("/deliveries/{}/replay", made[0].1)).json(json!({})).send().await.ok();
    assert!(api.mail(&api.credentials.oidc_username).await["text"].as_str().unwrap().contains(&made[2].0));
    for (id, _) in &made {
        let path = format!("/webhook-endpoints/{id}");
        for path in ["/webhook-endpoints", &path, &format!("{path}/deliveries")] {
            assert_eq!(api.get(path).await.status, 200, "{path}");
        }
        once(&format!("{path}/rotate-secret")).json(json!({})).send().await.ok();
    }
    // The slow endpoint answers quickly now. The next message finds none of the endpoints.
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(11);
    let told = |id: &str| crate::webhooks::tell(api, id, later);
    crate::webhooks::work(platform, json!({ "kind": "slow", "task": told(&made[1].0) }), later).await;
    for (id, _) in &made {
        assert_eq!(api.secret("DELETE", &format!("/webhook-endpoints/{id}")).send().await.status, 204);
        crate::webhooks::work(platform, told(id), later).await;
    }
}

/// Exercises a mail that cannot reach SES: the mail is deferred, and queued again when it is due.
async fn mail_that_nobody_takes(platform: &Platform, api: &Api, waitlist: &str) {
    let email = address("cy");
    api.join(waitlist, &email, None).await;
    let found = api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    let subscriber = found["data"][0]["id"].as_str().unwrap();
    let mut variables = platform.environment("MessageSenderFunction").unwrap();
    variables.insert("AWS_ENDPOINT_URL_SESV2".to_owned(), "http://127.0.0.1:1".to_owned());
    let env = aws::Env::new(variables, aws::plain_http_client());
    let sender =
        message_sender::MessageSender::from_env(&env.with_meter(platform.meters["message-sender"].clone()));
    let body = json!({ "kind": "subscriber_mail", "subscriber_id": subscriber, "message_id": "tour" });
    let event = json!({ "Records": [{ "messageId": "tour", "body": body.to_string() }] });
    let answer = sender.unwrap().handle(serde_json::from_value(event).unwrap()).await.unwrap();
    assert!(answer.batch_item_failures.is_empty());
    crate::mails::pass(platform, jiff::SignedDuration::from_mins(1)).await;
    platform.invoke("CampaignSchedulerFunction", json!({ "schedule": "campaigns" })).await.unwrap();
    // The address got the other mail when it joined.
    api.mails(&email, 2).await;
}

/// Exercises an import whose file is deleted while the import runs: the import counts the rows that it had
/// loaded.
async fn import_without_its_file(platform: &Platform, api: &Api, pool: &str) {
    let upload = api.post(&format!("/code-pools/{pool}/imports"), json!({})).await;
    let (pool_id, id) = (pool.parse().unwrap(), upload.id().parse().unwrap());
    let announced = codes::imports::read(&platform.table, &pool_id, &id).await.unwrap().unwrap();
    let loading = codes::entities::Import {
        status: codes::entities::ImportStatus::Loading,
        etag: Some("old".to_owned()),
        columns: Some(vec!["code".to_owned()]),
        rev: announced.rev + 1,
        ..announced.clone()
    };
    codes::imports::update(&platform.table, &loading, announced.rev).await.unwrap();
    let event = json!({ "detail": { "object": { "key": announced.object, "etag": "old" } } });
    platform.invoke("CodeImportFunction", event).await.unwrap();
}

/// Returns the differences between the calls that were made and those in the list.
fn unlike_the_list(platform: &Platform) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: String, listed: BTreeSet<String>, made: BTreeSet<String>| {
        differences.extend(made.difference(&listed).map(|one| format!("{what}: {one} isn't listed")));
        differences.extend(listed.difference(&made).map(|one| format!("{what}: {one} is never made")));
    };
    let found = |id: &str| families::patterns().find(|pattern| pattern.id == id);
    let place = |index: Option<&str>| index.unwrap_or("the table").to_owned();
    for (function, meter) in &platform.meters {
        let listed =
            families::patterns().filter(|pattern| families::callers(pattern).contains(&function.as_str()));
        let listed = listed.map(|pattern| pattern.id.to_owned()).collect();
        differ(function.clone(), listed, meter.snapshot().into_keys().map(str::to_owned).collect());

        let listed = families::permissions(function).into_iter();
        let listed = listed.map(|(index, operation)| format!("{operation} of {}", place(index))).collect();
        let made = meter.operations().into_iter();
        let made = made.map(|(id, operation)| {
            format!("{operation} of {}", place(found(id).and_then(|pattern| pattern.index)))
        });
        differ(function.clone(), listed, made.collect());
    }
    for pattern in families::patterns() {
        let listed = pattern.operations.iter().map(|operation| operation.name().to_owned()).collect();
        let made = platform.meter.operations().into_iter().filter(|(id, _)| *id == pattern.id);
        differ(pattern.id.to_owned(), listed, made.map(|(_, operation)| operation.to_owned()).collect());
    }
    differences
}

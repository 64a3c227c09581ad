//! Stamp cards: the actions of a till, each counted the right number of times.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    id::{CustomerId, ProgramId},
    token::Shown,
};
use futures_util::{StreamExt, future::join_all};
use groundswell::faults::Faults;
use jiff::{SignedDuration, Timestamp};
use scenarios::{Api, Dice, Reply, address, embedded, eventually, phone, platform, unique};
use serde_json::{Value, json};
use stamps::{Visit, stamp::StampCount};

/// Exercises stamp cards.
pub async fn tour(api: &Api) {
    let once = |path: &str| api.secret("POST", path).header("idempotency-key", path);
    let settings = json!({ "name": "Tour", "reward": "x", "stamps_required": 2, "cooldown_seconds": 1 });
    let program = once("/programs").json(settings).send().await.id();
    let number = phone();
    let body = json!({ "program_id": program, "phone": number, "consent": true });
    once("/enrollments").json(body.clone()).send().await.ok();
    assert_eq!(api.public("POST", "/enrollments").json(body.clone()).send().await.status, 202);
    let customer = api.post("/enrollments", body).await.text_at("customer_id");
    let second = api.program(json!({})).await;
    let body = json!({ "program_id": second, "phone": number, "consent": true });
    api.post("/enrollments", body).await.ok();
    let taken = Timestamp::now() - SignedDuration::from_hours(1);
    let offline =
        json!({ "till_id": "1", "program_id": program, "customer_id": customer, "taken_at": taken });
    once("/stamps/sync").json(json!({ "stamps": [offline] })).send().await.ok();
    let visit = json!({ "program_id": program, "customer_id": customer, "count": 3 });
    let given = once("/stamps").json(visit).send().await.ok();
    let redeem = format!("/rewards/{}/redeem", given["rewards"][0]["id"].as_str().unwrap());
    once(&redeem).json(json!({})).send().await.ok();
    let voided = api.secret("DELETE", &format!("/stamps/{}", given["id"].as_str().unwrap())).send().await;
    voided.is_problem(409, "stamp-spent");
    for path in [
        "/programs".to_owned(),
        format!("/programs/{program}"),
        format!("/programs/{program}/events"),
        format!("/customers?program_id={program}"),
        format!("/customers?program_id={program}&phone=%2B{}", &number[1..]),
        format!("/customers/{customer}"),
        format!("/customers/{customer}/card?program_id={program}"),
        format!("/customers/{customer}/stamps"),
        format!("/customers/{customer}/rewards"),
    ] {
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }
    let renamed = api.secret("PATCH", &format!("/customers/{customer}")).header("if-match", "*");
    renamed.json(json!({ "phone": phone() })).send().await.ok();
    let renamed = api.secret("PATCH", &format!("/programs/{program}")).header("if-match", "*");
    renamed.json(json!({ "name": "Tour's end" })).send().await.ok();
    let path = format!("/customers/{customer}/card?program_id={second}");
    let before = api.get(&path).await.ok()["at_risk_from"].clone();
    let sooner = api.secret("PATCH", &format!("/programs/{second}")).header("if-match", "*");
    sooner.json(json!({ "inactivity_days": 7 })).send().await.ok();
    eventually(|| async { (api.get(&path).await.ok()["at_risk_from"] != before).then_some(()) }).await;
    api.get(&format!("/analytics/programs/{program}")).await.ok();
    api.secret("DELETE", &format!("/customers/{customer}")).send().await;
    api.secret("DELETE", &format!("/programs/{program}")).send().await;
}

async fn stamp(api: &Api, program: &str, customer: &str, count: u32) -> Reply {
    api.post("/stamps", json!({ "program_id": program, "customer_id": customer, "count": count })).await
}

async fn card(api: &Api, program: &str, customer: &str) -> Value {
    api.get(&format!("/customers/{customer}/card?program_id={program}")).await.ok()
}

pub async fn rewards(api: &Api, customer: &str) -> Vec<Value> {
    let list = api.get(&format!("/customers/{customer}/rewards")).await.ok();
    list["data"].as_array().unwrap().clone()
}

async fn redeem(api: &Api, reward: &Value) -> Reply {
    api.post(&format!("/rewards/{}/redeem", reward["id"].as_str().unwrap()), json!({})).await
}

async fn void(api: &Api, stamp: &str) -> Reply {
    api.secret("DELETE", &format!("/stamps/{stamp}")).send().await
}

async fn sync(api: &Api, stamps: &[Value]) -> Vec<Value> {
    let synced = api.post("/stamps/sync", json!({ "stamps": stamps })).await.ok();
    synced["data"].as_array().unwrap().clone()
}

fn outcomes(synced: &[Value]) -> BTreeMap<&str, usize> {
    let mut outcomes = BTreeMap::new();
    for stamp in synced {
        *outcomes.entry(stamp["outcome"].as_str().unwrap()).or_default() += 1;
    }
    outcomes
}

/// Asserts that a customer's card agrees with the ledger of stamps and rewards. Returns the card.
pub async fn check_ledger(api: &Api, program: &str, customer: &str) -> Value {
    let number = |value: &Value| value.as_u64().unwrap();
    let stamps = api.all(&format!("/customers/{customer}/stamps")).await;
    let valid: Vec<_> = stamps.iter().filter(|stamp| stamp["status"] == "valid").collect();
    let given: u64 = valid.iter().map(|stamp| number(&stamp["count"])).sum();
    let card = card(api, program, customer).await;
    let spent = rewards(api, customer).await.iter().filter(|reward| reward["status"] != "withdrawn").count();
    let required = number(&card["stamps_required"]);
    assert_eq!(number(&card["total"]), given);
    assert_eq!(number(&card["visits"]), valid.len() as u64);
    assert_eq!(number(&card["stamps"]), given - spent as u64 * required);
    assert!(number(&card["stamps"]) < required);
    let last =
        valid.iter().map(|stamp| stamp["taken_at"].as_str().unwrap().parse::<Timestamp>().unwrap()).max();
    assert_eq!(card["last_visit_at"].as_str().map(|at| at.parse::<Timestamp>().unwrap()), last);
    card
}

#[tokio::test]
async fn a_program_is_made_changed_and_listed() {
    let api = Api::shared();
    let name = format!("Coffee {}", unique());
    let made = api.post("/programs", json!({ "name": name, "reward": "One coffee" })).await;
    assert_eq!(
        (made.status.as_u16(), made.json["stamps_required"].clone()),
        (201, json!(10)),
        "{}",
        made.text
    );
    let path = made.header("location").trim_start_matches("/api/v1").to_owned();
    let change = |etag: &str, body: Value| api.secret("PATCH", &path).header("if-match", etag).json(body);
    let etag = made.header("etag").to_owned();
    let changed = change(&etag, json!({ "milestones": [5, 1, 5], "cooldown_seconds": 60 })).send().await;
    assert_eq!(changed.json["milestones"], json!([1, 5]), "{}", changed.text);
    change(&etag, json!({ "status": "paused" })).send().await.is_problem(412, "precondition-failed");
    change("*", json!({ "stamps_required": 0 })).send().await.refuses("stamps_required");
    change("*", json!({ "milestones": [0] })).send().await.refuses("milestones");
    change("*", json!({ "reward": null })).send().await.refuses("reward");
    assert!(api.all("/programs").await.iter().any(|program| program["name"] == name));
    let counts =
        json!({ "customers": 0, "visits": 0, "stamps": 0, "rewards_issued": 0, "rewards_redeemed": 0 });
    assert_eq!(api.get(&path).await.ok()["counts"], counts);
}

#[tokio::test]
async fn a_phone_number_is_one_customer_in_all_programs_of_an_account() {
    let api = Api::shared();
    let (coffee, bread) = (api.program(json!({})).await, api.program(json!({})).await);
    let number = phone();
    let spelt = format!("{} {}-{}", &number[..3], &number[3..6], &number[6..]);
    let enrol = |program: &str, phone: &str| {
        let body = json!({ "program_id": program, "phone": phone, "name": "Ada", "email": address("ada"),
            "birthday": "1815-12-10", "time_zone": "europe/london", "consent": { "granted": true, "text": "v1" } });
        let api = api.clone();
        async move { api.post("/enrollments", body).await }
    };
    let first = enrol(&coffee, &number).await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(enrol(&coffee, &spelt).await.status, 200, "she was enrolled");
    let second = enrol(&bread, &spelt).await;
    assert_eq!(second.status, 201, "another card");
    let id = first.text_at("customer_id");
    assert_eq!(second.text_at("customer_id"), id, "of the same customer");
    let customer = api.get(&format!("/customers/{id}")).await.ok();
    assert_eq!((&customer["phone"], &customer["time_zone"]), (&json!(number), &json!("Europe/London")));
    assert_eq!(customer["consent"]["text"], "v1");
    for program in [&coffee, &bread] {
        let listed = api.all(&format!("/customers?program_id={program}")).await;
        assert_eq!(
            (listed.len(), &listed[0]["id"], &listed[0]["card"]["stamps"]),
            (1, &json!(id), &json!(0))
        );
        let found = api.get(&format!("/customers?program_id={program}&phone=%2B{}", &number[1..])).await.ok();
        assert_eq!(found["data"][0]["id"], id);
    }
    let Some(stranger) = Api::another_account().await else { return };
    let theirs = stranger.program(json!({})).await;
    let body = json!({ "program_id": theirs, "phone": number, "consent": false });
    let elsewhere = stranger.post("/enrollments", body).await;
    assert_eq!(elsewhere.status, 201, "{}", elsewhere.text);
    assert_ne!(elsewhere.text_at("customer_id"), id, "another account's customer is somebody else");
}

#[tokio::test]
async fn many_who_enrol_one_number_at_once_make_one_customer() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let body = json!({ "program_id": program, "phone": phone(), "consent": true });
    let enrolled = join_all((0..12).map(|_| api.post("/enrollments", body.clone()))).await;
    let ids: BTreeSet<_> = enrolled.iter().map(|reply| reply.text_at("customer_id")).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(enrolled.iter().filter(|reply| reply.status == 201).count(), 1);
    assert_eq!(api.all(&format!("/customers?program_id={program}")).await.len(), 1);
}

#[tokio::test]
async fn a_page_enrols_and_learns_nothing() {
    let api = Api::shared();
    let program = api.program(json!({ "allowed_origins": ["https://cafe.example"] })).await;
    let number = phone();
    let enrol = |origin: &'static str| {
        let body = json!({ "program_id": program, "phone": number, "consent": true });
        api.public("POST", "/enrollments").header("origin", origin).json(body).send()
    };
    let (first, second) = (enrol("https://cafe.example").await, enrol("https://cafe.example").await);
    assert_eq!((first.status.as_u16(), &first.text), (202, &r#"{"status":"enrolled"}"#.to_owned()));
    assert_eq!((second.status, &second.text), (first.status, &first.text));
    assert_eq!(api.all(&format!("/customers?program_id={program}")).await.len(), 1);
    enrol("https://evil.example").await.is_problem(403, "origin-not-allowed");
    for (change, path) in [
        (json!({ "phone": "0151 1234567" }), "phone"),
        (json!({ "phone": 7 }), "phone"),
        (json!({ "phone": "+49 ☎" }), "phone"),
        (json!({ "birthday": "1815-13-10" }), "birthday"),
        (json!({ "time_zone": "Europe/Atlantis" }), "time_zone"),
        (json!({ "email": "ada" }), "email"),
        (json!({ "consent": "yes" }), "consent"),
        (json!({ "program_id": "prog_x" }), "program_id"),
    ] {
        let mut body = json!({ "program_id": program, "phone": phone(), "consent": true });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        api.post("/enrollments", body).await.refuses(path);
    }
    api.secret("PATCH", &format!("/programs/{program}"))
        .header("if-match", "*")
        .json(json!({ "status": "paused" }))
        .send()
        .await
        .ok();
    enrol("https://cafe.example").await.is_problem(409, "program-paused");
}

/// Returns the customer of a program with this number.
async fn with_number(api: &Api, program: &str, number: &str) -> Value {
    let found = api.get(&format!("/customers?program_id={program}&phone=%2B{}", &number[1..])).await.ok();
    let mut customer = found["data"][0].clone();
    customer.as_object_mut().unwrap().remove("card");
    customer
}

fn enrolment(program: &str, number: &str, email: &str, consent: bool) -> Value {
    json!({ "program_id": program, "phone": number, "name": "Eve", "email": email, "birthday": "1990-01-02",
        "time_zone": "Asia/Tokyo", "consent": { "granted": consent, "text": "v1" } })
}

/// Any visitor of a page can enter any person's number.
#[tokio::test]
async fn what_a_page_says_is_provisional_and_the_shop_overrides_it() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let number = phone();
    let (mallory, ada) = (address("mallory"), address("ada"));
    let page = async |email: &str, consent: bool| {
        let body = enrolment(&program, &number, email, consent);
        let reply = api.public("POST", "/enrollments").json(body).send().await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (202, r#"{"status":"enrolled"}"#));
    };
    page(&mallory, true).await;
    let first = with_number(&api, &program, &number).await;
    for field in ["email", "name", "birthday", "time_zone"] {
        assert_eq!(first[field], Value::Null, "{field}");
    }
    assert_eq!(first["consent"]["granted"], false);
    let said = &first["provisional"];
    assert_eq!((&said["email"], &said["name"]), (&json!(mallory), &json!("Eve")));
    assert_eq!((&said["birthday"], &said["time_zone"]), (&json!("1990-01-02"), &json!("Asia/Tokyo")));
    assert_eq!(said["consent"]["granted"], true);
    // A second submission by a page changes nothing.
    page(&address("eve"), false).await;
    assert_eq!(with_number(&api, &program, &number).await, first);
    // The shop's data take precedence over the page's, also later.
    let shop =
        json!({ "program_id": program, "phone": number, "name": "Ada", "email": ada, "consent": false });
    assert_eq!(api.post("/enrollments", shop).await.status, 200);
    let known = with_number(&api, &program, &number).await;
    assert_eq!((&known["email"], &known["name"]), (&json!(ada), &json!("Ada")));
    assert_eq!((&known["consent"]["granted"], &known["provisional"]), (&json!(false), &Value::Null));
    page(&mallory, true).await;
    assert_eq!(with_number(&api, &program, &number).await, known);
}

#[tokio::test]
async fn a_no_of_the_shop_wins_and_a_no_of_a_page_silences_nobody() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let number = phone();
    let enrol = |consent: bool| json!({ "program_id": program, "phone": number, "consent": consent });
    let granted = async || with_number(&api, &program, &number).await["consent"]["granted"].clone();
    let id = api.post("/enrollments", enrol(true)).await.text_at("customer_id");
    api.public("POST", "/enrollments").json(enrol(false)).send().await.ok();
    assert_eq!(granted().await, true, "a page silences nobody");
    assert_eq!(api.post("/enrollments", enrol(false)).await.status, 200);
    assert_eq!(granted().await, false, "the shop does");
    assert_eq!(api.post("/enrollments", enrol(true)).await.status, 200);
    assert_eq!(granted().await, false, "to agree again is the customer's, or an explicit change");
    let change = api.secret("PATCH", &format!("/customers/{id}")).header("if-match", "*");
    change.json(json!({ "consent": true })).send().await.ok();
    assert_eq!(granted().await, true);
    // An opt-out that a member records counts like one that a server records.
    let Some(platform) = embedded() else { return };
    let member = platform.oidc.id_token(&api.credentials.oidc_username, std::time::Duration::from_secs(600));
    let call = api.call("POST", "/enrollments").key(&member).json(enrol(false)).send().await;
    assert_eq!((call.status.as_u16(), granted().await), (200, json!(false)), "{}", call.text);
}

#[tokio::test]
async fn a_change_by_the_shop_ends_what_is_provisional_field_by_field() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let number = phone();
    let body = enrolment(&program, &number, &address("mallory"), true);
    api.public("POST", "/enrollments").json(body).send().await.ok();
    let id = with_number(&api, &program, &number).await["id"].as_str().unwrap().to_owned();
    let change = |body: Value| {
        api.secret("PATCH", &format!("/customers/{id}")).header("if-match", "*").json(body).send()
    };
    let named = change(json!({ "name": "Ada", "email": null })).await.ok();
    assert_eq!((&named["name"], &named["email"]), (&json!("Ada"), &Value::Null));
    let left = &named["provisional"];
    assert_eq!((&left["name"], &left["email"]), (&Value::Null, &Value::Null));
    assert_eq!((&left["birthday"], &left["consent"]["granted"]), (&json!("1990-01-02"), &json!(true)));
    let refused = change(json!({ "consent": false })).await.ok();
    assert_eq!(
        (&refused["consent"]["granted"], &refused["provisional"]["consent"]),
        (&json!(false), &Value::Null)
    );
    let rest = change(json!({ "birthday": null, "time_zone": "Europe/Berlin" })).await.ok();
    assert_eq!((&rest["time_zone"], &rest["provisional"]), (&json!("Europe/Berlin"), &Value::Null));
    change(json!({ "provisional": { "consent": true } })).await.refuses("provisional");
}

#[tokio::test]
async fn a_customer_who_shows_her_card_at_a_till_is_confirmed_but_for_the_address() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let number = phone();
    let mallory = address("mallory");
    let body = enrolment(&program, &number, &mallory, true);
    api.public("POST", "/enrollments").json(body).send().await.ok();
    let enrolled = with_number(&api, &program, &number).await;
    let id = enrolled["id"].as_str().unwrap().to_owned();
    // A person who names a number at the till has not shown that the number is theirs.
    assert_eq!(stamp(&api, &program, &id, 1).await.status, 201);
    assert_eq!(with_number(&api, &program, &number).await, enrolled);
    let token = async || card(&api, &program, &id).await["token"].as_str().unwrap().to_owned();
    let (one, other) = (token().await, token().await);
    let (one, other) = futures_util::join!(
        api.post("/stamps", json!({ "token": one })),
        api.post("/stamps", json!({ "token": other }))
    );
    assert_eq!((one.status.as_u16(), other.status.as_u16()), (201, 201), "{} {}", one.text, other.text);
    let seen = with_number(&api, &program, &number).await;
    assert_eq!((&seen["name"], &seen["birthday"]), (&json!("Eve"), &json!("1990-01-02")));
    assert_eq!((&seen["consent"]["granted"], &seen["consent"]["text"]), (&json!(true), &json!("v1")));
    assert_eq!((&seen["email"], &seen["provisional"]["email"]), (&Value::Null, &json!(mallory)));
    assert_eq!((&seen["provisional"]["name"], &seen["provisional"]["consent"]), (&Value::Null, &Value::Null));
    check_ledger(&api, &program, &id).await;
    let audit = api.get("/audit-log?limit=100").await.ok();
    let confirmed = audit["data"].as_array().unwrap().iter();
    let confirmed =
        confirmed.filter(|entry| entry["action"] == "customer.confirmed" && entry["target"] == id.as_str());
    assert_eq!(confirmed.count(), 1, "once, with two codes shown at the same time");
    // The next visit confirms nothing more.
    api.post("/stamps", json!({ "token": token().await })).await.ok();
    assert_eq!(with_number(&api, &program, &number).await, seen);
}

#[tokio::test]
async fn a_program_can_refuse_pages_and_other_countries() {
    let api = Api::shared();
    let program = api.program(json!({ "enrollment": "server_only", "countries": ["at", "DE"] })).await;
    let read = api.get(&format!("/programs/{program}")).await.ok();
    assert_eq!((&read["enrollment"], &read["countries"]), (&json!("server_only"), &json!(["AT", "DE"])));
    let enrol = |number: &str| json!({ "program_id": program, "phone": number, "consent": true });
    let page = |number: &str| api.public("POST", "/enrollments").json(enrol(number)).send();
    let number = phone();
    page(&number).await.is_problem(403, "server-only");
    assert_eq!(api.all(&format!("/customers?program_id={program}")).await.len(), 0);
    assert_eq!(api.post("/enrollments", enrol(&number)).await.status, 201);
    page(&number).await.is_problem(403, "server-only");
    let change = |body: Value| {
        api.secret("PATCH", &format!("/programs/{program}")).header("if-match", "*").json(body).send()
    };
    change(json!({ "enrollment": "anyone" })).await.ok();
    assert_eq!(page(&phone()).await.status, 202);
    // Jamaica shares the prefix +1, and Kazakhstan shares +7. A satellite number belongs to no country.
    for number in ["+18765550123", "+12025550123", "+77011234567", "+881612345678"] {
        page(number).await.is_problem(422, "country-not-served");
        api.post("/enrollments", enrol(number)).await.is_problem(422, "country-not-served");
    }
    change(json!({ "countries": ["DE", "XX"] })).await.refuses("countries[1]");
    let unknown = change(json!({ "enrollment": "nobody" })).await;
    unknown.refuses("enrollment");
    change(json!({ "countries": [] })).await.ok();
    assert_eq!(page(&format!("+1202{:07}", unique() % 10_000_000)).await.status, 202);
}

#[tokio::test]
async fn a_customer_is_changed_and_keeps_a_number_of_their_own() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let (ada, bo) = (api.customer(&program).await, api.customer(&program).await);
    let read = async |id: &str| api.get(&format!("/customers/{id}")).await.ok();
    let change = |id: &str, body: Value| {
        api.secret("PATCH", &format!("/customers/{id}")).header("if-match", "*").json(body).send()
    };
    let (old, new) = (read(&ada).await["phone"].as_str().unwrap().to_owned(), phone());
    let moved = change(&ada, json!({ "phone": new, "consent": { "granted": false } })).await.ok();
    assert_eq!((&moved["phone"], &moved["consent"]["granted"]), (&json!(new), &json!(false)));
    assert_eq!(moved["name"], "Ada");
    change(&bo, json!({ "phone": new })).await.is_problem(409, "phone-taken");
    assert_ne!(read(&bo).await["phone"], new);
    assert_eq!(change(&bo, json!({ "phone": old })).await.status, 200, "the old number is free");
    change(&bo, json!({ "phone": null })).await.refuses("phone");
    let bare = api.secret("PATCH", &format!("/customers/{bo}")).json(json!({ "name": "Bo" })).send().await;
    bare.is_problem(428, "precondition-required");
}

#[tokio::test]
async fn the_same_request_in_parallel_adds_one_stamp() {
    let api = Api::shared();
    let program = api.program(json!({ "stamps_required": 3 })).await;
    let customer = api.customer(&program).await;
    let body = json!({ "program_id": program, "customer_id": customer });
    let key = format!("visit-{}", unique());
    let send = || api.secret("POST", "/stamps").header("idempotency-key", &key).json(body.clone()).send();
    let replies = join_all((0..16).map(|_| send())).await;
    let decided: Vec<_> = replies.iter().filter(|reply| !reply.is_undecided()).collect();
    assert!(decided.iter().all(|reply| reply.status == 201 && reply.text == decided[0].text));
    assert_eq!(send().await.text, decided[0].text, "later too");
    let other = json!({ "program_id": program, "customer_id": customer, "count": 2 });
    let reused = api.secret("POST", "/stamps").header("idempotency-key", &key).json(other).send().await;
    reused.is_problem(422, "idempotency-key-reused");
    assert_eq!(check_ledger(&api, &program, &customer).await["total"], 1);
}

#[tokio::test]
async fn many_tills_stamp_one_card_and_no_stamp_is_lost() {
    let api = Api::shared();
    let program = api.program(json!({ "stamps_required": 4 })).await;
    let customer = api.customer(&program).await;
    let given = join_all((0..24).map(|_| stamp(&api, &program, &customer, 1))).await;
    let given = given.iter().filter(|reply| reply.status == 201).count();
    let card = check_ledger(&api, &program, &customer).await;
    assert_eq!(card["total"], given);
    assert_eq!(rewards(&api, &customer).await.len(), given / 4);
    let ids: BTreeSet<_> =
        api.all(&format!("/customers/{customer}/stamps")).await.iter().map(|s| s["id"].to_string()).collect();
    assert_eq!(ids.len(), given);
}

#[tokio::test]
async fn a_second_visit_within_the_cooldown_says_when_it_counts() {
    let api = Api::shared();
    let program = api.program(json!({ "cooldown_seconds": 3600 })).await;
    let customer = api.customer(&program).await;
    let parallel = join_all((0..8).map(|_| stamp(&api, &program, &customer, 1))).await;
    let given: Vec<_> = parallel.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(given.len(), 1, "one of all that come at once");
    let taken: Timestamp = given[0].text_at("taken_at").parse().unwrap();
    let refused = stamp(&api, &program, &customer, 1).await;
    refused.is_problem(429, "stamp-cooldown");
    let next: Timestamp = refused.text_at("retry_at").parse().unwrap();
    assert_eq!(next.duration_since(taken), SignedDuration::from_hours(1));
    let seconds: i64 = refused.header("retry-after").parse().unwrap();
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    // Visits of another program do not count, and a voided visit does not count.
    let other = api.program(json!({ "cooldown_seconds": 3600 })).await;
    let body = json!({ "program_id": other, "phone": api.get(&format!("/customers/{customer}")).await.ok()["phone"], "consent": true });
    assert_eq!(api.post("/enrollments", body).await.text_at("customer_id"), customer);
    assert_eq!(stamp(&api, &other, &customer, 1).await.status, 201);
    void(&api, &given[0].id()).await.ok();
    assert_eq!(stamp(&api, &program, &customer, 1).await.status, 201);
}

#[tokio::test]
async fn a_shown_code_is_good_for_one_stamp_and_a_short_time() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let customer = api.customer(&program).await;
    let shown = card(&api, &program, &customer).await;
    let token = shown["token"].as_str().unwrap().to_owned();
    let expires: Timestamp = shown["token_expires_at"].as_str().unwrap().parse().unwrap();
    let left = expires.duration_since(Timestamp::now());
    assert!(left <= SignedDuration::from_secs(120) && left > SignedDuration::from_secs(60), "{left}");
    let give = |token: &str| api.post("/stamps", json!({ "token": token }));
    let used = join_all((0..6).map(|_| give(&token))).await;
    assert_eq!(used.iter().filter(|reply| reply.status == 201).count(), 1);
    for replayed in used.iter().filter(|reply| reply.status != 201) {
        replayed.is_problem(409, "stamp-token-used");
    }
    give(&format!("{token}x")).await.refuses("token");
    give("qr").await.refuses("token");
    give(&token.replace(&customer, &api.customer(&program).await)).await.refuses("token");
    let both = json!({ "token": token, "customer_id": customer });
    api.post("/stamps", both).await.refuses("token");
    api.post("/stamps", json!({})).await.refuses("program_id");
    api.post("/stamps", json!({ "program_id": program })).await.refuses("customer_id");
    let fresh = card(&api, &program, &customer).await["token"].as_str().unwrap().to_owned();
    assert_ne!(fresh, token);
    let Some(stranger) = Api::another_account().await else { return };
    stranger.post("/stamps", json!({ "token": fresh })).await.is_problem(404, "not-found");
    let Some(running) = embedded() else { return };
    let key = accounts::signing_key(&running.table, &api.credentials.account_id).await.unwrap();
    let shown = Shown::new(customer.parse().unwrap(), program.parse().unwrap());
    let old = shown.sign(&key, Timestamp::now() - SignedDuration::from_secs(1));
    give(&old).await.is_problem(410, "stamp-token-expired");
    assert_eq!(check_ledger(&api, &program, &customer).await["total"], 1);
}

#[tokio::test]
async fn what_is_too_much_for_a_card_goes_to_the_next() {
    let api = Api::shared();
    let program = api.program(json!({ "stamps_required": 5, "reward": "A cake" })).await;
    let customer = api.customer(&program).await;
    let given = stamp(&api, &program, &customer, 13).await;
    assert_eq!(
        (&given.json["card"]["stamps"], given.json["rewards"].as_array().unwrap().len()),
        (&json!(3), 2)
    );
    assert_eq!(given.json["rewards"][0]["reward"], "A cake");
    for count in [json!(0), json!(21), json!(-1), json!(1.5), json!("1")] {
        let body = json!({ "program_id": program, "customer_id": customer, "count": count });
        api.post("/stamps", body).await.refuses("count");
    }
    assert_eq!(check_ledger(&api, &program, &customer).await["total"], 13);
    let stranger = api.customer(&api.program(json!({})).await).await;
    stamp(&api, &program, &stranger, 1).await.is_problem(409, "not-enrolled");
}

#[tokio::test]
async fn a_reward_redeems_once_across_tills_and_for_good() {
    let api = Api::shared();
    let program = api.program(json!({ "stamps_required": 2 })).await;
    let customer = api.customer(&program).await;
    let given = stamp(&api, &program, &customer, 2).await;
    let reward = given.json["rewards"][0].clone();
    let tills = join_all((0..8).map(|_| redeem(&api, &reward))).await;
    assert_eq!(tills.iter().filter(|reply| reply.status == 200).count(), 1);
    for refused in tills.iter().filter(|reply| reply.status != 200) {
        refused.is_problem(409, "reward-redeemed");
    }
    void(&api, &given.id()).await.is_problem(409, "stamp-spent");
    let card = check_ledger(&api, &program, &customer).await;
    assert_eq!((&card["stamps"], &card["total"]), (&json!(0), &json!(2)));
    // A till that retries with its idempotency key gets the same answer again.
    let other = stamp(&api, &program, &customer, 2).await.json["rewards"][0].clone();
    let path = format!("/rewards/{}/redeem", other["id"].as_str().unwrap());
    let key = format!("redeem-{}", unique());
    let send = || api.secret("POST", &path).header("idempotency-key", &key).json(json!({})).send();
    let replies = join_all((0..6).map(|_| send())).await;
    for reply in replies.iter().filter(|reply| !reply.is_undecided()) {
        assert_eq!((reply.status.as_u16(), reply.text_at("status")), (200, "redeemed".to_owned()));
    }
}

#[tokio::test]
async fn a_reward_lapses_and_a_paused_program_still_redeems() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let settings = json!({ "stamps_required": 1, "reward_valid_days": 30 });
    let program = api.program(settings).await;
    let customer = api.customer(&program).await;
    let (program_id, customer_id): (ProgramId, CustomerId) =
        (program.parse().unwrap(), customer.parse().unwrap());
    let till = stamps::till(&api.credentials.account_id, &program_id, &customer_id);
    let till = running.table.look_up(till).await.unwrap().unwrap();
    let past = Timestamp::now() - SignedDuration::from_hours(31 * 24);
    let given_by = "key_1".to_owned();
    let visit = Visit { count: StampCount::ONE, taken_at: past, given_by, once: None, now: past };
    let (_, commit) = stamps::give(&till.program, till.card.as_ref().unwrap(), visit);
    commit.apply(&running.table).await.unwrap();
    let lapsed = rewards(&api, &customer).await[0].clone();
    assert_eq!(lapsed["status"], "expired");
    redeem(&api, &lapsed).await.is_problem(410, "reward-expired");
    let given = stamp(&api, &program, &customer, 1).await.id();
    let pause = api.secret("PATCH", &format!("/programs/{program}")).header("if-match", "*");
    pause.json(json!({ "status": "paused" })).send().await.ok();
    stamp(&api, &program, &customer, 1).await.is_problem(409, "program-paused");
    let fresh = rewards(&api, &customer).await[0].clone();
    assert_eq!(redeem(&api, &fresh).await.status, 200);
    // A stamp whose reward has lapsed counts as spent, so it cannot be voided.
    void(&api, &given).await.is_problem(409, "stamp-spent");
    assert_eq!(rewards(&api, &customer).await[1]["status"], "expired");
}

#[tokio::test]
async fn a_pause_takes_in_what_was_stamped_offline_before_it() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let customer = api.customer(&program).await;
    let offline = |till: &str, taken_at: Timestamp| {
        json!({ "till_id": format!("{till}-{customer}"), "program_id": program, "customer_id": customer,
            "taken_at": taken_at })
    };
    let before = Timestamp::now();
    let set = async |change: Value| {
        let call = api.secret("PATCH", &format!("/programs/{program}")).header("if-match", "*");
        call.json(change).send().await.ok();
    };
    set(json!({ "status": "paused" })).await;
    let after = Timestamp::now() + SignedDuration::from_secs(60);
    // A change during the pause does not move the pause's start.
    set(json!({ "name": "Holidays" })).await;
    let batch = [offline("a", before), offline("b", after)];
    let synced = sync(&api, &batch).await;
    assert_eq!((&synced[0]["outcome"], &synced[1]["outcome"]), (&json!("added"), &json!("refused")));
    assert!(synced[1]["problem"].as_str().unwrap().ends_with("/program-paused"), "{synced:?}");
    assert_eq!(check_ledger(&api, &program, &customer).await["total"], 1);
    set(json!({ "status": "active" })).await;
    assert_eq!(outcomes(&sync(&api, &batch).await), BTreeMap::from([("added", 1), ("duplicate", 1)]));
}

#[tokio::test]
async fn voiding_takes_back_the_stamp_and_what_it_earned() {
    let api = Api::shared();
    let program = api.program(json!({ "stamps_required": 3 })).await;
    let customer = api.customer(&program).await;
    stamp(&api, &program, &customer, 2).await;
    let second = stamp(&api, &program, &customer, 2).await;
    let reward = second.json["rewards"][0].clone();
    let voided = void(&api, &second.id()).await.ok();
    assert_eq!(voided["status"], "voided");
    let card = check_ledger(&api, &program, &customer).await;
    assert_eq!((&card["stamps"], &card["visits"]), (&json!(2), &json!(1)));
    redeem(&api, &reward).await.is_problem(409, "reward-withdrawn");
    assert_eq!(void(&api, &second.id()).await.ok(), voided, "again is harmless");
    let third = stamp(&api, &program, &customer, 1).await;
    let third = third.id();
    let tills = join_all((0..6).map(|_| void(&api, &third))).await;
    for reply in &tills {
        assert!(reply.status == 200 || reply.is_undecided(), "{}: {}", reply.status, reply.text);
    }
    check_ledger(&api, &program, &customer).await;
}

#[tokio::test]
async fn stamps_taken_offline_count_once_by_the_time_they_were_taken() {
    let api = Api::shared();
    let program = api.program(json!({ "cooldown_seconds": 600 })).await;
    let customers = join_all((0..3).map(|_| api.customer(&program))).await;
    let start = Timestamp::now() - SignedDuration::from_hours(20);
    let till = unique();
    // One stamp every five minutes, so that every second one is within the cooldown.
    let mut batch: Vec<Value> = (0..60)
        .map(|n| {
            json!({ "till_id": format!("{till}-{n}"), "program_id": program, "customer_id": customers[n % 3],
                "taken_at": start + SignedDuration::from_mins(5 * (n as i64 / 3)) })
        })
        .collect();
    batch.extend(batch[10..30].to_vec());
    let mut dice = Dice(7);
    let shuffled = |dice: &mut Dice| {
        let mut batch = batch.clone();
        for position in (1..batch.len()).rev() {
            batch.swap(position, dice.below(position + 1));
        }
        batch
    };
    let (one, two) = (shuffled(&mut dice), shuffled(&mut dice));
    // Two connections of a till send the same stamps at the same time.
    let (first, second) = tokio::join!(sync(&api, &one), sync(&api, &two));
    for (batch, synced) in [(&one, &first), (&two, &second)] {
        for (sent, got) in batch.iter().zip(synced) {
            assert_eq!(sent["till_id"], got["till_id"], "in the order of the request");
        }
    }
    let added = |synced| outcomes(synced).get("added").copied().unwrap_or(0);
    assert_eq!(added(&first) + added(&second), 30, "each once");
    for _ in 0..2 {
        let again = sync(&api, &shuffled(&mut dice)).await;
        assert_eq!(outcomes(&again), BTreeMap::from([("duplicate", 39), ("refused", 41)]));
    }
    for customer in &customers {
        let card = check_ledger(&api, &program, customer).await;
        assert_eq!((&card["total"], &card["visit_interval_seconds"]), (&json!(10), &json!(600)));
    }
}

#[tokio::test]
async fn each_offline_stamp_has_its_own_outcome() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let customer = api.customer(&program).await;
    let at = |hours: i64| Timestamp::now() + SignedDuration::from_hours(hours);
    let stamp = |till: &str, change: Value| {
        let mut stamp = json!({ "till_id": format!("{till}-{customer}"), "program_id": program,
            "customer_id": customer, "taken_at": at(-1), "count": 2 });
        stamp.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        stamp
    };
    let elsewhere = api.program(json!({})).await;
    let nobody = CustomerId::new(Timestamp::now()).to_string();
    let batch = [
        stamp("a", json!({})),
        stamp("b", json!({ "taken_at": at(2) })),
        stamp("c", json!({ "taken_at": at(-24 * 31) })),
        stamp("d", json!({ "program_id": elsewhere })),
        stamp("e", json!({ "customer_id": nobody })),
        stamp("a", json!({})),
        stamp("f", json!({ "taken_at": at(-24 * 29) })),
    ];
    let synced = sync(&api, &batch).await;
    let problem = |position: usize| synced[position]["problem"].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(outcomes(&synced), BTreeMap::from([("added", 2), ("duplicate", 1), ("refused", 4)]));
    assert_eq!(
        (1..5).map(problem).collect::<Vec<_>>(),
        ["stamp-time-refused", "stamp-time-refused", "not-enrolled", "not-found"]
    );
    assert_eq!(check_ledger(&api, &program, &customer).await["total"], 4);
    if let Some(stranger) = Api::another_account().await {
        let theirs = sync(&stranger, &[stamp("g", json!({}))]).await;
        assert!(theirs[0]["problem"].as_str().unwrap().ends_with("/not-found"), "{theirs:?}");
    }
    api.post("/stamps/sync", json!({ "stamps": [] })).await.refuses("stamps");
    let many = vec![stamp("x", json!({})); 101];
    api.post("/stamps/sync", json!({ "stamps": many })).await.refuses("stamps");
    let odd = json!({ "stamps": [stamp("y", json!({ "taken_at": "yesterday" }))] });
    api.post("/stamps/sync", odd).await.refuses("stamps[0].taken_at");
}

#[tokio::test]
async fn whatever_tills_do_in_whatever_order_the_card_is_what_the_ledger_says() {
    let api = Api::shared();
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let required = 1 + dice.below(6);
        let program = api.program(json!({ "stamps_required": required })).await;
        let customer = api.customer(&program).await;
        let mut done = 0;
        for _ in 0..6 {
            let stamps = api.all(&format!("/customers/{customer}/stamps")).await;
            let held = rewards(&api, &customer).await;
            // Some of the actions run at once.
            let doing = (0..5).map(|_| {
                let (count, choice) = (1 + dice.below(9) as u32, dice.below(10));
                let any = |list: &[Value], dice: &mut Dice| {
                    (!list.is_empty()).then(|| list[dice.below(list.len())].clone())
                };
                let (one, reward) = (any(&stamps, &mut dice), any(&held, &mut dice));
                let (api, program, customer) = (api.clone(), program.clone(), customer.clone());
                async move {
                    let reply = match (choice, one, reward) {
                        (0..=1, Some(one), _) => void(&api, one["id"].as_str().unwrap()).await,
                        (2..=3, _, Some(reward)) => redeem(&api, &reward).await,
                        (4, _, _) => {
                            let taken = Timestamp::now() - SignedDuration::from_mins(i64::from(count));
                            let offline = json!({ "till_id": unique().to_string(), "program_id": program,
                                "customer_id": customer, "taken_at": taken, "count": count });
                            api.post("/stamps/sync", json!({ "stamps": [offline] })).await
                        }
                        _ => stamp(&api, &program, &customer, count).await,
                    };
                    assert!(!reply.status.is_server_error() || reply.status == 503, "{}", reply.text);
                    usize::from(reply.status.is_success())
                }
            });
            let doing: Vec<_> = doing.collect();
            let succeeded = futures_util::stream::iter(doing).buffer_unordered(5).collect::<Vec<_>>().await;
            done += succeeded.into_iter().sum::<usize>();
            check_ledger(&api, &program, &customer).await;
        }
        assert!(done > 10, "only {done} of 30 things were done");
    }
}

#[tokio::test]
async fn stamps_survive_throttles_conflicts_and_lost_answers() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), false, Faults::seeded(11, 50, 100, 30)).await else { return };
    let api = Api::new(running.credentials.clone());
    let program = eventually(|| async {
        let body = json!({ "name": "Under faults", "reward": "x", "stamps_required": 7 });
        let made =
            api.secret("POST", "/programs").header("idempotency-key", "p").json(body).try_send().await?;
        (made.status == 201).then(|| made.id())
    })
    .await;
    let customer = eventually(|| async {
        let body = json!({ "program_id": program, "phone": "+4915112345678", "consent": true });
        let enrolled = api.secret("POST", "/enrollments").json(body).try_send().await?;
        enrolled.status.is_success().then(|| enrolled.text_at("customer_id"))
    })
    .await;
    let visits = (0..40).map(|visit| {
        let (api, program, customer) = (&api, &program, &customer);
        async move {
            eventually(|| async {
                let body = json!({ "program_id": program, "customer_id": customer });
                let call = api.secret("POST", "/stamps").header("idempotency-key", &format!("visit-{visit}"));
                let reply = call.json(body).try_send().await?;
                assert!(reply.status == 201 || reply.is_undecided(), "{}: {}", reply.status, reply.text);
                (reply.status == 201).then_some(())
            })
            .await;
        }
    });
    futures_util::stream::iter(visits).buffer_unordered(8).collect::<Vec<_>>().await;
    let program_id: ProgramId = program.parse().unwrap();
    let customer_id: CustomerId = customer.parse().unwrap();
    let (total, stamps) = eventually(|| async {
        let till = stamps::till(&api.credentials.account_id, &program_id, &customer_id);
        let card = running.table.look_up(till).await.ok()??.card?;
        Some((card.total, card.stamps))
    })
    .await;
    assert_eq!((total, stamps), (40, 40 % 7), "each visit once");
}

#[tokio::test]
async fn what_happens_is_said_once_and_counted_once() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), true, Faults::default()).await else { return };
    let api = Api::new(running.credentials.clone());
    let program = api.program(json!({ "stamps_required": 2, "milestones": [2, 3] })).await;
    let customer = api.customer(&program).await;
    let first = stamp(&api, &program, &customer, 1).await;
    let reward = stamp(&api, &program, &customer, 1).await.json["rewards"][0].clone();
    redeem(&api, &reward).await.ok();
    // The second visit once more: a milestone is reached once.
    let third = stamp(&api, &program, &customer, 1).await;
    void(&api, &third.id()).await.ok();
    stamp(&api, &program, &customer, 1).await;
    let counts = || async { api.get(&format!("/programs/{program}")).await.ok()["counts"].clone() };
    let expected =
        json!({ "customers": 1, "visits": 3, "stamps": 3, "rewards_issued": 1, "rewards_redeemed": 1 });
    eventually(|| async { (counts().await == expected).then_some(()) }).await;
    let said = || async {
        let mut events = api.all(&format!("/programs/{program}/events")).await;
        events.reverse();
        events
    };
    let events = said().await;
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "customer.enrolled",
            "stamp.given",
            "stamp.given",
            "milestone.reached",
            "card_reward.issued",
            "card_reward.redeemed",
            "stamp.given",
            "milestone.reached",
            "stamp.voided",
            "stamp.given"
        ]
    );
    assert_eq!((&events[1]["object_id"], &events[1]["customer_id"]), (&json!(first.id()), &json!(customer)));
    assert_eq!((&events[3]["data"], &events[7]["data"]), (&json!({ "visits": 2 }), &json!({ "visits": 3 })));
    // The whole stream once more, backwards and in other batches.
    let records = running.stream_records().await.unwrap();
    for batch in records.chunks(3).rev() {
        let answer = running.invoke("ProjectorFunction", json!({ "Records": batch })).await.unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]));
    }
    assert_eq!((counts().await, said().await), (expected, events));
}

#[tokio::test]
async fn who_stays_away_is_at_risk() {
    let api = Api::shared();
    let program = api.program(json!({ "inactivity_days": 20 })).await;
    let customer = api.customer(&program).await;
    let days = |days: i64| Timestamp::now() - SignedDuration::from_hours(24 * days);
    let visit = |till: usize, at: Timestamp| json!({ "till_id": format!("{till}-{customer}"), "program_id": program, "customer_id": customer, "taken_at": at });
    sync(&api, &[visit(1, days(29)), visit(2, days(27)), visit(3, days(25))]).await;
    let away = card(&api, &program, &customer).await;
    assert_eq!((&away["at_risk"], &away["visit_interval_seconds"]), (&json!(true), &json!(2 * 86_400)));
    // A customer who came every other day is at risk after a week.
    let from: Timestamp = away["at_risk_from"].as_str().unwrap().parse().unwrap();
    assert!(
        (7 * 24 - 1..=8 * 24).contains(&from.duration_since(days(25)).as_hours()),
        "up to midnight: {from}"
    );
    stamp(&api, &program, &customer, 1).await;
    assert_eq!(card(&api, &program, &customer).await["at_risk"], false);
}

#[tokio::test]
async fn an_erased_customer_and_a_deleted_program_leave_nothing_behind() {
    let Some(running) = embedded() else { return };
    let api = Api::shared();
    let program = api.program(json!({ "stamps_required": 1 })).await;
    let (ada, bo) = (api.customer(&program).await, api.customer(&program).await);
    let given = stamp(&api, &program, &ada, 1).await;
    let kept = stamp(&api, &program, &bo, 2).await;
    let number = api.get(&format!("/customers/{ada}")).await.ok()["phone"].clone();
    assert_eq!(api.secret("DELETE", &format!("/customers/{ada}")).send().await.status, 204);
    for path in [format!("/customers/{ada}"), format!("/customers/{ada}/card?program_id={program}")] {
        api.get(&path).await.is_problem(404, "not-found");
    }
    stamp(&api, &program, &ada, 1).await.is_problem(404, "not-found");
    void(&api, &given.id()).await.is_problem(404, "not-found");
    let listed = api.all(&format!("/customers?program_id={program}")).await;
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!(bo)));
    let again =
        api.post("/enrollments", json!({ "program_id": program, "phone": number, "consent": true })).await;
    assert_eq!(again.status, 201);
    assert_ne!(again.text_at("customer_id"), ada, "somebody new");
    let ada: CustomerId = ada.parse().unwrap();
    eventually(|| async {
        let left = stamps::list(&running.table, &ada, None, 10).await.unwrap().data.len();
        let rewards = stamps::rewards(&running.table, &ada).await.unwrap().len();
        let card = stamps::customers::card(&running.table, &ada, &program.parse().unwrap()).await.unwrap();
        (left + rewards == 0 && card.is_none()).then_some(())
    })
    .await;

    assert_eq!(api.secret("DELETE", &format!("/programs/{program}")).send().await.status, 202);
    stamp(&api, &program, &bo, 1).await.is_problem(404, "not-found");
    scenarios::patiently(std::time::Duration::from_secs(60), || async {
        (api.get(&format!("/programs/{program}")).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(api.get(&format!("/customers/{bo}")).await.status, 200, "customers are the account's");
    assert_eq!(api.all(&format!("/customers/{bo}/stamps")).await.len(), 0);
    assert_eq!(rewards(&api, &bo).await.len(), 0);
    redeem(&api, &kept.json["rewards"][0]).await.is_problem(404, "not-found");
}

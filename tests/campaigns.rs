//! Campaigns: each customer gets each message at most once, and no message is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use groundswell::{Options, Platform, faults::Faults};
use jiff::{SignedDuration, Timestamp};
use scenarios::{
    Api, Dice, address, eventually, options, patiently, phone,
    twilio::{Arrival, Behaviour, FakeTwilio, busiest},
    unique,
};
use serde_json::{Value, json};

use crate::process::Victim;

pub const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const CONTENT: &str = "HX0123456789abcdef0123456789abcdef";
const SENDER: &str = "+493012345678";

/// Platform for one test, whose messages go to a Twilio of the test.
struct Stage {
    platform: Platform,
    api: Api,
    twilio: FakeTwilio,
    program: String,
    _data: tempfile::TempDir,
}

impl Stage {
    async fn new(
        behave: impl Fn(&BTreeMap<String, String>, usize) -> Behaviour + Send + Sync + 'static,
    ) -> Option<Self> {
        Self::with(behave, Faults::default(), || Duration::from_millis(5)).await
    }

    async fn with(
        behave: impl Fn(&BTreeMap<String, String>, usize) -> Behaviour + Send + Sync + 'static,
        faults: Faults,
        delay: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Option<Self> {
        // Skips the test if the suite runs against another platform.
        let data = tempfile::tempdir().unwrap();
        scenarios::embedded()?;
        let twilio = FakeTwilio::start(ACCOUNT, TOKEN, behave, delay).await;
        let options = Options { twilio: Some(twilio.url.clone()), ..options(data.path(), false, faults) };
        let platform = scenarios::start(options).await;
        let api = Api::new(platform.credentials.clone());
        set_twilio(&api).await;
        let program = patiently(Duration::from_secs(30), || async {
            let body =
                json!({ "name": "Coffee", "reward": "One coffee", "stamps_required": 10, "milestones": [2] });
            let made = api.secret("POST", "/programs").json(body).try_send().await?;
            (made.status == 201).then(|| made.id())
        })
        .await;
        Some(Self { platform, api, twilio, program, _data: data })
    }

    async fn customers(&self, count: usize) -> Vec<Person> {
        let enrol = |_| async {
            let phone = phone();
            let body = json!({ "program_id": self.program, "phone": phone, "name": "Ada", "consent": true });
            let id = patiently(Duration::from_secs(30), || async {
                let made = self.api.secret("POST", "/enrollments").json(body.clone()).try_send().await?;
                made.status.is_success().then(|| made.text_at("customer_id"))
            })
            .await;
            Person { id, phone }
        };
        join_all((0..count).map(enrol)).await
    }

    async fn campaign(&self, change: Value) -> String {
        campaign(&self.api, &self.program, change).await
    }

    async fn step(&self, campaign: &str, step: &str) {
        patiently(Duration::from_secs(30), || async {
            let call = self.api.secret("POST", &format!("/campaigns/{campaign}/{step}"));
            let reply = call.header("idempotency-key", &format!("{campaign}-{step}-{}", self.program));
            let reply = reply.json(json!({})).try_send().await?;
            assert!(reply.status == 200 || reply.is_undecided(), "{step}: {} {}", reply.status, reply.text);
            (reply.status == 200).then_some(())
        })
        .await;
    }

    async fn counts(&self, campaign: &str) -> Value {
        self.api.get(&format!("/campaigns/{campaign}")).await.ok()["counts"].clone()
    }

    /// Waits until none of the campaign's `audience` messages is open. Returns the counts.
    async fn settled(&self, campaign: &str, audience: usize) -> Value {
        patiently(Duration::from_secs(90), || async {
            let counts = self.counts(campaign).await;
            (counts["audience"] == audience && counts["open"] == 0).then_some(counts)
        })
        .await
    }

    /// Makes a message due for its next check now.
    async fn overdue(&self, campaign: &str, person: &Person) {
        scenarios::overdue(&self.platform.table, &self.sends(campaign).await[&person.id]).await;
    }

    /// Invokes the scheduler, which the platform does once a minute.
    async fn look(&self) {
        let event = json!({ "schedule": "campaigns" });
        self.platform.invoke("CampaignSchedulerFunction", event).await.unwrap();
    }

    /// Returns each customer's message.
    async fn sends(&self, campaign: &str) -> BTreeMap<String, Value> {
        let sends = self.api.all(&format!("/campaigns/{campaign}/sends")).await;
        sends.into_iter().map(|send| (send["customer_id"].as_str().unwrap().to_owned(), send)).collect()
    }

    async fn consent(&self, customer: &str) -> bool {
        self.api.get(&format!("/customers/{customer}")).await.ok()["consent"]["granted"] == true
    }

    /// Returns the URL at which Twilio delivers the messages of customers.
    async fn inbound_url(&self) -> String {
        self.api.get("/providers/twilio").await.text_at("inbound_url")
    }

    async fn enrol(&self, phone: &str) -> scenarios::Reply {
        let body = json!({ "program_id": self.program, "phone": phone, "name": "Ada", "consent": true });
        self.api.post("/enrollments", body).await
    }

    /// Returns the ids of the customers that a search by phone number finds.
    async fn found(&self, phone: &str) -> Vec<String> {
        let phone = phone.replace('+', "%2B").replace(' ', "%20");
        let found = self.api.get(&format!("/customers?program_id={}&phone={phone}", self.program)).await.ok();
        let found = found["data"].as_array().unwrap().iter();
        found.map(|customer| customer["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Asserts that nobody got a message twice. Returns the number of messages.
    fn check_once(&self) -> usize {
        let taken = self.twilio.taken();
        let mut seen = BTreeSet::new();
        for message in &taken {
            assert!(seen.insert(message.to.clone()), "{} got the message twice", message.to);
        }
        taken.len()
    }
}

struct Person {
    id: String,
    phone: String,
}

pub async fn set_twilio(api: &Api) {
    let body = json!({ "account_sid": ACCOUNT, "auth_token": TOKEN, "whatsapp_sender": SENDER, "sms_sender": SENDER });
    patiently(Duration::from_secs(30), || async {
        let set = api.secret("PUT", "/providers/twilio").json(body.clone()).try_send().await?;
        (set.status == 200).then_some(())
    })
    .await;
}

async fn campaign(api: &Api, program: &str, change: Value) -> String {
    let mut body = json!({
        "name": format!("Campaign {}", unique()),
        "program_id": program,
        "trigger": { "kind": "segment" },
        "template": { "channel": "whatsapp", "content_sid": CONTENT, "variables": { "1": "{{name}}" } },
    });
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    patiently(Duration::from_secs(30), || async {
        let made = api.secret("POST", "/campaigns").json(body.clone()).try_send().await?;
        assert!(made.status == 201 || made.is_undecided(), "{}", made.text);
        (made.status == 201).then(|| made.id())
    })
    .await
}

/// Returns quiet hours that began an hour ago and last for another hour, in UTC.
fn quiet() -> Value {
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let text = |at: &jiff::Zoned| format!("{:02}:{:02}", at.hour(), at.minute());
    let (from, until) = (&now - SignedDuration::from_hours(1), &now + SignedDuration::from_hours(1));
    json!({ "quiet_hours": { "from": text(&from), "until": text(&until) }, "time_zone": "UTC" })
}

pub fn accept(_: &BTreeMap<String, String>, _: usize) -> Behaviour {
    Behaviour::Accept
}

fn of<'a>(arrivals: &'a [Arrival], person: &Person) -> Option<&'a Arrival> {
    arrivals.iter().find(|arrival| arrival.to.ends_with(&person.phone))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_gets_one_message_each_and_its_statuses_only_go_forward() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(12).await;
    // One customer without consent, and one outside the segment.
    let body = json!({ "program_id": stage.program, "phone": phone(), "consent": false });
    let silent = stage.api.post("/enrollments", body).await.text_at("customer_id");
    let often = &people[0];
    let visit = json!({ "program_id": stage.program, "customer_id": often.id });
    stage.api.post("/stamps", visit).await.ok();
    let campaign =
        stage.campaign(json!({ "trigger": { "kind": "segment", "segment": { "visits_at_most": 1 } } })).await;
    stage.step(&campaign, "activate").await;
    let counts = stage.settled(&campaign, 13).await;
    assert_eq!((&counts["sent"], &counts["refused"]), (&json!(12), &json!(1)));
    assert_eq!(stage.check_once(), 12);
    let sends = stage.sends(&campaign).await;
    assert_eq!(
        (&sends[&silent]["status"], &sends[&silent]["reason"]),
        (&json!("refused"), &json!("opted_out"))
    );
    let taken = stage.twilio.taken();
    let first = of(&taken, often).unwrap();
    assert_eq!(first.form["ContentSid"], CONTENT);
    assert_eq!(first.form["ContentVariables"], r#"{"1":"Ada"}"#);
    assert_eq!(
        (&first.form["From"], &first.form["To"]),
        (&format!("whatsapp:{SENDER}"), &format!("whatsapp:{}", often.phone))
    );
    // Callbacks arrive out of order and twice.
    for (status, expected) in
        [("sent", "sent"), ("read", "read"), ("delivered", "read"), ("sent", "read"), ("failed", "read")]
    {
        assert_eq!(stage.twilio.status(first, status, None).await, 204);
        assert_eq!(stage.sends(&campaign).await[&often.id]["status"], expected, "after {status}");
    }
    let second = of(&taken, &people[1]).unwrap();
    assert_eq!(stage.twilio.status(second, "failed", Some(63024)).await, 204);
    let failed = &stage.sends(&campaign).await[&people[1].id];
    assert_eq!(
        (&failed["status"], &failed["reason"], &failed["provider_code"]),
        (&json!("failed"), &json!("invalid_address"), &json!(63024))
    );
    eventually(|| async {
        let counts = stage.counts(&campaign).await;
        let told = json!([counts["sent"], counts["delivered"], counts["read"], counts["failed"]]);
        (told == json!([12, 1, 1, 1])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_provider_answers_nobody_gets_a_message_twice_and_none_is_lost() {
    // The behaviour depends on the last digit of the number.
    let behave = |form: &BTreeMap<String, String>, before: usize| {
        let digit = form["To"].chars().last().unwrap();
        match (digit, before) {
            ('0', _) => Behaviour::AcceptAndDrop,
            ('1', _) => Behaviour::Drop,
            ('2', 0) => Behaviour::TooMany { retry_after: 1 },
            ('3', _) => Behaviour::Refuse { status: 400, code: 21211 },
            ('4', _) => Behaviour::Refuse { status: 400, code: 63016 },
            ('5', _) => Behaviour::Refuse { status: 400, code: 21610 },
            ('6', _) => Behaviour::Broken { status: 503, taken: true },
            ('7', _) => Behaviour::Broken { status: 500, taken: false },
            ('8', _) => Behaviour::Refuse { status: 400, code: 63049 },
            ('9', _) => Behaviour::AcceptAndHang,
            _ => Behaviour::Accept,
        }
    };
    let Some(stage) = Stage::new(behave).await else { return };
    let people = stage.customers(60).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    // Later, callbacks report the messages that Twilio accepted without answering. No callback comes for the
    // others.
    let undecided =
        |send: &Value| ["queued", "deferred", "sending"].contains(&send["status"].as_str().unwrap());
    let sends = patiently(Duration::from_secs(60), || async {
        stage.look().await;
        let sends = stage.sends(&campaign).await;
        (sends.len() == 60 && !sends.values().any(undecided)).then_some(sends)
    })
    .await;
    for person in &people {
        let send = &sends[&person.id];
        let expected = match person.phone.chars().last().unwrap() {
            '0' | '1' | '6' | '7' | '9' => json!(["unknown", null, null]),
            '3' => json!(["refused", "invalid_address", 21211]),
            '4' => json!(["refused", "not_allowed", 63016]),
            '5' => json!(["refused", "opted_out", 21610]),
            '8' => json!(["refused", "not_allowed", 63049]),
            _ => json!(["sent", null, null]),
        };
        assert_eq!(
            json!([send["status"], send["reason"], send["provider_code"]]),
            expected,
            "{}",
            person.phone
        );
        let consent =
            stage.api.get(&format!("/customers/{}", person.id)).await.ok()["consent"]["granted"].clone();
        assert_eq!(consent, !person.phone.ends_with('5'), "{}", person.phone);
    }
    stage.check_once();
    for message in stage.twilio.taken() {
        assert_eq!(stage.twilio.status(&message, "delivered", None).await, 204);
    }
    // The outcome of each message with a callback is known.
    let sends = stage.sends(&campaign).await;
    for person in &people {
        let unknown = ['1', '7'].contains(&person.phone.chars().last().unwrap());
        assert_eq!(sends[&person.id]["status"] == "unknown", unknown, "{}", person.phone);
    }
    stage.check_once();
}

/// A message is marked immediately before it is handed over. A kill between the two leaves the message unknown;
/// all other customers are served.
#[tokio::test(flavor = "multi_thread")]
async fn messages_survive_workers_that_are_killed_while_they_send() {
    let data = tempfile::tempdir().unwrap();
    if scenarios::embedded().is_none() {
        return;
    }
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN, accept, || Duration::from_millis(100)).await;
    let mut victim = Victim::start_with(data.path(), Some(&twilio.url)).await.unwrap();
    let api = Api::new(victim.credentials.clone());
    set_twilio(&api).await;
    let program = api.program(json!({})).await;
    let count = 200;
    join_all((0..count).map(|_| api.customer(&program))).await;
    let first = campaign(&api, &program, json!({})).await;
    api.post(&format!("/campaigns/{first}/activate"), json!({})).await.ok();
    let mut dice = Dice(unique());
    let kills = 4;
    for _ in 0..kills {
        let arrived = twilio.arrivals().len() + 15 + dice.below(20);
        patiently(Duration::from_secs(60), || async { (twilio.arrivals().len() >= arrived).then_some(()) })
            .await;
        tokio::time::sleep(Duration::from_millis(dice.below(50) as u64)).await;
        victim.kill();
        victim = Victim::start_with(data.path(), Some(&twilio.url)).await.unwrap();
    }
    victim.kill();
    let options =
        Options { twilio: Some(twilio.url.clone()), ..options(data.path(), false, Faults::default()) };
    let platform = scenarios::start(options).await;
    let stage = Stage { api: Api::new(platform.credentials.clone()), platform, twilio, program, _data: data };
    let started = Timestamp::now();
    let (look_at, campaign_id) = (&stage, &first);
    let settled = |cut_off: bool| {
        patiently(Duration::from_secs(120), move || async move {
            look_at.look().await;
            let sends = look_at.sends(campaign_id).await;
            // A message that was taken before the restart has no worker any more. Such a message is due two
            // minutes after it was taken.
            let is_cut_off = |send: &Value| {
                let due: Timestamp = send["due_at"].as_str().unwrap().parse().unwrap();
                due < started + SignedDuration::from_mins(2)
            };
            let settled = |send: &Value| match send["status"].as_str().unwrap() {
                "sent" | "unknown" => true,
                "sending" => cut_off && is_cut_off(send),
                _ => false,
            };
            (sends.len() == count && sends.values().all(settled)).then_some(sends)
        })
    };
    let sends = settled(true).await;
    // The outcome of a message whose worker was killed is unknown, until a callback reports that the provider
    // accepted the message.
    let with = |sends: &BTreeMap<String, Value>, status: &str| {
        sends
            .iter()
            .filter(|(_, send)| send["status"] == status)
            .map(|(id, _)| id.clone())
            .collect::<Vec<_>>()
    };
    let person = |id: &String| Person { id: id.clone(), phone: String::new() };
    let cut_off = with(&sends, "sending");
    for customer in &cut_off {
        stage.overdue(&first, &person(customer)).await;
    }
    let sends = settled(false).await;
    let arrived = stage.check_once();
    let sent = with(&sends, "sent").len();
    println!("{count} messages, {sent} sent, {} cut off, {arrived} arrived", cut_off.len());
    assert!(sent <= arrived && arrived <= count);
    assert!(count - arrived <= 8 * kills, "{} were taken long before they were sent", count - arrived);
    for mut message in stage.twilio.taken() {
        // The platform now listens on another port than when it sent the message.
        let callback = message.form.get_mut("StatusCallback").unwrap();
        *callback = format!("{}/api/{}", stage.platform.url, callback.split_once("/api/").unwrap().1);
        assert_eq!(stage.twilio.status(&message, "delivered", None).await, 204);
    }
    let sends = stage.sends(&first).await;
    let unknown = with(&sends, "unknown");
    assert_eq!((with(&sends, "delivered").len(), unknown.len()), (arrived, count - arrived));
    assert_eq!(stage.check_once(), arrived, "nobody was sent it again");
    // A message without a callback for a day is given up. Then another campaign may send to its customer.
    for customer in &unknown {
        stage.overdue(&first, &person(customer)).await;
    }
    patiently(Duration::from_secs(30), || async {
        stage.look().await;
        with(&stage.sends(&first).await, "unknown").is_empty().then_some(())
    })
    .await;
    let second = stage.campaign(json!({})).await;
    stage.step(&second, "activate").await;
    let counts = stage.settled(&second, count).await;
    assert_eq!((&counts["sent"], &counts["refused"]), (&json!(unknown.len()), &json!(arrived)));
    assert_eq!(with(&stage.sends(&second).await, "sent"), unknown);
}

/// Simulates a processor that other work keeps busy: each message blocks the only thread for 35 ms, longer than a
/// turn may be late.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_message_that_misses_its_turn_gets_another_from_the_same_worker() {
    let stall = |_: &BTreeMap<String, String>, _| {
        std::thread::sleep(Duration::from_millis(35));
        Behaviour::Accept
    };
    let Some(stage) = Stage::new(stall).await else { return };
    let count = 100;
    stage.customers(count).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    let counts = stage.settled(&campaign, count).await;
    assert_eq!((&counts["sent"], stage.check_once()), (&json!(count), count));
    let calls = |function: &str, pattern: &str| {
        stage.platform.meters[function].snapshot().get(pattern).copied().unwrap_or_default()
    };
    let (leases, taken, given_back) = (
        calls("message-sender", "rate.count"),
        calls("message-sender", "send.take"),
        calls("message-sender", "send.give-back"),
    );
    println!("{count} messages: {leases} writes to lease turns, {taken} to take, {given_back} to give back");
    assert!(leases > 30, "no turn was missed");
    assert_eq!(calls("campaign-scheduler", "send.note"), 0, "the schedule had to queue messages again");
    // A lease of turns is one write for several messages, except for the first message of a batch.
    assert!(leases <= 5 * count as u64, "{leases} writes to lease turns");
    assert!(taken <= 4 * count as u64, "{taken} times a message was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_queue_brings_twice_is_sent_once() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(20).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    let sends = patiently(Duration::from_secs(30), || async {
        let sends = stage.sends(&campaign).await;
        (sends.len() == people.len()).then_some(sends)
    })
    .await;
    let records: Vec<_> = sends
        .values()
        .map(|send| {
            let body = json!({ "kind": "campaign_message", "send_id": send["id"] }).to_string();
            json!({ "messageId": send["id"], "body": body })
        })
        .collect();
    // Four more workers get all messages while the queue's own workers send them. A message that another worker
    // has just returned to the queue is reported as failed, and is retried.
    let again = (0..4).map(|_| {
        patiently(Duration::from_secs(30), || async {
            let invoked = stage.platform.invoke("MessageSenderFunction", json!({ "Records": records })).await;
            (invoked.unwrap()["batchItemFailures"] == json!([])).then_some(())
        })
    });
    join_all(again).await;
    stage.settled(&campaign, people.len()).await;
    assert_eq!(stage.check_once(), people.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_at_the_same_time_leave_a_customer_one_message_in_seven_days() {
    let Some(stage) = Stage::new(accept).await else { return };
    stage.customers(15).await;
    let campaigns = join_all((0..4).map(|_| stage.campaign(json!({})))).await;
    join_all(campaigns.iter().map(|campaign| stage.step(campaign, "activate"))).await;
    let mut sent = 0;
    for campaign in &campaigns {
        let counts = stage.settled(campaign, 15).await;
        sent += counts["sent"].as_u64().unwrap();
        for send in stage.sends(campaign).await.values() {
            assert!(send["status"] == "sent" || send["reason"] == "frequency_cap", "{send}");
        }
    }
    assert_eq!((sent, stage.check_once()), (15, 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_stop_gets_nothing_even_if_it_is_queued() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(4).await;
    let first = stage.campaign(json!({})).await;
    stage.step(&first, "activate").await;
    stage.settled(&first, 4).await;
    let taken = stage.twilio.taken();
    let consent = async |person: &Person| {
        stage.api.get(&format!("/customers/{}", person.id)).await.ok()["consent"]["granted"].clone()
    };
    for (text, granted) in
        [("when do you open?", true), ("Stop", false), ("please", false), ("START", true), ("stop ", false)]
    {
        assert_eq!(stage.twilio.reply(of(&taken, &people[0]).unwrap(), text).await, 200);
        assert_eq!(consent(&people[0]).await, granted, "after {text}");
    }
    // The provider reports that the customer opted out.
    assert_eq!(stage.twilio.status(of(&taken, &people[1]).unwrap(), "failed", Some(63033)).await, 204);
    assert_eq!(consent(&people[1]).await, false);
    // The customer opts out while a message is queued.
    let second = stage.campaign(json!({ "template": { "channel": "sms", "text": "Hello {{name}}" } })).await;
    let id: domain::id::CampaignId = second.parse().unwrap();
    let account = &stage.api.credentials.account_id;
    let found = campaigns::read(&stage.platform.table, account, &id).await.unwrap().unwrap();
    let person = &people[2];
    let (customer, program) = (person.id.parse().unwrap(), stage.program.parse().unwrap());
    let card = stamps::customers::card(&stage.platform.table, &customer, &program).await.unwrap().unwrap();
    let send = campaigns::campaign::Send::new(&found, &card, "test", Timestamp::now());
    let send = campaigns::campaign::Send { test: true, ..send };
    campaigns::sends::create(&stage.platform.table, vec![send.clone()]).await.unwrap();
    assert_eq!(stage.twilio.reply(of(&taken, person).unwrap(), "STOP").await, 200);
    let body = json!({ "kind": "campaign_message", "send_id": send.id }).to_string();
    let event = json!({ "Records": [{ "messageId": "1", "body": body }] });
    stage.platform.invoke("MessageSenderFunction", event).await.unwrap();
    assert_eq!(stage.sends(&second).await[&person.id]["reason"], "opted_out");
    assert_eq!(stage.twilio.taken().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_one_customer_in_every_form_and_stop_is_heard_in_each() {
    let Some(stage) = Stage::new(accept).await else { return };
    let url = stage.inbound_url().await;
    let mut kept = BTreeMap::new();
    // Number as typed; number as stored, to which messages go; number as a provider or another till gives it.
    for (typed, phone, named) in [
        ("+52 55 0000 0001", "+525500000001", "+5215500000001"),
        ("+52 1 55 0000 0002", "+5215500000002", "+525500000002"),
        ("+55 11 90000-0003", "+5511900000003", "+551100000003"),
        ("+55 31 8765-4321", "+553187654321", "+5531987654321"),
        ("+54 11 0000-0004", "+541100000004", "+5491100000004"),
        ("+54 9 2966 12-3456", "+5492966123456", "+542966123456"),
        ("+229 95 12 34 56", "+22995123456", "+2290195123456"),
        ("+44 (0)7911 123456", "+447911123456", "+447911123456"),
        ("\u{202a}+49\u{a0}(0)151\u{2011}12345678\u{202c}", "+4915112345678", "+4915112345678"),
        ("+39 06 1234 5678", "+390612345678", "+390612345678"),
    ] {
        let enrolled = stage.enrol(typed).await;
        assert_eq!(enrolled.status, 201, "{typed}: {}", enrolled.text);
        let id = enrolled.text_at("customer_id");
        let again = stage.enrol(named).await;
        assert_eq!((again.status.as_u16(), again.text_at("customer_id")), (200, id.clone()), "{named}");
        for number in [phone, named] {
            assert_eq!(stage.found(number).await, [id.as_str()], "{number}");
        }
        for (channel, text, granted) in [
            ("whatsapp:", "STOP", false),
            ("", "START", true),
            ("", "STOP", false),
            ("whatsapp:", "START", true),
        ] {
            let from = format!("{channel}{named}");
            assert_eq!(stage.twilio.says(&url, &from, &[("Body", text)]).await, 200);
            assert_eq!(stage.consent(&id).await, granted, "after {text} from {from}");
        }
        kept.insert(phone, (id, named));
    }
    // A landline number and the mobile number with a 9 before its digits are two customers.
    let (landline, mobile) = (stage.enrol("+551123456789").await, stage.enrol("+5511923456789").await);
    assert_eq!((landline.status.as_u16(), mobile.status.as_u16()), (201, 201));
    let (landline, mobile) = (landline.text_at("customer_id"), mobile.text_at("customer_id"));
    assert_eq!(stage.twilio.says(&url, "whatsapp:+551123456789", &[("Body", "STOP")]).await, 200);
    assert_eq!((stage.consent(&landline).await, stage.consent(&mobile).await), (false, true));

    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    stage.settled(&campaign, kept.len() + 2).await;
    for (phone, (id, named)) in &kept {
        let taken = stage.twilio.taken();
        let message = taken.iter().find(|message| message.to == format!("whatsapp:{phone}"));
        let message = message.unwrap_or_else(|| panic!("nothing was sent to {phone}"));
        // The callback identifies its message, whatever number it contains.
        for to in [format!("whatsapp:{named}"), "whatsapp:MX.1A2B3C".to_owned(), String::new()] {
            assert_eq!(
                stage.twilio.says(&url, &format!("whatsapp:{named}"), &[("Body", "START")]).await,
                200
            );
            assert!(stage.consent(id).await);
            let told = Arrival { to, ..message.clone() };
            assert_eq!(stage.twilio.status(&told, "failed", Some(63033)).await, 204);
            assert!(!stage.consent(id).await, "63033 of {phone}, told of {:?}", told.to);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_whose_forms_were_told_apart_are_both_found_and_both_silenced() {
    let Some(stage) = Stage::new(accept).await else { return };
    let (url, table) = (stage.inbound_url().await, &stage.platform.table);
    let account = &stage.api.credentials.account_id;
    let key = accounts::signing_key(table, account).await.unwrap();
    // A customer as stored by an earlier version, in which each form of a number was a separate identity.
    let before = async |stored: &str| {
        let id = stage.enrol(&phone()).await.text_at("customer_id");
        let old = stamps::customers::read(table, account, &id.parse().unwrap()).await.unwrap().unwrap();
        let new = stamps::customer::Customer {
            phone: stored.to_owned().try_into().unwrap(),
            rev: old.rev + 1,
            ..old.clone()
        };
        let claim = stamps::entities::PhoneClaim {
            account_id: account.clone(),
            hash: key.pseudonym("phone", stored),
            customer_id: new.id.clone(),
        };
        let commit = table::Commit::new(&stamps::patterns::CUSTOMER_WRITE);
        commit.replace("customer", &new, old.rev).create("claim", &claim).apply(table).await.unwrap();
        id
    };
    let (with, without) = (before("+5215500000021").await, before("+525500000021").await);
    assert_eq!(stage.found("+5215500000021").await, [with.clone(), without.clone()]);
    assert_eq!(stage.found("+525500000021").await, [without.clone(), with.clone()]);
    assert_eq!(stage.enrol("+52 1 55 0000 0021").await.text_at("customer_id"), with);
    assert_eq!(stage.enrol("+52 55 0000 0021").await.text_at("customer_id"), without);
    for (text, granted) in [("STOP", false), ("START", true), ("STOP", false)] {
        assert_eq!(stage.twilio.says(&url, "whatsapp:+5215500000021", &[("Body", text)]).await, 200);
        assert_eq!((stage.consent(&with).await, stage.consent(&without).await), (granted, granted));
    }
    // A number stored with its trunk prefix.
    let trunk = before("+4407911123457").await;
    assert_eq!(stage.found("+44 7911 123457").await, [trunk.as_str()]);
    assert_eq!(stage.enrol("+44 (0)7911 123457").await.text_at("customer_id"), trunk);

    let change = async |id: &str, phone: &str| {
        let call = stage.api.secret("PATCH", &format!("/customers/{id}")).header("if-match", "*");
        call.json(json!({ "phone": phone })).send().await
    };
    change(&trunk, "+5215500000021").await.is_problem(409, "phone-taken");
    change(&with, "+525500000021").await.is_problem(409, "phone-taken");
    let moved = phone();
    assert_eq!(change(&with, &moved).await.status, 200);
    assert_eq!(stage.found("+5215500000021").await, [without.as_str()], "the other one's is not touched");
    // Another form of the customer's own number.
    assert_eq!(change(&without, "+5215500000021").await.status, 200);
    assert_eq!(stage.found("+525500000021").await, [without.as_str()]);
    stage.api.secret("DELETE", &format!("/customers/{without}")).send().await;
    let anew = stage.enrol("+525500000021").await;
    assert_eq!(anew.status, 201, "{}", anew.text);
    assert_eq!(stage.found("+5215500000021").await, [anew.text_at("customer_id")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_is_understood_however_it_is_written_and_nothing_else_is() {
    let Some(stage) = Stage::new(accept).await else { return };
    let (url, number) = (stage.inbound_url().await, phone());
    let id = stage.enrol(&number).await.text_at("customer_id");
    let from = format!("whatsapp:{number}");
    let says = async |said: &[(&'static str, &str)]| {
        assert_eq!(stage.twilio.says(&url, &from, said).await, 200);
        stage.consent(&id).await
    };
    for body in [
        "Stop.",
        "stop!",
        "STOP ALL",
        "opt out",
        "OPT-OUT",
        "\"stop\"",
        "Stop promotions",
        "unsubscribe.",
        "End.",
        "please stop",
        "ARRET",
        "BAJA",
        "STOPP",
    ] {
        assert!(!says(&[("Body", body)]).await, "after {body}");
        assert!(says(&[("Body", "Start!")]).await, "after a start");
    }
    for button in [
        [("Body", "Not for me"), ("ButtonText", "Not for me"), ("ButtonPayload", "STOP_PROMOTIONS")],
        [("Body", ""), ("ButtonText", "Stop promotions"), ("ButtonPayload", "b7")],
        [("Body", "Parem"), ("MessageType", "text"), ("OptOutType", "STOP")],
    ] {
        assert!(!says(&button).await, "after {button:?}");
        assert!(says(&[("Body", "👍"), ("OptOutType", "START")]).await);
    }
    for body in ["please don't stop", "stop by tomorrow?", "the end", "Nej tak", "help"] {
        assert!(says(&[("Body", body)]).await, "after {body}");
    }
    assert!(says(&[("Body", "info"), ("OptOutType", "HELP")]).await);

    let settings = |words: Value| json!({ "account_sid": ACCOUNT, "auth_token": TOKEN, "whatsapp_sender": SENDER, "stop_words": words });
    let put =
        async |words: Value| stage.api.secret("PUT", "/providers/twilio").json(settings(words)).send().await;
    for words in [json!(["!"]), json!(["x".repeat(65)]), json!(vec!["x"; 51])] {
        assert_eq!(put(words).await.status, 422);
    }
    assert_eq!(put(json!(["nej tak"])).await.ok()["stop_words"], json!(["nej tak"]));
    assert!(!says(&[("Body", "Nej, tak!")]).await);
    assert!(says(&[("Body", "START")]).await);
    assert_eq!(put(json!([])).await.ok()["stop_words"], json!([]));
    assert!(says(&[("Body", "Nej, tak!")]).await, "the word was taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_it_and_resuming_skips_who_was_sent_it() {
    let Some(stage) = Stage::with(accept, Faults::default(), || Duration::from_millis(300)).await else {
        return;
    };
    let count = 300;
    stage.customers(count).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    patiently(Duration::from_secs(30), || async { (stage.twilio.arrivals().len() >= 20).then_some(()) })
        .await;
    stage.step(&campaign, "pause").await;
    let at_pause = stage.twilio.arrivals().len();
    // Workers send the messages that they took before the pause: at most one batch of 10 each, with at most 10
    // workers.
    let sends = patiently(Duration::from_secs(30), || async {
        let sends = stage.sends(&campaign).await;
        (!sends.values().any(|send| send["status"] == "sending")).then_some(sends)
    })
    .await;
    let after = stage.twilio.arrivals().len();
    assert!(after - at_pause <= 100, "{} were sent after the pause", after - at_pause);
    assert!(after < count && sends.values().any(|send| send["status"] == "queued"), "{after}");
    stage.step(&campaign, "resume").await;
    let counts = stage.settled(&campaign, count).await;
    assert_eq!((counts["sent"].as_u64().unwrap(), stage.check_once()), (count as u64, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_never_sends_more_than_80_in_any_second() {
    let dice = AtomicUsize::new(7);
    let delay = move || {
        let n = dice.fetch_add(0x9e37_79b9, Ordering::Relaxed);
        Duration::from_millis(5 + (n >> 8) as u64 % 496)
    };
    let Some(stage) = Stage::with(accept, Faults::default(), delay).await else { return };
    let count = 400;
    stage.customers(count).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    stage.settled(&campaign, count).await;
    assert_eq!(stage.check_once(), count);
    let arrivals = stage.twilio.arrivals();
    // A message that is sent in time may arrive late on a busy machine, so the window is 50 ms shorter than a
    // second. `cargo bench --bench sends` checks whole seconds.
    let busiest = busiest(&arrivals, Duration::from_millis(950));
    let histogram = scenarios::twilio::histogram(&arrivals);
    println!("{count} messages, the busiest 950 ms had {busiest}: {histogram:?}");
    assert!(busiest <= 80, "{busiest} in 950 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_is_a_reason_to_wait_and_not_to_lose() {
    // Twilio refuses the first two requests for each number with a rate limit and accepts the third.
    let behave = |_: &BTreeMap<String, String>, before: usize| match before {
        0 => Behaviour::TooMany { retry_after: 1 },
        // This pause is over before the worker records it.
        1 => Behaviour::TooMany { retry_after: 0 },
        _ => Behaviour::Accept,
    };
    let Some(stage) = Stage::new(behave).await else { return };
    let people = stage.customers(5).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    let counts = patiently(Duration::from_secs(150), || async {
        stage.look().await;
        let counts = stage.counts(&campaign).await;
        (counts["sent"] == people.len()).then_some(counts)
    })
    .await;
    assert_eq!((&counts["refused"], stage.check_once()), (&json!(0), people.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_channel_did_not_let_through_is_sent_again_and_counted_once() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(3).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    stage.settled(&campaign, 3).await;
    let taken = stage.twilio.taken();
    let first = of(&taken, &people[0]).unwrap();
    let delivered = of(&taken, &people[1]).unwrap();
    assert_eq!(stage.twilio.status(delivered, "delivered", None).await, 204);
    for (message, expected) in [(first, "deferred"), (first, "deferred"), (delivered, "delivered")] {
        assert_eq!(stage.twilio.status(message, "failed", Some(63018)).await, 204);
        let person = people.iter().find(|person| message.to.ends_with(&person.phone)).unwrap();
        assert_eq!(stage.sends(&campaign).await[&person.id]["status"], expected);
    }
    eventually(|| async { (stage.counts(&campaign).await["sent"] == 2).then_some(()) }).await;
    // A late callback for the previous attempt changes nothing.
    assert_eq!(stage.twilio.status(first, "sent", None).await, 204);
    assert_eq!(stage.sends(&campaign).await[&people[0].id]["status"], "deferred");
    stage.overdue(&campaign, &people[0]).await;
    let counts = patiently(Duration::from_secs(60), || async {
        stage.look().await;
        let counts = stage.counts(&campaign).await;
        (counts["sent"] == 3).then_some(counts)
    })
    .await;
    assert_eq!((&counts["audience"], &counts["open"], &counts["refused"]), (&json!(3), &json!(0), &json!(0)));
    let again: Vec<_> = stage.twilio.taken().into_iter().filter(|message| message.to == first.to).collect();
    assert_eq!(again.len(), 2, "and no more");
    assert_eq!(stage.twilio.status(&again[1], "read", None).await, 204);
    assert_eq!(stage.sends(&campaign).await[&people[0].id]["status"], "read");
}

/// A message that is given up does not count towards the cap until a callback reports it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_hears_of_is_given_up_and_may_be_heard_of_yet() {
    let Some(stage) = Stage::new(|_, before| match before {
        0 => Behaviour::AcceptAndDrop,
        _ => Behaviour::Accept,
    })
    .await
    else {
        return;
    };
    let people = stage.customers(3).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    let given_up = async |person: &Person| {
        let status =
            || async { stage.sends(&campaign).await.get(&person.id).map(|send| send["status"].clone()) };
        patiently(Duration::from_secs(30), || async {
            (status().await == Some(json!("unknown"))).then_some(())
        })
        .await;
        stage.overdue(&campaign, person).await;
        eventually(|| async {
            stage.look().await;
            (status().await == Some(json!("refused"))).then_some(())
        })
        .await;
    };
    let [heard_of, silent, late] = &people[..] else { unreachable!() };
    given_up(heard_of).await;
    given_up(silent).await;
    eventually(|| async { (stage.counts(&campaign).await["refused"] == 2).then_some(()) }).await;
    let messages = stage.twilio.taken();
    assert_eq!(stage.twilio.status(of(&messages, heard_of).unwrap(), "delivered", None).await, 204);
    eventually(|| async {
        let counts = stage.counts(&campaign).await;
        (json!([counts["audience"], counts["sent"], counts["refused"], counts["open"]])
            == json!([3, 1, 1, 1]))
        .then_some(())
    })
    .await;
    assert_eq!(stage.twilio.taken().len(), 3, "nobody was sent it again");
    // One customer has had a message; for two, no callback has arrived.
    let second = stage.campaign(json!({})).await;
    stage.step(&second, "activate").await;
    let counts = stage.settled(&second, 3).await;
    assert_eq!((&counts["sent"], &counts["refused"]), (&json!(1), &json!(2)));
    let sends = stage.sends(&second).await;
    assert_eq!(sends[&silent.id]["status"], "sent");
    // A late callback does not take the cap from the message that holds it.
    given_up(late).await;
    let third = stage.campaign(json!({})).await;
    stage.step(&third, "activate").await;
    let counts = stage.settled(&third, 3).await;
    assert_eq!((&counts["sent"], &counts["refused"]), (&json!(1), &json!(2)));
    for person in [silent, late] {
        assert_eq!(stage.twilio.status(of(&messages, person).unwrap(), "delivered", None).await, 204);
        assert_eq!(stage.sends(&campaign).await[&person.id]["status"], "delivered");
    }
    let fourth = stage.campaign(json!({})).await;
    stage.step(&fourth, "activate").await;
    assert_eq!(stage.settled(&fourth, 3).await["refused"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_queueing_was_cut_off_is_queued_again() {
    let Some(stage) = Stage::new(accept).await else { return };
    let person = &stage.customers(1).await[0];
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    stage.settled(&campaign, 1).await;
    // State that the scheduler leaves if it is cut off between recording and queueing a message.
    let id = stage.sends(&campaign).await[&person.id]["id"].as_str().unwrap().parse().unwrap();
    let send = campaigns::sends::read(&stage.platform.table, &id).await.unwrap().unwrap().send;
    let cut_off = campaigns::campaign::Send {
        status: campaigns::campaign::SendStatus::Queued,
        due_at: Some(Timestamp::now()),
        test: true,
        rev: send.rev + 1,
        ..send
    };
    assert!(campaigns::sends::update(&stage.platform.table, &cut_off).await.unwrap());
    eventually(|| async {
        stage.look().await;
        (stage.twilio.taken().len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_put_messages_off_and_lose_none() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(3).await;
    let far = json!({ "time_zone": "Pacific/Kiritimati" });
    let call = stage.api.secret("PATCH", &format!("/customers/{}", people[0].id)).header("if-match", "*");
    call.json(far).send().await.ok();
    let campaign = stage.campaign(quiet()).await;
    stage.step(&campaign, "activate").await;
    let sends = patiently(Duration::from_secs(30), || async {
        let sends = stage.sends(&campaign).await;
        let settled = |send: &Value| send["status"] == "sent" || send["status"] == "deferred";
        (sends.len() == 3 && sends.values().all(settled)).then_some(sends)
    })
    .await;
    // In Kiritimati the time is 14 hours later.
    assert_eq!(sends[&people[0].id]["status"], "sent");
    for person in &people[1..] {
        let due: Timestamp = sends[&person.id]["due_at"].as_str().unwrap().parse().unwrap();
        let wait = due.duration_since(Timestamp::now());
        assert!(wait > SignedDuration::from_mins(50) && wait <= SignedDuration::from_mins(60), "{wait}");
        stage.overdue(&campaign, person).await;
    }
    let call = stage.api.secret("POST", &format!("/campaigns/{campaign}/pause")).json(json!({}));
    call.send().await.ok();
    let call = stage.api.secret("PATCH", &format!("/campaigns/{campaign}")).header("if-match", "*");
    call.json(json!({ "quiet_hours": null })).send().await.ok();
    stage.step(&campaign, "resume").await;
    stage.look().await;
    let counts = stage.settled(&campaign, 3).await;
    assert_eq!((&counts["sent"], stage.check_once()), (&json!(3), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_due_in_a_pause_waits_and_is_not_left_behind_when_that_ends() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(2).await;
    let quiet = stage.campaign(quiet()).await;
    stage.step(&quiet, "activate").await;
    let status =
        async |person: &Person| stage.sends(&quiet).await.get(&person.id).map(|it| it["status"].clone());
    for person in &people {
        eventually(|| async { (status(person).await == Some(json!("deferred"))).then_some(()) }).await;
    }
    stage.step(&quiet, "pause").await;
    let call = stage.api.secret("PATCH", &format!("/campaigns/{quiet}")).header("if-match", "*");
    call.json(json!({ "quiet_hours": null })).send().await.ok();
    stage.overdue(&quiet, &people[0]).await;
    eventually(|| async {
        stage.look().await;
        (status(&people[0]).await == Some(json!("queued"))).then_some(())
    })
    .await;
    // The scheduler read the other message during the pause and writes after its end.
    stage.overdue(&quiet, &people[1]).await;
    let id = stage.sends(&quiet).await[&people[1].id]["id"].as_str().unwrap().parse().unwrap();
    let read = campaigns::sends::read(&stage.platform.table, &id).await.unwrap().unwrap();
    stage.step(&quiet, "resume").await;
    let parked = read.send.now(campaigns::campaign::SendStatus::Queued, Timestamp::now());
    let paused = read.campaign.unwrap();
    assert!(!campaigns::sends::park(&stage.platform.table, &parked, &paused).await.unwrap());
    eventually(|| async {
        stage.look().await;
        (stage.counts(&quiet).await["sent"] == 2).then_some(())
    })
    .await;
    assert_eq!(stage.check_once(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_campaigns_of_a_deleted_program_send_nothing_more() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(2).await;
    let quiet = stage.campaign(quiet()).await;
    let draft = stage.campaign(json!({})).await;
    stage.step(&quiet, "activate").await;
    eventually(|| async {
        let sends = stage.sends(&quiet).await;
        (sends.len() == 2 && sends.values().all(|send| send["status"] == "deferred")).then_some(())
    })
    .await;
    stage.api.secret("DELETE", &format!("/programs/{}", stage.program)).send().await;
    for person in &people {
        stage.overdue(&quiet, person).await;
    }
    let counts = patiently(Duration::from_secs(30), || async {
        stage.look().await;
        let counts = stage.counts(&quiet).await;
        (counts["open"] == 0).then_some(counts)
    })
    .await;
    assert_eq!((&counts["audience"], &counts["refused"]), (&json!(2), &json!(2)));
    let reason = |send: &Value| send["reason"] == "campaign_ended";
    assert!(stage.sends(&quiet).await.values().all(reason));
    let path = |campaign: &str, step: &str| format!("/campaigns/{campaign}/{step}");
    stage.api.post(&path(&draft, "activate"), json!({})).await.is_problem(404, "not-found");
    stage.api.post(&path(&quiet, "pause"), json!({})).await.ok();
    stage.api.post(&path(&quiet, "resume"), json!({})).await.is_problem(404, "not-found");
    let test = json!({ "customer_id": people[0].id });
    stage.api.post(&path(&quiet, "test"), test).await.is_problem(404, "not-found");
    assert!(stage.twilio.taken().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn absences_birthdays_and_milestones_trigger_their_campaigns() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(4).await;
    let [absent, born, loyal, _] = &people[..] else { unreachable!() };
    let offline = json!({ "till_id": "1", "program_id": stage.program, "customer_id": absent.id,
        "taken_at": Timestamp::now() - SignedDuration::from_hours(24 * 29) });
    stage.api.post("/stamps/sync", json!({ "stamps": [offline] })).await.ok();
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let birthday = today.with().year(1990).build().unwrap_or(today);
    let call = stage.api.secret("PATCH", &format!("/customers/{}", born.id)).header("if-match", "*");
    call.json(json!({ "birthday": birthday })).send().await.ok();
    let mut waiting = Vec::new();
    for (trigger, person) in [
        (json!({ "kind": "inactivity", "days": 28 }), absent),
        (json!({ "kind": "birthday" }), born),
        (json!({ "kind": "milestone", "visits": 2 }), loyal),
    ] {
        let campaign = stage.campaign(json!({ "trigger": trigger })).await;
        stage.step(&campaign, "activate").await;
        waiting.push((campaign, person));
    }
    for _ in 0..2 {
        let visit = json!({ "program_id": stage.program, "customer_id": loyal.id });
        stage.api.post("/stamps", visit).await.ok();
    }
    let mut resumed = Vec::new();
    for (campaign, person) in waiting {
        stage.settled(&campaign, 1).await;
        assert_eq!(stage.sends(&campaign).await[&person.id]["status"], "sent", "{campaign}");
        stage.look().await;
        stage.step(&campaign, "pause").await;
        stage.step(&campaign, "resume").await;
        resumed.push(campaign);
    }
    // The scheduler found no further customers: jobs that were requested before this campaign are done when this
    // campaign is done.
    let everybody = stage.campaign(json!({})).await;
    stage.step(&everybody, "activate").await;
    let counts = stage.settled(&everybody, 4).await;
    assert_eq!((&counts["sent"], &counts["refused"]), (&json!(1), &json!(3)), "the others have had theirs");
    for campaign in resumed {
        assert_eq!(stage.counts(&campaign).await["audience"], 1, "{campaign}");
    }
    assert_eq!(stage.check_once(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_tells_the_customer_a_code_of_their_own() {
    let Some(stage) = Stage::new(accept).await else { return };
    let people = stage.customers(4).await;
    let pool = stage.api.pool(json!({})).await;
    stage.api.import(&pool, "code\nMISS-0001\nMISS-0002\nMISS-0003\n").await;
    // One customer holds a reserved code. A code in a message is claimed for good.
    let reserve = json!({ "user": people[0].id, "reserve": true });
    let claim = stage.api.public("POST", &format!("/distribute/{pool}")).json(reserve).send().await;
    let claim = claim.text_at("claim_id");
    let template =
        json!({ "channel": "sms", "text": "{{name}}, take {{code}} for {{reward}} at {{program}}" });
    let campaign = stage.campaign(json!({ "code_pool_id": pool, "template": template })).await;
    stage.step(&campaign, "activate").await;
    let counts = stage.settled(&campaign, 4).await;
    assert_eq!((&counts["sent"], &counts["refused"]), (&json!(3), &json!(1)));
    let codes: BTreeSet<_> =
        stage.twilio.taken().iter().map(|message| message.form["Body"].clone()).collect();
    let expected = (1..=3).map(|n| format!("Ada, take MISS-000{n} for One coffee at Coffee"));
    assert_eq!(codes, expected.collect::<BTreeSet<_>>());
    let refused: Vec<_> =
        stage.sends(&campaign).await.into_values().filter(|send| send["reason"] == "no_code").collect();
    assert_eq!((refused.len(), people.len()), (1, 4));
    assert_eq!(stage.api.get(&format!("/claims/{claim}")).await.ok()["status"], "claimed");
    let release = stage.api.public("POST", &format!("/claims/{claim}/release")).json(json!({}));
    release.send().await.is_problem(403, "server-only");
}

/// A page enrols a stranger's phone number with an email address of the attacker. Neither address gets a message
/// before an authorised party confirms it, and a code is sent only to a confirmed address.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_says_reaches_nobody_until_it_is_confirmed() {
    let Some(stage) = Stage::new(accept).await else { return };
    let api = &stage.api;
    let person = stage.customers(1).await.remove(0);
    let (mallory, ada) = (address("mallory"), address("ada"));
    let numbers = [phone(), phone()];
    for number in &numbers {
        let body = json!({ "program_id": stage.program, "phone": number, "email": mallory, "name": "Mallory",
            "birthday": "1990-01-02", "consent": true });
        assert_eq!(api.public("POST", "/enrollments").json(body).send().await.status, 202);
    }
    let ids: Vec<String> = {
        let customers = api.all(&format!("/customers?program_id={}", stage.program)).await;
        let of =
            |number: &String| customers.iter().find(|customer| customer["phone"] == number.as_str()).unwrap();
        numbers.iter().map(|number| of(number)["id"].as_str().unwrap().to_owned()).collect()
    };
    let pool = api.pool(json!({ "claims": "server_only" })).await;
    api.import(&pool, "code\nMISS-0001\nMISS-0002\n").await;
    let mail = json!({ "channel": "email", "subject": "For {{name|you}}", "text": "Take {{code}}" });
    let sms = json!({ "channel": "sms", "text": "Hello {{name|friend}}" });
    let with_code = json!({ "code_pool_id": pool, "template": mail });
    // A campaign by SMS, and a campaign by mail.
    for change in [json!({ "template": sms }), with_code.clone()] {
        let campaign = stage.campaign(change).await;
        stage.step(&campaign, "activate").await;
        stage.settled(&campaign, 3).await;
        let sends = stage.sends(&campaign).await;
        for id in &ids {
            assert_eq!(
                (&sends[id]["status"], &sends[id]["reason"]),
                (&json!("refused"), &json!("unconfirmed"))
            );
        }
    }
    let taken = stage.twilio.taken();
    assert_eq!(taken.len(), 1, "the customer whom the shop enrolled");
    let outcome = async |change: Value, id: &String| {
        let campaign = stage.campaign(change).await;
        let sent = api.post(&format!("/campaigns/{campaign}/test"), json!({ "customer_id": id })).await;
        assert_eq!(sent.status, 202, "{}", sent.text);
        patiently(Duration::from_secs(30), || async {
            let send = stage.sends(&campaign).await.remove(id)?;
            (send["status"] == "sent" || send["status"] == "refused").then_some(send)
        })
        .await
    };
    // A START from the number confirms the number, but none of the other data.
    let said = Arrival { to: numbers[0].clone(), ..of(&taken, &person).unwrap().clone() };
    assert_eq!(stage.twilio.reply(&said, "START").await, 200);
    assert_eq!(outcome(json!({ "template": sms }), &ids[0]).await["status"], "sent");
    let greeted = stage.twilio.taken().into_iter().find(|message| message.to == numbers[0]).unwrap();
    assert_eq!(greeted.form["Body"], "Hello friend");
    assert_eq!(outcome(with_code.clone(), &ids[0]).await["reason"], "unconfirmed");
    // A card shown at the till confirms the number too. The email address stays unconfirmed.
    let path = format!("/customers/{}/card?program_id={}", ids[1], stage.program);
    let token = api.get(&path).await.text_at("token");
    assert_eq!(api.post("/stamps", json!({ "token": token })).await.status, 201);
    assert_eq!(outcome(json!({ "template": sms }), &ids[1]).await["status"], "sent");
    assert_eq!(outcome(with_code.clone(), &ids[1]).await["reason"], "unconfirmed");
    // The shop confirms its customer's email address.
    let shop = json!({ "program_id": stage.program, "phone": numbers[1], "email": ada, "consent": true });
    assert_eq!(api.post("/enrollments", shop).await.status, 200);
    assert_eq!(outcome(with_code.clone(), &ids[1]).await["status"], "sent");
    assert!(api.mail(&ada).await["text"].as_str().unwrap().contains("Take MISS-000"));
    let outbox = api.call("GET", &format!("//outbox.json?to={mallory}")).send().await;
    assert_eq!(outbox.json["data"], json!([]), "{}", outbox.text);
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let left = codes.iter().filter(|code| code["status"] == "available").count();
    assert_eq!(left, 1, "no code was spent on what was refused");
    // An opt-out that the shop records is final, whatever a page submits.
    let shop = json!({ "program_id": stage.program, "phone": numbers[1], "consent": false });
    api.post("/enrollments", shop).await.ok();
    let page = json!({ "program_id": stage.program, "phone": numbers[1], "consent": true });
    api.public("POST", "/enrollments").json(page).send().await.ok();
    assert_eq!(outcome(json!({ "template": sms }), &ids[1]).await["reason"], "opted_out");
}

/// A page can enrol any number in another program. That card causes no message before a visit, whichever
/// enrolment came first.
#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_a_page_gave_brings_no_messages_before_a_visit() {
    let Some(stage) = Stage::new(accept).await else { return };
    let api = &stage.api;
    let person = stage.customers(1).await.remove(0);
    let other = api.program(json!({})).await;
    let body = json!({ "program_id": other, "phone": person.phone, "consent": true });
    assert_eq!(api.public("POST", "/enrollments").json(body.clone()).send().await.status, 202);
    // Here the page's enrolment comes first, and the shop enrols the customer in its own program afterwards.
    let phone = phone();
    let body = json!({ "program_id": other, "phone": phone, "consent": true });
    assert_eq!(api.public("POST", "/enrollments").json(body).send().await.status, 202);
    let shop = json!({ "program_id": stage.program, "phone": phone, "consent": true });
    let later = api.post("/enrollments", shop).await.text_at("customer_id");
    let template = json!({ "channel": "sms", "text": "Hello" });
    let reasons = async |customer: &String| {
        let campaign = campaign(api, &other, json!({ "template": template })).await;
        let path = format!("/campaigns/{campaign}/test");
        api.post(&path, json!({ "customer_id": customer })).await.ok();
        patiently(Duration::from_secs(30), || async {
            let send = stage.sends(&campaign).await.remove(customer)?;
            (send["status"] == "sent" || send["status"] == "refused").then(|| send["reason"].clone())
        })
        .await
    };
    for (sent, customer) in [&person.id, &later].into_iter().enumerate() {
        assert_eq!(reasons(customer).await, "unconfirmed");
        assert_eq!(stage.twilio.taken().len(), sent);
        let visit = json!({ "program_id": other, "customer_id": customer });
        assert_eq!(api.post("/stamps", visit).await.status, 201);
        assert_eq!(reasons(customer).await, Value::Null);
        assert_eq!(stage.twilio.taken().len(), sent + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_outside_the_programs_countries_get_no_message() {
    let Some(stage) = Stage::new(accept).await else { return };
    let api = &stage.api;
    let person = stage.customers(1).await.remove(0);
    let abroad = format!("+1876{:07}", unique() % 10_000_000);
    let body =
        json!({ "program_id": stage.program, "phone": abroad, "email": address("jo"), "consent": true });
    let jo = api.post("/enrollments", body).await.text_at("customer_id");
    let change = api.secret("PATCH", &format!("/programs/{}", stage.program)).header("if-match", "*");
    change.json(json!({ "countries": ["DE"] })).send().await.ok();
    let campaign = stage.campaign(json!({ "template": { "channel": "sms", "text": "Hello" } })).await;
    stage.step(&campaign, "activate").await;
    let counts = stage.settled(&campaign, 2).await;
    assert_eq!((&counts["sent"], &counts["refused"]), (&json!(1), &json!(1)));
    assert_eq!(stage.sends(&campaign).await[&jo]["reason"], "country_not_served");
    let taken = stage.twilio.taken();
    assert!(taken.len() == 1 && taken[0].to == person.phone, "{taken:?}");
    // Countries do not apply to mails.
    let template = json!({ "channel": "email", "subject": "Hi", "text": "Hello" });
    let campaign = stage.campaign(json!({ "template": template })).await;
    stage.step(&campaign, "activate").await;
    stage.settled(&campaign, 2).await;
    assert_eq!(stage.sends(&campaign).await[&jo]["status"], "sent");
}

/// A code that was claimed long ago has been archived from the table.
#[tokio::test(flavor = "multi_thread")]
async fn whose_code_was_archived_gets_another() {
    let Some(stage) = Stage::new(accept).await else { return };
    let person = stage.customers(1).await.remove(0);
    let (api, platform) = (&stage.api, &stage.platform);
    let pool = api.pool(json!({})).await;
    let old = Timestamp::now() - SignedDuration::from_hours(31 * 24);
    let claim = crate::codes::claim_at(platform, api, &pool, &person.id, old).await;
    eventually(|| async {
        platform.invoke("JobsFunction", json!({ "schedule": "archive_codes" })).await.unwrap();
        let claim = codes::claims::read(&platform.table, &api.credentials.account_id, &claim).await.unwrap();
        claim.unwrap().archived.map(drop)
    })
    .await;
    api.import(&pool, "code\nMISS-0001\n").await;
    let template = json!({ "channel": "sms", "text": "Take {{code}}" });
    let campaign = stage.campaign(json!({ "code_pool_id": pool, "template": template })).await;
    stage.step(&campaign, "activate").await;
    assert_eq!(stage.settled(&campaign, 1).await["sent"], 1);
    assert_eq!(stage.twilio.taken()[0].form["Body"], "Take MISS-0001");
}

/// An error of the provider's account is not a failure of the messages, which are sent once the account is
/// repaired.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_loses_its_sender_loses_no_message() {
    static IS_WRONG: AtomicBool = AtomicBool::new(true);
    let behave = |_: &BTreeMap<String, String>, _| match IS_WRONG.load(Ordering::Relaxed) {
        true => Behaviour::Refuse { status: 400, code: 63007 },
        false => Behaviour::Accept,
    };
    let Some(stage) = Stage::new(behave).await else { return };
    stage.customers(3).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    let queued = || async {
        let sends: Vec<Value> = stage.sends(&campaign).await.into_values().collect();
        (sends.len() == 3 && sends.iter().all(|send| send["status"] == "queued")).then_some(sends)
    };
    patiently(Duration::from_secs(30), || async { (stage.twilio.arrivals().len() >= 3).then_some(()) }).await;
    let sends = eventually(queued).await;
    let without = json!({ "account_sid": ACCOUNT, "auth_token": TOKEN, "sms_sender": SENDER });
    stage.api.secret("PUT", "/providers/twilio").json(without).send().await.ok();
    let body = json!({ "kind": "campaign_message", "send_id": sends[0]["id"] }).to_string();
    let event = json!({ "Records": [{ "messageId": "1", "body": body }] });
    // The message is reported as failed and retried, unless a worker takes it that still has the old sender.
    let reported = || async {
        let answer = stage.platform.invoke("MessageSenderFunction", event.clone()).await.unwrap();
        (answer["batchItemFailures"] == json!([{ "itemIdentifier": "1" }])).then_some(())
    };
    eventually(reported).await;
    eventually(queued).await;
    set_twilio(&stage.api).await;
    IS_WRONG.store(false, Ordering::Relaxed);
    stage.step(&campaign, "pause").await;
    stage.step(&campaign, "resume").await;
    assert_eq!(stage.settled(&campaign, 3).await["sent"], 3);
    assert_eq!(stage.check_once(), 3);
}

/// Mails of campaigns have a rate of their own, which leaves capacity for the mails that a user waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_by_mail_keeps_to_its_pace() {
    let Some(stage) = Stage::new(accept).await else { return };
    let enrol = |_| async {
        let body =
            json!({ "program_id": stage.program, "phone": phone(), "email": address("c"), "consent": true });
        assert_eq!(stage.api.post("/enrollments", body).await.status, 201);
    };
    join_all((0..25).map(enrol)).await;
    let template = json!({ "channel": "email", "subject": "We miss you", "text": "Hello" });
    let campaign = stage.campaign(json!({ "template": template })).await;
    stage.step(&campaign, "activate").await;
    assert_eq!(stage.settled(&campaign, 25).await["sent"], 25);
    let sends = stage.sends(&campaign).await;
    let mut times: Vec<Timestamp> =
        sends.values().map(|send| send["sent_at"].as_str().unwrap().parse().unwrap()).collect();
    times.sort();
    // The rate is 10 a second. The send time is recorded some milliseconds after the send.
    let densest = times.windows(11).map(|some| some[10].duration_since(some[0])).min().unwrap();
    assert!(densest > SignedDuration::from_millis(800), "{densest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_that_the_provider_did_not_sign_are_refused() {
    let Some(stage) = Stage::new(accept).await else { return };
    stage.customers(1).await;
    let campaign = stage.campaign(json!({})).await;
    stage.step(&campaign, "activate").await;
    stage.settled(&campaign, 1).await;
    let message = stage.twilio.taken().remove(0);
    let token = campaigns::twilio::AuthToken::new(TOKEN.to_owned()).unwrap();
    let other = campaigns::twilio::AuthToken::new("f".repeat(32)).unwrap();
    let url = message.form["StatusCallback"].clone();
    let form = vec![
        ("MessageSid".to_owned(), message.sid.clone().unwrap()),
        ("MessageStatus".to_owned(), "read".to_owned()),
    ];
    let http = reqwest::Client::new();
    let post = |url: &str, signature: String, form: &[(String, String)]| {
        let mut body = reqwest::Url::parse("http://x").unwrap();
        body.query_pairs_mut().extend_pairs(form);
        let request = http.post(url).header("content-type", "application/x-www-form-urlencoded");
        request.header("x-twilio-signature", signature).body(body.query().unwrap().to_owned()).send()
    };
    let signed = token.sign_form(&url, &form);
    let stranger = url.replace(
        stage.api.credentials.account_id.as_str(),
        domain::id::AccountId::new(Timestamp::now()).as_str(),
    );
    let mut tampered = form.clone();
    tampered[1].1 = "delivered".to_owned();
    let inbound = url.replace("/status", "/inbound");
    for (case, url, signature, form) in [
        ("no signature", &url, String::new(), &form),
        ("another account's", &url, other.sign_form(&url, &form), &form),
        ("tampered", &url, signed.clone(), &tampered),
        ("for another URL", &inbound, signed.clone(), &form),
        ("of nobody", &stranger, token.sign_form(&stranger, &form), &form),
    ] {
        let answer = post(url, signature, form).await.unwrap();
        assert_eq!(answer.status(), 403, "{case}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["type"].as_str().unwrap().ends_with("/signature-invalid"), "{case}: {problem}");
    }
    assert_eq!(post(&url, signed, &form).await.unwrap().status(), 204);
    let read = stage.sends(&campaign).await.into_values().next().unwrap();
    assert_eq!(read["status"], "read");
}

#[tokio::test]
async fn a_campaign_is_made_changed_and_refused_by_field() {
    let api = Api::shared();
    let program = api.program(json!({})).await;
    let id = campaign(&api, &program, json!({})).await;
    let path = format!("/campaigns/{id}");
    let change = |body: Value| api.secret("PATCH", &path).header("if-match", "*").json(body).send();
    assert_eq!(change(json!({ "name": "Renamed" })).await.ok()["name"], "Renamed");
    for (body, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "quiet_hours": { "from": "25:00", "until": "08:00" } }), "quiet_hours.from"),
        (json!({ "time_zone": "Mars" }), "time_zone"),
        (json!({ "program_id": "prog_x" }), "program_id"),
    ] {
        change(body).await.refuses(field);
    }
    for template in [
        json!({ "channel": "fax" }),
        json!({ "channel": "whatsapp", "content_sid": "HX1" }),
        json!({ "channel": "sms", "content_sid": null, "variables": null }),
        json!({ "channel": "sms", "content_sid": null, "text": "Hello {{shoe}}" }),
        json!({ "channel": "whatsapp", "content_sid": CONTENT, "variables": { "1": "{{code}}" } }),
    ] {
        let reply = change(json!({ "template": template })).await;
        assert_eq!(reply.status, 422, "{template}: {}", reply.text);
    }
    api.post(&format!("{path}/pause"), json!({})).await.is_problem(409, "campaign-not-active");
    api.post(&format!("{path}/resume"), json!({})).await.is_problem(409, "campaign-not-active");
    let Some(stranger) = Api::another_account().await else { return };
    let theirs = stranger.program(json!({})).await;
    let made = campaign(&stranger, &theirs, json!({})).await;
    stranger.post(&format!("/campaigns/{made}/activate"), json!({})).await.is_problem(409, "no-sender");
    let foreign = json!({ "name": "x", "program_id": program, "trigger": { "kind": "birthday" },
        "template": { "channel": "email", "subject": "x", "text": "y" } });
    stranger.post("/campaigns", foreign).await.is_problem(404, "not-found");
    assert_eq!(api.secret("DELETE", &path).send().await.status, 202);
    change(json!({ "name": "x" })).await.is_problem(409, "campaign-deleting");
}

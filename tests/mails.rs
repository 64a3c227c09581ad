//! Mails that a user waits for: each is sent at least once, even if workers or Amazon SES fail.

use std::time::Duration;

use campaigns::sends;
use futures_util::future::join_all;
use groundswell::{
    Platform,
    faults::{Broken, Faults, Ses, SesTrouble},
};
use jiff::{SignedDuration, Timestamp};
use messages::{
    entities::{MailTask, MessageRecord, MessageState},
    mails,
};
use scenarios::{Api, Dice, address, dynamodb, eventually, patiently, phone, platform, unique, until};
use serde_json::{Value, json};
use table::LIST_SHARDS;
use tempfile::TempDir;

use crate::process::Victim;

const SCHEDULER: &str = "CampaignSchedulerFunction";
/// Pause after which the platform tries SES again, as SES advises.
const STOPPED_FOR: SignedDuration = SignedDuration::from_mins(10);

/// Starts a platform for one scenario, whose SES can have faults. Its data live as long as the directory.
async fn own_platform() -> Option<(TempDir, Platform, Ses, Api)> {
    let data = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let ses = faults.ses.clone();
    let platform = platform(data.path(), false, faults).await?;
    let api = Api::new(platform.credentials.clone());
    Some((data, platform, ses, api))
}

/// Simulates the passing of time for due mails and for the pause of SES by moving their stored times back. The
/// platform's own workers and queues do the rest.
pub async fn pass(platform: &Platform, time: SignedDuration) {
    for sender in ["ses-account#all", "ses#groundswell@localhost"] {
        put_clock_back(platform, &format!("RATE#sender#{sender}"), time).await;
    }
    let now = Timestamp::now();
    for shard in 0..LIST_SHARDS {
        let due = mails::due(&platform.table, shard, now + SignedDuration::from_hours(48), 10_000);
        for mail in due.await.unwrap() {
            let due_at = mail.due_at.map(|due| due - time);
            // The write may lose against a worker that writes the mail at the same time, which has the same
            // effect.
            let earlier = MessageRecord { due_at, rev: mail.rev + 1, ..mail };
            mails::write(&platform.table, &earlier).await.unwrap();
        }
    }
}

/// Moves a sender's clock back. No code of the platform does this.
async fn put_clock_back(platform: &Platform, key: &str, time: SignedDuration) {
    let update = json!({
        "Key": { "PK": { "S": key }, "SK": { "S": "META" } },
        "UpdateExpression": "SET arrival = arrival - :time",
        "ConditionExpression": "attribute_exists(PK)",
        "ExpressionAttributeValues": { ":time": { "N": time.as_micros().to_string() } },
    });
    let (status, answer) = dynamodb(platform, "UpdateItem", update).await;
    assert!(status == 200 || answer.to_string().contains("ConditionalCheckFailed"), "{status} {answer}");
}

/// Simulates the passing of time for the messages of a campaign.
async fn pass_for(platform: &Platform, api: &Api, campaign: &str, time: SignedDuration) {
    for listed in api.all(&format!("/campaigns/{campaign}/sends")).await {
        let id = listed["id"].as_str().unwrap().parse().unwrap();
        let send = sends::read(&platform.table, &id).await.unwrap().unwrap().send;
        if let Some(due) = send.due_at {
            let earlier = campaigns::campaign::Send { due_at: Some(due - time), rev: send.rev + 1, ..send };
            sends::update(&platform.table, &earlier).await.unwrap();
        }
    }
}

/// Invokes the scheduler, which the platform does once a minute.
pub async fn look(platform: &Platform) {
    platform.invoke(SCHEDULER, json!({ "schedule": "campaigns" })).await.unwrap();
}

/// Waits until workers have acknowledged all queued messages.
async fn drained(platform: &Platform) {
    eventually(|| async {
        let empty = |queue| {
            let depth = platform.queue_depth(queue).unwrap();
            depth.visible + depth.in_flight + depth.delayed == 0
        };
        (empty("messages") && empty("campaign-messages")).then_some(())
    })
    .await;
}

async fn mails(api: &Api, to: &str) -> Vec<Value> {
    let found = api.call("GET", &format!("//outbox.json?to={to}")).send().await.json;
    found["data"].as_array().unwrap().clone()
}

/// Activates a campaign by mail. Returns the campaign's id and its customers' addresses.
async fn campaign_by_mail(api: &Api, customers: usize) -> (String, Vec<String>) {
    let program = api.program(json!({})).await;
    let emails: Vec<_> = (0..customers).map(|_| address("customer")).collect();
    for email in &emails {
        let body = json!({ "program_id": program, "phone": phone(), "email": email, "consent": true });
        assert_eq!(api.post("/enrollments", body).await.status, 201);
    }
    let campaign = json!({
        "name": format!("Campaign {}", unique()), "program_id": program, "trigger": { "kind": "segment" },
        "template": { "channel": "email", "subject": "We miss you", "text": "Hello" },
    });
    let campaign = api.post("/campaigns", campaign).await.id();
    api.post(&format!("/campaigns/{campaign}/activate"), json!({})).await.ok();
    (campaign, emails)
}

async fn double_opt_in(api: &Api) -> String {
    api.waitlist(json!({ "verification_policy": "double_opt_in" })).await
}

/// Adds a subscriber and waits for the mail. Returns the subscriber's address and id.
async fn mailed(api: &Api) -> (String, String) {
    let waitlist = double_opt_in(api).await;
    let email = address("ada");
    api.join(&waitlist, &email, None).await;
    api.mail(&email).await;
    let found = api.get(&format!("/subscribers?waitlist_id={waitlist}&email={email}")).await.ok();
    (email, found["data"][0]["id"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_outcome_is_unknown_is_sent_again() {
    let Some((_data, platform, ses, api)) = own_platform().await else { return };
    let waitlist = double_opt_in(&api).await;
    for (broken, taken) in [(Broken::BeforeTaking, 0), (Broken::AfterTaking, 1)] {
        ses.set(SesTrouble { broken: Some(broken), ..SesTrouble::default() });
        let (email, before) = (address("ada"), ses.asked());
        api.join(&waitlist, &email, None).await;
        for attempt in 1..=3 {
            eventually(|| async { (ses.asked() == before + attempt).then_some(()) }).await;
            drained(&platform).await;
            // The delay is one minute at first and doubles with each attempt.
            let rest = SignedDuration::from_secs(60 << (attempt - 1));
            let most_of_it = rest - SignedDuration::from_secs(50);
            pass(&platform, most_of_it).await;
            look(&platform).await;
            drained(&platform).await;
            assert_eq!(ses.asked(), before + attempt, "{broken:?}: it is not due yet");
            pass(&platform, rest - most_of_it).await;
            if attempt == 3 {
                ses.set(SesTrouble::default());
            }
            look(&platform).await;
        }
        let sent = 3 * taken + 1;
        eventually(|| async { (mails(&api, &email).await.len() == sent).then_some(()) }).await;
        drained(&platform).await;
        pass(&platform, SignedDuration::from_hours(24)).await;
        look(&platform).await;
        drained(&platform).await;
        assert_eq!(mails(&api, &email).await.len(), sent, "{broken:?}: once it was taken, it is done");
    }
    assert_eq!(platform.queue_depth("messages-dead-letters").unwrap().visible, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_a_worker_holds_is_left_to_it_and_sent_when_its_lease_lapses() {
    let Some((_data, platform, _, api)) = own_platform().await else { return };
    let (email, subscriber) = mailed(&api).await;
    let id = format!("{subscriber}:held");
    let task = MailTask::Subscriber { subscriber_id: subscriber.parse().unwrap() };
    let now = Timestamp::now();
    let held = MessageRecord::new(&id, task, now).taken(now);
    assert!(mails::write(&platform.table, &held).await.unwrap());
    let body = json!({ "kind": "subscriber_mail", "subscriber_id": subscriber, "message_id": id });
    let event = json!({ "Records": [{ "messageId": "1", "body": body.to_string() }] });
    let invoke = async || {
        let answer = platform.invoke("MessageSenderFunction", event.clone()).await.unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]), "it must not use up its receives");
        look(&platform).await;
        drained(&platform).await;
        mails(&api, &email).await.len()
    };
    assert_eq!(invoke().await, 1, "somebody has it");
    pass(&platform, SignedDuration::from_secs(60)).await;
    assert_eq!(invoke().await, 1, "somebody still has it");
    // Lambda ends a worker after 60 seconds, so after 120 seconds no worker has the mail.
    pass(&platform, SignedDuration::from_secs(60)).await;
    look(&platform).await;
    eventually(|| async { (mails(&api, &email).await.len() == 2).then_some(()) }).await;
    eventually(|| async {
        let record = mails::read(&platform.table, &id).await.unwrap().record.unwrap();
        (record.state == MessageState::Sent).then_some(())
    })
    .await;
    assert_eq!(invoke().await, 2, "a queue that brings it again sends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_loses_worker_after_worker_is_tried_more_and_more_seldom() {
    let Some((_data, platform, _, api)) = own_platform().await else { return };
    let (email, subscriber) = mailed(&api).await;
    let task = MailTask::Subscriber { subscriber_id: subscriber.parse().unwrap() };
    let now = Timestamp::now();
    let lost = MessageRecord { tries: 3, ..MessageRecord::new(&format!("{subscriber}:lost"), task, now) };
    assert!(mails::write(&platform.table, &lost.taken(now)).await.unwrap());
    // The lease of the fourth attempt lasts 8 minutes.
    for (minutes, mails_by_then) in [(3, 1), (4, 1), (2, 2)] {
        pass(&platform, SignedDuration::from_mins(minutes)).await;
        look(&platform).await;
        drained(&platform).await;
        eventually(|| async { (mails(&api, &email).await.len() == mails_by_then).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_ses_loses_no_mail_and_makes_no_dead_letter() {
    let Some((_data, platform, ses, api)) = own_platform().await else { return };
    let waitlist = double_opt_in(&api).await;
    let mut joined = Vec::new();
    let quota = SesTrouble { per_day: Some(0), ..SesTrouble::default() };
    let paused = SesTrouble { paused: true, ..SesTrouble::default() };
    ses.set(quota);
    let (campaign, customers) = campaign_by_mail(&api, 4).await;
    // Time must not pass while a worker sends, because the worker would be considered lost.
    eventually(|| async {
        let sends = api.all(&format!("/campaigns/{campaign}/sends")).await;
        let deferred = sends.iter().filter(|send| send["status"] == "deferred").count();
        (deferred == customers.len()).then_some(())
    })
    .await;
    let mut most_asked = 0;
    for step in 0..24 * 6 {
        if step == 12 * 6 {
            ses.set(paused);
        }
        if step % 18 == 0 {
            let email = address("ada");
            assert_eq!(api.join(&waitlist, &email, None).await.status, 202);
            joined.push(email);
        }
        let asked = ses.asked();
        pass(&platform, STOPPED_FOR).await;
        pass_for(&platform, &api, &campaign, STOPPED_FOR).await;
        look(&platform).await;
        drained(&platform).await;
        most_asked = most_asked.max(ses.asked() - asked);
        let nothing = api.call("GET", "//outbox.json").send().await.json;
        assert_eq!(nothing["data"], json!([]));
    }
    // Each worker finds out with its first mail that SES is stopped. The other mails are not attempted.
    println!("SES was asked {} times, {most_asked} in ten minutes at the most", ses.asked());
    assert!(most_asked <= 16, "{most_asked}");
    ses.set(SesTrouble::default());
    let everybody: Vec<_> = joined.iter().chain(&customers).collect();
    until(Duration::from_secs(60), || async {
        pass(&platform, STOPPED_FOR).await;
        pass_for(&platform, &api, &campaign, STOPPED_FOR).await;
        look(&platform).await;
        drained(&platform).await;
        let found = join_all(everybody.iter().map(|email| mails(&api, email))).await;
        let sends = api.all(&format!("/campaigns/{campaign}/sends")).await;
        let missing = found.iter().filter(|mails| mails.is_empty()).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} mails are missing: {sends:?}")) }
    })
    .await;
    for email in everybody {
        assert_eq!(mails(&api, email).await.len(), 1, "what was certainly not sent is sent once");
    }
    for queue in ["messages-dead-letters", "campaign-messages-dead-letters", "campaign-tasks-dead-letters"] {
        assert_eq!(platform.queue_depth(queue).unwrap().visible, 0, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_day_without_ses_the_queue_is_not_flooded() {
    let Some((_data, platform, ..)) = own_platform().await else { return };
    // The mails are for an erased subscriber, so that they are dropped.
    let subscriber: domain::id::SubscriberId = "sub_01m7yhxdqhbwa008tz019wpw3d".parse().unwrap();
    let now = Timestamp::now();
    let waiting = 1500;
    for some in (0..waiting).collect::<Vec<_>>().chunks(50) {
        let written = some.iter().map(async |number| {
            let task = MailTask::Subscriber { subscriber_id: subscriber.clone() };
            let mail = MessageRecord::new(&format!("{subscriber}:{number}"), task, now);
            mails::write(&platform.table, &mail.deferred(now, now)).await.unwrap()
        });
        assert!(join_all(written).await.into_iter().all(|written| written));
    }
    let due = || async {
        let soon = Timestamp::now() + SignedDuration::from_mins(1);
        let due = (0..LIST_SHARDS).map(|shard| mails::due(&platform.table, shard, soon, waiting));
        join_all(due).await.into_iter().map(|due| due.unwrap().len()).sum::<usize>()
    };
    let mut before = due().await;
    assert!(before >= waiting - 600, "a look of the platform's own takes 600: {before}");
    while before > 0 {
        look(&platform).await;
        let after = due().await;
        // Ten mails a second for the time between two runs of the scheduler. The platform's own schedule may have
        // run as well.
        assert!(after < before && before - after <= 1200, "{before} {after}");
        before = after;
    }
    drained(&platform).await;
    let soon = Timestamp::now() + SignedDuration::from_hours(1);
    for shard in 0..LIST_SHARDS {
        assert_eq!(mails::due(&platform.table, shard, soon, 1).await.unwrap().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_of_a_campaign_are_spread_over_the_time_that_they_take_while_ses_is_stopped() {
    let Some((_data, platform, ses, api)) = own_platform().await else { return };
    ses.set(SesTrouble { per_day: Some(0), ..SesTrouble::default() });
    let customers = 30;
    let (campaign, _) = campaign_by_mail(&api, customers).await;
    let deferred = || async {
        let sends = api.all(&format!("/campaigns/{campaign}/sends")).await;
        let due = sends.iter().filter(|send| send["status"] == "deferred");
        let mut due: Vec<Timestamp> =
            due.map(|send| send["due_at"].as_str().unwrap().parse().unwrap()).collect();
        due.sort();
        (due.len() == customers).then_some(due)
    };
    eventually(&deferred).await;
    drained(&platform).await;
    let asked = ses.asked();
    pass_for(&platform, &api, &campaign, STOPPED_FOR).await;
    look(&platform).await;
    drained(&platform).await;
    assert_eq!(ses.asked(), asked, "SES is stopped still");
    let due = eventually(&deferred).await;
    assert!(due[0] > Timestamp::now() + SignedDuration::from_mins(5), "{due:?}");
    // The rate is ten a second. The platform's own schedule may have taken half of the messages.
    let spread = due[customers - 1].duration_since(due[0]);
    assert!(spread >= SignedDuration::from_millis(1400), "{due:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_join_ends_with_its_mail_though_the_platform_is_killed_while_it_sends() {
    let data = tempfile::tempdir().unwrap();
    let slow = Duration::from_millis(200);
    let mut dice = Dice(18);
    let (mut waitlist, mut joined) = (String::new(), Vec::new());
    for round in 0..4 {
        let Some(victim) = Victim::start_with_slow_ses(data.path(), slow).await else { return };
        let api = Api::new(victim.credentials.clone());
        if round == 0 {
            waitlist = double_opt_in(&api).await;
        }
        let emails: Vec<_> = (0..25).map(|_| address("ada")).collect();
        let answers = join_all(emails.iter().map(|email| api.join(&waitlist, email, None))).await;
        assert!(answers.iter().all(|answer| answer.status == 202));
        joined.extend(emails);
        // The kill comes at a random moment while mails are being sent: at least one has been sent.
        let last = &joined[joined.len() - 25..];
        eventually(|| async {
            let sent = join_all(last.iter().map(|email| mails(&api, email))).await;
            sent.iter().any(|mails| !mails.is_empty()).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(dice.below(300) as u64)).await;
        victim.kill();
    }
    let platform = platform(data.path(), false, Faults::default()).await.unwrap();
    let api = Api::new(platform.credentials.clone());
    patiently(Duration::from_secs(120), || async {
        // The leases of killed workers expire.
        drained(&platform).await;
        pass(&platform, SignedDuration::from_mins(2)).await;
        look(&platform).await;
        let sent = join_all(joined.iter().map(|email| mails(&api, email))).await;
        sent.iter().all(|mails| !mails.is_empty()).then_some(())
    })
    .await;
    drained(&platform).await;
    let sent = join_all(joined.iter().map(|email| mails(&api, email))).await;
    let most = sent.iter().map(Vec::len).max();
    println!(
        "{} joins, {} mails, {most:?} at the most",
        joined.len(),
        sent.iter().map(Vec::len).sum::<usize>()
    );
    assert_eq!(platform.queue_depth("messages-dead-letters").unwrap().visible, 0);
}

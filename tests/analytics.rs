//! Analytics: exact counts, whatever the order of the stream's records and however often they are delivered.

use std::collections::BTreeMap;

use campaigns::campaign::{Campaign, Send, SendStatus};
use codes::{
    claim::{Claim, ClaimStatus, Code},
    code_pool::{Lot, Platform as Device},
    id::{ClaimId, CodeId, ImportId},
};
use domain::{
    consent::Consent,
    email::Email,
    id::{AccountId, CustomerId, SubscriberId},
    secret::SigningKey,
};
use features::{
    feature::{Comment, CommentStatus, Vote},
    id::CommentId,
};
use groundswell::{Platform, faults::Faults};
use jiff::{SignedDuration, Timestamp, ToSpan, Unit, ZonedRound, tz::TimeZone};
use scenarios::{Api, Dice, address, eventually, patiently, platform};
use serde_json::{Value, json};
use stamps::{
    id::StampId,
    stamp::{Card, Program, Stamp, StampCount, StampStatus},
};
use table::{Entity, Item};
use waitlists::{
    entities::Click,
    fraud::Origin,
    id::ClickId,
    referral_code::ReferralCode,
    subscriber::{Subscriber, SubscriberStatus},
};

async fn analytics(api: &Api, path: &str) -> Value {
    api.get(&format!("/analytics/{path}")).await.ok()
}

/// Waits until the totals have these values.
async fn totals(api: &Api, path: &str, expected: &[(&str, i64)]) -> Value {
    eventually(|| async {
        let found = analytics(api, path).await;
        let same = expected.iter().all(|(name, count)| found["totals"][*name] == *count);
        same.then_some(found)
    })
    .await
}

/// Starts a platform for one test. Returns the platform and a client of its account.
async fn stage(data: &std::path::Path) -> Option<(Platform, Api)> {
    let running = platform(data, false, Faults::default()).await?;
    let api = Api::new(running.credentials.clone());
    Some((running, api))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_from_a_click_to_a_redemption_is_one_query_across_families() {
    let data = tempfile::tempdir().unwrap();
    let Some((_running, api)) = stage(data.path()).await else { return };
    let empty = analytics(&api, "funnel").await;
    let names = ["click", "join", "verify", "refer", "redeem"];
    let funnel = |counts: [i64; 5], rates: [Option<f64>; 5]| -> Vec<Value> {
        let steps = names.iter().zip(counts).zip(rates);
        steps.map(|((step, count), rate)| json!({ "step": step, "count": count, "rate": rate })).collect()
    };
    assert_eq!(empty["funnel"], json!(funnel([0; 5], [None; 5])));
    assert_eq!((&empty["granularity"], &empty["time_zone"]), (&json!("day"), &json!("UTC")));
    assert_eq!(empty["series"].as_array().unwrap().len(), 30);

    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let open = api.waitlist(json!({})).await;
    let ada = api.join(&open, &address("ada"), None).await;
    let code = ada.text_at("referral_code");
    for _ in 0..4 {
        let click = json!({ "referral_code": code, "source": "poster" });
        assert_eq!(api.public("POST", "/referrals").json(click).send().await.status, 201);
    }
    for source in ["poster", "poster", "radio"] {
        let body = json!({
            "waitlist_id": open, "email": address("friend"), "consent": true, "referral_code": code, "source": source,
        });
        assert_eq!(api.public("POST", "/subscribers").json(body).send().await.status, 201);
    }
    // Two subscribers with double opt-in, of whom one confirms.
    let (bo, cy) = (address("bo"), address("cy"));
    for email in [&bo, &cy] {
        assert_eq!(api.join(&waitlist, email, None).await.status, 202);
    }
    api.verify(&bo).await.ok();
    let pool = api.pool(json!({})).await;
    api.import(&pool, "code\nONE-1111\nTWO-2222\nTHREE-3333\n").await;
    for user in ["u1", "u2"] {
        api.claim(&pool, user).await.ok();
    }
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let claimed = codes.iter().find(|code| code["status"] == "claimed").unwrap();
    api.post(&format!("/codes/{}/redeem", claimed["id"].as_str().unwrap()), json!({})).await.ok();
    let program = api.program(json!({ "stamps_required": 2 })).await;
    let customer = api.customer(&program).await;
    let stamp = json!({ "program_id": program, "customer_id": customer, "count": 2 });
    let given = api.post("/stamps", stamp).await;
    let reward = given.json["rewards"][0]["id"].as_str().unwrap().to_owned();
    api.post(&format!("/rewards/{reward}/redeem"), json!({})).await.ok();

    // Six subscribers joined. Five of them are in line: Ada, her three friends and Bo.
    let expected = [("click", 4), ("join", 6), ("verify", 5), ("refer", 3)];
    let expected = [&expected[..], &[("codes_redeemed", 1), ("rewards_redeemed", 1)]].concat();
    let found = totals(&api, "funnel", &expected).await;
    let rates = [None, Some(1.5), Some(0.8333), Some(0.6), Some(0.6667)];
    assert_eq!(found["funnel"], json!(funnel([4, 6, 5, 3, 2], rates)));
    let today = found["series"].as_array().unwrap().last().unwrap();
    assert_eq!(today["join"], 6, "in the last of the days");

    let list = totals(&api, &format!("waitlists/{open}"), &[("joined", 4), ("credited", 3)]).await;
    assert_eq!((&list["totals"]["referred"], &list["referral_share"]), (&json!(3), &json!(0.75)));
    assert_eq!(list["viral_coefficient"], 0.75);
    assert_eq!(list["now"]["active"], 4);
    let sources = json!([{ "source": "poster", "joined": 2 }, { "source": "radio", "joined": 1 }]);
    assert_eq!(list["sources"], sources);
    let referrals = totals(&api, &format!("referrals/{open}"), &[("clicked", 4), ("credited", 3)]).await;
    assert_eq!((&referrals["conversion"], &referrals["now"]), (&json!(0.75), &json!({ "credited": 3 })));
    let confirmed = totals(&api, &format!("waitlists/{waitlist}"), &[("joined", 2), ("verified", 1)]).await;
    assert_eq!(confirmed["totals"]["entered"], 1);
    let codes = totals(&api, &format!("code-pools/{pool}"), &[("claimed", 2), ("redeemed", 1)]).await;
    assert_eq!((&codes["totals"]["imports_completed"], &codes["redemption_rate"]), (&json!(1), &json!(0.5)));
    assert_eq!(codes["now"], json!({ "imported": 3, "claimed": 2, "redeemed": 1, "remaining": 1 }));
    let cards =
        [("enrolled", 1), ("visits", 1), ("stamps", 2), ("rewards_issued", 1), ("rewards_redeemed", 1)];
    let cards = totals(&api, &format!("programs/{program}"), &cards).await;
    assert_eq!(cards["now"], json!({ "customers": 1, "active": 1, "at_risk": 0 }));
    let (months, cohorts) = (cards["months"].as_array().unwrap(), cards["cohorts"].as_array().unwrap());
    assert_eq!((months.len(), &months[11]["active"], &months[11]["new"]), (12, &json!(1), &json!(1)));
    assert_eq!(cohorts[11]["came"], json!([1]));
}

#[tokio::test]
async fn a_range_is_checked_and_questions_are_limited() {
    let Some(api) = Api::another_account().await else { return };
    for (query, field) in [
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("from=2026-11-22&to=2026-11-01", "from"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("from=2026-01-01&to=2026-03-01&granularity=hour", "from"),
        ("time_zone=Mars/Olympus", "time_zone"),
        ("time_zone=%2B02:00", "time_zone"),
        ("to=9999-12-31", "to"),
        ("to=-009999-01-02T01:59:59Z", "to"),
        ("from=-000100-12-20T00:00:00Z&to=-000099-01-10T00:00:00Z", "to"),
    ] {
        let refused = api.get(&format!("/analytics/funnel?{query}")).await;
        refused.refuses(field);
    }
    for query in ["granularity=week", "timezone=UTC"] {
        assert_eq!(api.get(&format!("/analytics/funnel?{query}")).await.status, 422, "{query}");
    }
    let hours = api.get("/analytics/funnel?granularity=hour&time_zone=asia/kathmandu").await.ok();
    assert_eq!(hours["time_zone"], "Asia/Kathmandu");
    assert!(hours["series"][0]["start"].as_str().unwrap().ends_with(":00:00+05:45"), "{hours}");
    api.public("GET", "/analytics/funnel").send().await.is_problem(403, "secret-key-required");
    let limits = json!({ "limits": { "analytics_per_minute": 1 } });
    api.secret("PATCH", "/account").header("if-match", "*").json(limits).send().await.ok();
    let refused = eventually(|| async {
        let reply = api.get("/analytics/funnel").await;
        (reply.status == 429).then_some(reply)
    })
    .await;
    refused.is_problem(429, "rate-limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_missed_is_judged_by_the_settings_of_today_and_who_is_erased_by_none() {
    let data = tempfile::tempdir().unwrap();
    let Some((_running, api)) = stage(data.path()).await else { return };
    let program = api.program(json!({ "inactivity_days": 60 })).await;
    let mut customers = Vec::new();
    let days_ago = |days: i64| (Timestamp::now() - SignedDuration::from_hours(24 * days)).to_string();
    for (till, days) in [("a", 20), ("b", 25), ("c", 3)] {
        let customer = api.customer(&program).await;
        let stamp = json!({
            "till_id": till, "program_id": program, "customer_id": customer, "taken_at": days_ago(days),
        });
        api.post("/stamps/sync", json!({ "stamps": [stamp] })).await.ok();
        customers.push(customer);
    }
    let path = format!("programs/{program}");
    let now = |active: u64, at_risk: u64| {
        let (api, path) = (api.clone(), path.clone());
        async move {
            let expected = json!({ "customers": 3, "active": active, "at_risk": at_risk });
            let found = patiently(std::time::Duration::from_secs(60), || async {
                let found = analytics(&api, &path).await["now"].clone();
                (found == expected).then_some(found)
            });
            found.await
        }
    };
    now(3, 0).await;
    let change = api.secret("PATCH", &format!("/programs/{program}")).header("if-match", "*");
    change.json(json!({ "inactivity_days": 14 })).send().await.ok();
    now(3, 2).await;
    let card = api.get(&format!("/customers/{}/card?program_id={program}", customers[0])).await.ok();
    assert_eq!(card["at_risk"], true, "{card}");
    // A voided visit does not count.
    let stamps = api.all(&format!("/customers/{}/stamps", customers[2])).await;
    let id = stamps[0]["id"].as_str().unwrap();
    api.secret("DELETE", &format!("/stamps/{id}")).send().await.ok();
    now(2, 2).await;
    api.secret("DELETE", &format!("/customers/{}", customers[0])).header("if-match", "*").send().await;
    now(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_costs_the_same_few_reads_whatever_happened() {
    let data = tempfile::tempdir().unwrap();
    let Some((running, api)) = stage(data.path()).await else { return };
    let waitlist = api.waitlist(json!({})).await;
    let path = format!("waitlists/{waitlist}");
    let mut costs = Vec::new();
    for joins in [1, 60] {
        for _ in 0..joins {
            api.join(&waitlist, &address("somebody"), None).await;
        }
        let so_far = if joins == 1 { 1 } else { 61 };
        totals(&api, &path, &[("joined", so_far)]).await;
        let calls = eventually(|| async {
            let before = running.meter.snapshot();
            analytics(&api, &path).await;
            let after = running.meter.snapshot();
            let spent =
                after.into_iter().map(|(name, calls)| (name, calls - before.get(name).copied().unwrap_or(0)));
            let spent: BTreeMap<_, _> = spent.filter(|(_, calls)| *calls > 0).collect();
            // No background work of the joins is left.
            let follows = ["projection.standings", "webhook.endpoints"];
            (!follows.iter().any(|pattern| spent.contains_key(*pattern))).then_some(spent)
        });
        costs.push(calls.await);
    }
    assert_eq!(costs[0], costs[1]);
    assert_eq!((costs[0]["rollup.read"], costs[0].values().sum::<u64>() <= 8), (1, true), "{:?}", costs[0]);
}

/// Fact with the amount that it adds to a counter.
struct Fact {
    topic: String,
    name: &'static str,
    at: Timestamp,
    by: i64,
}

/// Raw items, written in the course of three days, and the facts that a recount expects.
struct Traffic {
    account: AccountId,
    dice: Dice,
    from: Timestamp,
    /// Images of each item, in order.
    items: Vec<Vec<(Option<Item>, Option<Item>)>>,
    facts: Vec<Fact>,
}

impl Traffic {
    fn new(account: AccountId, from: Timestamp, seed: u64) -> Self {
        Self { account, dice: Dice(seed), from, items: Vec::new(), facts: Vec::new() }
    }

    fn seconds(&mut self, bound: usize) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.dice.below(bound)).unwrap())
    }

    /// Returns a random time within three days.
    fn at(&mut self) -> Timestamp {
        let seconds = self.seconds(3 * 86_400);
        self.from + seconds
    }

    fn later(&mut self, at: Timestamp) -> Timestamp {
        let seconds = self.seconds(7_200);
        at + seconds + SignedDuration::from_secs(1)
    }

    fn note(&mut self, topic: &str, name: &'static str, at: Timestamp, by: i64) {
        self.facts.push(Fact { topic: topic.to_owned(), name, at, by });
    }

    /// Records the images of one item, one after another. The last one is `None` if the item was deleted.
    fn wrote(&mut self, images: Vec<Option<Item>>) {
        let before = std::iter::once(None).chain(images.iter().cloned());
        self.items.push(before.zip(images.clone()).collect());
    }

    fn subscriber(&mut self, waitlist: &str, referrer: Option<&SubscriberId>) -> SubscriberId {
        const SOURCES: [&str; 3] = ["poster", "radio", "größe"];
        let joined_at = self.at();
        let id = SubscriberId::new(joined_at);
        let pending = self.dice.below(3) == 0;
        let source = SOURCES[self.dice.below(3)];
        let mut subscriber = Subscriber {
            id: id.clone(),
            account_id: self.account.clone(),
            waitlist_id: waitlist.parse().unwrap(),
            email: Email::try_from(address("raw")).unwrap(),
            name: None,
            metadata: serde_json::from_value(json!({})).unwrap(),
            consent: Consent { granted: true, text: None, at: joined_at },
            source: Some(source.to_owned().try_into().unwrap()),
            status: if pending { SubscriberStatus::Pending } else { SubscriberStatus::Active },
            referral_code: ReferralCode::try_from("BCDFGHJK".to_owned()).unwrap(),
            referred_by: referrer.cloned(),
            number: (!pending).then_some(self.items.len() as u64 + 1),
            seated: false,
            referrals: 0,
            places: 0,
            votes: 0,
            comments: 0,
            disposable: false,
            origin: Origin { network: None, device: None },
            joined_at,
            verified_at: None,
            invited_at: None,
            converted_at: None,
            unsubscribed_at: None,
            return_request: None,
            return_requested_at: None,
            active_at: joined_at,
            mail_requests: 0,
            mail_requested_at: None,
            rev: 1,
        };
        let mut images = vec![Some(subscriber.to_item())];
        self.note(waitlist, "joined", joined_at, 1);
        self.note(waitlist, source, joined_at, 1);
        if referrer.is_some() {
            self.note(waitlist, "referred", joined_at, 1);
        }
        let mut at = joined_at;
        if pending && self.dice.below(2) == 0 {
            at = self.later(at);
            subscriber.status = SubscriberStatus::Active;
            subscriber.number = Some(1_000 + self.items.len() as u64);
            subscriber.verified_at = Some(at);
            subscriber.rev += 1;
            images.push(Some(subscriber.to_item()));
            self.note(waitlist, "verified", at, 1);
            self.note(waitlist, "entered", at, 1);
        } else if !pending {
            self.note(waitlist, "entered", joined_at, 1);
        }
        if subscriber.status == SubscriberStatus::Active {
            for (name, status) in
                [("invited", SubscriberStatus::Invited), ("converted", SubscriberStatus::Converted)]
            {
                if self.dice.below(3) > 0 {
                    break;
                }
                at = self.later(at);
                subscriber.status = status;
                match status {
                    SubscriberStatus::Invited => subscriber.invited_at = Some(at),
                    _ => subscriber.converted_at = Some(at),
                }
                subscriber.rev += 1;
                images.push(Some(subscriber.to_item()));
                self.note(waitlist, name, at, 1);
            }
        }
        if self.dice.below(4) == 0 {
            at = self.later(at);
            subscriber.unsubscribed_at = Some(at);
            subscriber.rev += 1;
            images.push(Some(subscriber.to_item()));
            self.note(waitlist, "unsubscribed", at, 1);
            if self.dice.below(2) == 0 {
                at = self.later(at);
                subscriber = subscriber.returned(at);
                subscriber.rev += 1;
                images.push(Some(subscriber.to_item()));
                self.note(waitlist, "resubscribed", at, 1);
            }
        }
        if self.dice.below(6) == 0 {
            images.push(None);
            self.note(waitlist, "erased", Timestamp::from_second(WRITTEN_AT).unwrap(), 1);
        }
        self.wrote(images);
        id
    }

    fn click(&mut self, waitlist: &str, referrer: &SubscriberId) {
        let at = self.at();
        let (waitlist_id, referrer_id) = (waitlist.parse().unwrap(), referrer.clone());
        let click = Click { id: ClickId::new(at), waitlist_id, referrer_id, source: None, at };
        self.wrote(vec![Some(click.to_item())]);
        self.note(waitlist, "clicked", at, 1);
    }

    fn voice(&mut self, waitlist: &str, feature: &str, subscriber: &SubscriberId) {
        let mut at = self.at();
        let mut images = Vec::new();
        for rev in 1..=1 + self.dice.below(4) as u64 {
            let stands = rev % 2 == 1;
            let vote = Vote {
                feature_id: feature.parse().unwrap(),
                subscriber_id: subscriber.clone(),
                waitlist_id: waitlist.parse().unwrap(),
                stands,
                at,
                rev,
            };
            images.push(Some(vote.to_item()));
            self.note(feature, if stands { "voted" } else { "unvoted" }, at, 1);
            at = self.later(at);
        }
        self.wrote(images);
        let mut comment = Comment {
            id: CommentId::new(at),
            account_id: self.account.clone(),
            waitlist_id: waitlist.parse().unwrap(),
            feature_id: feature.parse().unwrap(),
            subscriber_id: subscriber.clone(),
            author: "Ada L.".to_owned(),
            text: "x".to_owned().try_into().unwrap(),
            status: CommentStatus::Pending,
            created_at: at,
            moderated_at: None,
            moderated_by: None,
            rev: 1,
        };
        let mut images = vec![Some(comment.to_item())];
        self.note(feature, "commented", at, 1);
        for (status, name) in [(CommentStatus::Approved, "approved"), (CommentStatus::Rejected, "rejected")] {
            if self.dice.below(2) == 0 {
                at = self.later(at);
                comment = Comment { status, moderated_at: Some(at), rev: comment.rev + 1, ..comment };
                images.push(Some(comment.to_item()));
                self.note(feature, name, at, 1);
            }
        }
        self.wrote(images);
    }

    fn code(&mut self, key: &SigningKey, pool: &str, number: usize) {
        let pool_id = pool.parse().unwrap();
        let lot = Lot::new(Device::Universal, None);
        let (claimed_at, text) = (self.at(), format!("CODE-{number:04}"));
        let mut code = Code {
            id: CodeId::of(key, &pool_id, &text),
            account_id: self.account.clone(),
            pool_id: pool_id.clone(),
            code: Some(text.clone().try_into().unwrap()),
            masked: "COD•••".to_owned(),
            platform: Device::Universal,
            valid_until: None,
            lot,
            metadata: serde_json::from_value(json!({})).unwrap(),
            import_id: ImportId::new(claimed_at),
            line: 1,
            redeemed_at: None,
            archived: None,
            rev: 1,
        };
        let mut claim = Claim {
            id: ClaimId::of(key, &pool_id, &text),
            account_id: self.account.clone(),
            pool_id,
            user: "pseudonym".to_owned(),
            device: None,
            status: ClaimStatus::Reserved,
            by_server: false,
            code_id: code.id.clone(),
            code: code.code.clone(),
            masked: code.masked.clone(),
            platform: Device::Universal,
            valid_until: None,
            lot,
            stock_rev: None,
            reserved_until: Some(claimed_at + SignedDuration::from_hours(1)),
            claimed_at: None,
            archived: None,
            rev: 1,
        };
        let mut images = Vec::new();
        if self.dice.below(2) == 0 {
            images.push(Some(claim.to_item()));
        }
        claim = Claim { status: ClaimStatus::Claimed, claimed_at: Some(claimed_at), rev: 2, ..claim };
        images.push(Some(claim.to_item()));
        self.wrote(images);
        self.note(pool, "claimed", claimed_at, 1);
        let mut images = vec![Some(code.to_item())];
        if self.dice.below(2) == 0 {
            let at = self.later(claimed_at);
            code = Code { redeemed_at: Some(at), rev: 2, ..code };
            images.push(Some(code.to_item()));
            self.note(pool, "redeemed", at, 1);
        }
        self.wrote(images);
    }

    /// Adds a customer with some visits, of which some are voided. Some customers are erased.
    fn customer(&mut self, program: &Program) -> (Card, Vec<Stamp>, bool) {
        let topic = program.id.as_str().to_owned();
        let enrolled_at = self.at() - SignedDuration::from_hours(24 * 90);
        let mut card = Card::new(program, CustomerId::new(enrolled_at), enrolled_at);
        let mut images = vec![Some(card.to_item())];
        self.note(&topic, "enrolled", enrolled_at, 1);
        let mut stamps: Vec<Stamp> = Vec::new();
        for _ in 0..self.dice.below(7) {
            // Some visits were taken offline, up to 60 days before they were recorded.
            let recorded_at = self.at();
            let late = SignedDuration::from_hours(24 * i64::try_from(self.dice.below(60)).unwrap());
            let (taken_at, count) = (recorded_at - late, 1 + self.dice.below(3) as u64);
            let count = StampCount::try_from(count).unwrap();
            card = Card { updated_at: recorded_at, ..card.stamped(count, taken_at, &program.settings).0 };
            images.push(Some(card.to_item()));
            stamps.push(Stamp {
                id: StampId::new(&card.customer_id, taken_at),
                account_id: self.account.clone(),
                program_id: program.id.clone(),
                customer_id: card.customer_id.clone(),
                count: count.get(),
                status: StampStatus::Valid,
                taken_at,
                recorded_at,
                given_by: "key".to_owned(),
                voided_at: None,
                rev: 1,
            });
            self.note(&topic, "visits", recorded_at, 1);
            self.note(&topic, "stamps", recorded_at, i64::from(count.get()));
        }
        for position in 0..stamps.len() {
            let stamp = stamps[position].clone();
            let mut written = vec![Some(stamp.to_item())];
            if self.dice.below(4) == 0 {
                let at = self.later(stamp.recorded_at);
                let valid = |other: &&Stamp| other.status == StampStatus::Valid && other.id != stamp.id;
                let left: Vec<_> = stamps.iter().filter(valid).map(|other| other.taken_at).collect();
                card = Card { updated_at: at, ..card.voided(&stamp, &left, &[10; 10], &program.settings).0 };
                images.push(Some(card.to_item()));
                let voided =
                    Stamp { status: StampStatus::Voided, voided_at: Some(at), rev: 2, ..stamp.clone() };
                written.push(Some(voided.to_item()));
                self.note(&topic, "voided", at, 1);
                self.note(&topic, "stamps", at, -i64::from(stamp.count));
                stamps[position] = voided;
            }
            self.wrote(written);
        }
        let erased = self.dice.below(5) == 0;
        if erased {
            images.push(None);
        }
        self.wrote(images);
        (card, stamps, erased)
    }

    fn message(&mut self, campaign: &Campaign, card: &Card) {
        let mut at = self.at();
        let topic = campaign.id.as_str().to_owned();
        let mut send = Send { updated_at: at, ..Send::new(campaign, card, "once", at) };
        let mut images = vec![Some(send.to_item())];
        self.note(&topic, "queued", at, 1);
        let steps = match self.dice.below(4) {
            0 => vec![(SendStatus::Refused, vec!["refused"])],
            1 => vec![(SendStatus::Sending, vec![]), (SendStatus::Failed, vec!["sent", "failed"])],
            // The callback that the message was read arrives before the one that it was delivered.
            2 => vec![(SendStatus::Sent, vec!["sent"]), (SendStatus::Read, vec!["delivered", "read"])],
            _ => vec![(SendStatus::Sent, vec!["sent"]), (SendStatus::Delivered, vec!["delivered"])],
        };
        for (status, counts) in steps {
            at = self.later(at);
            send = Send { status, updated_at: at, rev: send.rev + 1, ..send };
            images.push(Some(send.to_item()));
            for name in counts {
                self.note(&topic, name, at, 1);
            }
        }
        self.wrote(images);
    }

    /// Returns the records of all items in one stream. The records of each item are in order; the items are
    /// interleaved.
    fn records(&mut self) -> Vec<Value> {
        let mut queues: Vec<_> = self.items.iter().map(|images| images.iter()).collect();
        let mut records = Vec::new();
        while !queues.is_empty() {
            let chosen = self.dice.below(queues.len());
            match queues[chosen].next() {
                Some((before, after)) => records.push(record(records.len(), before.as_ref(), after.as_ref())),
                None => drop(queues.swap_remove(chosen)),
            }
        }
        records
    }
}

/// Write time of all records in the stream: within the three days.
const WRITTEN_AT: i64 = 1_774_828_800;

fn record(number: usize, before: Option<&Item>, after: Option<&Item>) -> Value {
    let name = match (before, after) {
        (None, _) => "INSERT",
        (_, Some(_)) => "MODIFY",
        (_, None) => "REMOVE",
    };
    let image = |item: Option<&Item>| {
        item.map(|item| serde_json::to_value(serde_dynamo::Item::from(item.clone())).unwrap())
    };
    let mut change = json!({
        "ApproximateCreationDateTime": WRITTEN_AT,
        "SequenceNumber": format!("{:021}", number + 1),
        "SizeBytes": 1, "StreamViewType": "NEW_AND_OLD_IMAGES",
    });
    let keys = [("OldImage", image(before)), ("NewImage", image(after))];
    for (key, image) in keys {
        if let Some(image) = image {
            change["Keys"] = json!({ "PK": image["PK"], "SK": image["SK"] });
            change[key] = image;
        }
    }
    json!({
        "eventID": number.to_string(), "eventName": name, "eventSource": "aws:dynamodb", "eventVersion": "1.1",
        "awsRegion": "eu-central-1", "dynamodb": change,
    })
}

/// Returns the step that contains an instant, as a clock of the zone shows its start.
fn step(at: Timestamp, granularity: &str, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    let start = match granularity {
        "hour" => at.round(ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc)).unwrap(),
        _ => at.start_of_day().unwrap(),
    };
    start.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// Compares every number of a topic with a recount of the facts, in several time zones.
async fn check(api: &Api, path: &str, topic: &str, facts: &[Fact], from: Timestamp) {
    let to = from + SignedDuration::from_hours(24 * 4);
    for zone in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"] {
        for granularity in ["hour", "day"] {
            let zone_rules = jiff::tz::db().get(zone).unwrap();
            let query = format!("from={from}&to={to}&granularity={granularity}&time_zone={zone}");
            let found = analytics(api, &format!("{path}/{topic}?{query}")).await;
            let (start, end) = (&found["from"], &found["to"]);
            let bound = |bound: &Value| bound.as_str().unwrap().parse::<Timestamp>().unwrap();
            let range = bound(start)..bound(end);
            let mut expected: BTreeMap<(String, &str), i64> = BTreeMap::new();
            let mut sources: BTreeMap<&str, i64> = BTreeMap::new();
            for fact in facts.iter().filter(|fact| fact.topic == topic && range.contains(&fact.at)) {
                if ["poster", "radio", "größe"].contains(&fact.name) {
                    *sources.entry(fact.name).or_default() += fact.by;
                } else {
                    *expected.entry((step(fact.at, granularity, &zone_rules), fact.name)).or_default() +=
                        fact.by;
                }
            }
            expected.retain(|_, count| *count != 0);
            let mut counted = BTreeMap::new();
            let mut totals: BTreeMap<&str, i64> = BTreeMap::new();
            for shown in found["series"].as_array().unwrap() {
                for (name, count) in shown.as_object().unwrap() {
                    let Some(count) = count.as_i64().filter(|count| *count != 0) else { continue };
                    let start = shown["start"].as_str().unwrap().to_owned();
                    counted.insert((start, name.as_str()), count);
                    *totals.entry(name).or_default() += count;
                }
            }
            assert_eq!(counted, expected, "{path} by the {granularity} in {zone}");
            for (name, count) in found["totals"].as_object().unwrap() {
                assert_eq!(
                    count.as_i64().unwrap(),
                    totals.get(name.as_str()).copied().unwrap_or(0),
                    "{name}"
                );
            }
            if path == "waitlists" {
                let shown = found["sources"].as_array().unwrap().iter();
                let shown: BTreeMap<_, _> = shown
                    .map(|source| (source["source"].as_str().unwrap(), source["joined"].as_i64().unwrap()))
                    .collect();
                assert_eq!(shown, sources);
            }
        }
    }
}

/// Returns a program's visitors by a recount of cards and stamps.
fn visitors(customers: &[(Card, Vec<Stamp>, bool)], now: Timestamp) -> Value {
    let utc = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let month_of = |at: Timestamp| i32::from(utc(at).year()) * 12 + i32::from(utc(at).month());
    let this = month_of(now);
    let since = utc(now).checked_sub(29.days()).unwrap();
    let (mut active, mut at_risk) = (0, 0);
    let mut came: BTreeMap<(i32, i32), u64> = BTreeMap::new();
    for (card, stamps, erased) in customers {
        let valid: Vec<_> = stamps.iter().filter(|stamp| stamp.status == StampStatus::Valid).collect();
        let mut months: Vec<_> = valid.iter().map(|stamp| month_of(stamp.taken_at)).collect();
        months.sort_unstable();
        months.dedup();
        for month in &months {
            *came.entry((months[0], *month)).or_default() += 1;
        }
        let last = valid.iter().map(|stamp| stamp.taken_at).max();
        active += u64::from(!erased && last.is_some_and(|last| utc(last) >= since));
        at_risk += u64::from(!erased && card.at_risk_from <= now);
    }
    let name = |month: i32| format!("{:04}-{:02}", (month - 1) / 12, (month - 1) % 12 + 1);
    let count = |cohort, month| came.get(&(cohort, month)).copied().unwrap_or(0);
    let months = (this - 11..=this).map(|month| {
        let active: u64 = came.iter().filter(|((_, other), _)| *other == month).map(|(_, count)| count).sum();
        let new = count(month, month);
        json!({ "month": name(month), "active": active, "new": new, "returning": active - new })
    });
    let cohorts = (this - 11..=this).map(|cohort| {
        let came: Vec<_> = (cohort..=this).map(|month| count(cohort, month)).collect();
        json!({ "month": name(cohort), "came": came })
    });
    json!({
        "now": { "customers": customers.len(), "active": active, "at_risk": at_risk },
        "months": months.collect::<Vec<_>>(),
        "cohorts": cohorts.collect::<Vec<_>>(),
    })
}

/// Compares the account's funnel with a recount of the facts of all topics.
async fn check_funnel(api: &Api, facts: &[Fact], from: Timestamp) {
    let to = from + SignedDuration::from_hours(24 * 4);
    let found = analytics(api, &format!("funnel?from={from}&to={to}&time_zone=Europe/Berlin")).await;
    let range = found["from"].as_str().unwrap().parse::<Timestamp>().unwrap()..to;
    let count = |name: &str| -> i64 {
        let wanted = facts.iter().filter(|fact| fact.name == name && range.contains(&fact.at));
        wanted.map(|fact| fact.by).sum()
    };
    let names =
        [("click", "clicked"), ("join", "joined"), ("verify", "entered"), ("codes_redeemed", "redeemed")];
    for (shown, name) in names {
        assert_eq!(found["totals"][shown], count(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_what_a_recount_gives_however_the_stream_is_cut_and_repeated() {
    let data = tempfile::tempdir().unwrap();
    let Some((running, api)) = stage(data.path()).await else { return };
    let account = api.credentials.account_id.clone();
    let waitlist = api.waitlist(json!({})).await;
    let feature = api.post("/features", json!({ "waitlist_id": waitlist, "title": "Dark mode" })).await.id();
    let pool = api.pool(json!({})).await;
    let program = api.program(json!({ "stamps_required": 100, "inactivity_days": 20 })).await;
    let template = json!({ "channel": "email", "subject": "Hello", "text": "Hello" });
    let body = json!({
        "name": "Back", "program_id": program, "trigger": { "kind": "segment" }, "template": template,
    });
    let campaign = api.post("/campaigns", body).await;
    assert_eq!(campaign.status, 201, "{}", campaign.text);
    let campaign = campaign.id();
    let program_id = program.parse().unwrap();
    let rules = stamps::programs::find(&running.table, &program_id).await.unwrap().unwrap();
    let messages = campaigns::find(&running.table, &campaign.parse().unwrap()).await.unwrap().unwrap();
    let key = accounts::signing_key(&running.table, &account).await.unwrap();

    // Three days. Europe's clocks change in one of the nights.
    let from: Timestamp = "2026-03-28T00:00:00Z".parse().unwrap();
    let mut traffic = Traffic::new(account, from, 7);
    let mut people = vec![traffic.subscriber(&waitlist, None)];
    for _ in 0..120 {
        let referrer = people[traffic.dice.below(people.len())].clone();
        let referrer = (traffic.dice.below(2) == 0).then_some(&referrer);
        people.push(traffic.subscriber(&waitlist, referrer));
    }
    for (number, person) in people.iter().enumerate().take(60) {
        traffic.click(&waitlist, person);
        traffic.voice(&waitlist, &feature, person);
        traffic.code(&key, &pool, number);
    }
    let mut customers = Vec::new();
    for _ in 0..60 {
        let customer = traffic.customer(&rules);
        traffic.message(&messages, &customer.0);
        customers.push(customer);
    }
    let records = traffic.records();
    let project = async |batch: &[Value]| {
        let answer = running.invoke("ProjectorFunction", json!({ "Records": batch })).await.unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]));
    };
    // Two workers, as for two shards: all records of one item go to one worker. Batches have all sizes. After
    // some batches, a worker repeats some or many earlier records.
    let shard_of = |record: &Value| {
        let key = record["dynamodb"]["Keys"].to_string();
        key.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % 2
    };
    let worker = async |shard: u8| {
        let records: Vec<_> = records.iter().filter(|record| shard_of(record) == shard).cloned().collect();
        let (mut next, mut dice) = (0, Dice(u64::from(shard)));
        while next < records.len() {
            let end = (next + 1 + dice.below(60)).min(records.len());
            project(&records[next..end]).await;
            next = match dice.below(6) {
                0 => end - dice.below(end - next),
                1 if dice.below(4) == 0 => end.saturating_sub(300),
                _ => end,
            };
        }
    };
    futures_util::future::join(worker(0), worker(1)).await;
    let recount = async || {
        for (path, topic) in [
            ("waitlists", &waitlist),
            ("features", &feature),
            ("code-pools", &pool),
            ("programs", &program),
            ("campaigns", &campaign),
        ] {
            check(&api, path, topic, &traffic.facts, from).await;
        }
        check_funnel(&api, &traffic.facts, from).await;
        let found = analytics(&api, &format!("programs/{program}")).await;
        let expected = visitors(&customers, Timestamp::now());
        for part in ["now", "months", "cohorts"] {
            assert_eq!(found[part], expected[part]);
        }
    };
    recount().await;
    // All records once more, by two workers at the same time and in batches of other sizes.
    let again = async |size: usize| {
        for batch in records.chunks(size) {
            project(batch).await;
        }
    };
    futures_util::future::join(again(17), again(41)).await;
    recount().await;
}

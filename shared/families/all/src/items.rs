//! Snapshots of every type of stored item. A change of a snapshot changes what is stored in production tables.

use std::collections::BTreeMap;

use accounts::{
    api_key::KeyKind,
    entities::{Account, AccountSigning, ApiKeyRecord, AuditEntry, KeyStatus, Limits, Login, Member},
};
use campaigns::{
    campaign::{Campaign, CampaignStatus, Send, SendStatus},
    entities::{Cap, TwilioAccount},
    twilio::AuthToken,
};
use codes::{
    claim::{Claim, ClaimStatus, Code},
    code_pool::{CodePool, Lot, Lots, Platform, PromoCode},
    entities::{CodePoolStats, Import, Progress, Shelf, Stock},
};
use domain::{
    consent::Consent,
    email::Email,
    network::Networks,
    scope::{Grant, Role},
    secret::SigningKey,
    text::{Metadata, Name},
};
use features::{
    entities::CommentRef,
    feature::{Comment, CommentStatus, Feature, FeatureTally, Vote},
};
use jiff::{SignedDuration, Timestamp};
use messages::entities::{MailTask, MessageRecord, MessageState};
use projection::{
    events::{Event, Tally},
    job::Job,
};
use serde_json::{Value, json};
use stamps::{
    customer::{Customer, Provisional},
    entities::{PhoneClaim, VisitProof},
    stamp::{Card, CardReward, CardRewardStatus, Program, Stamp, StampCount, StampStatus},
};
use table::{AttributeValue, Entity, Filler, IdempotencyRecord, Item, REPLAYED_WITHIN};
use waitlists::{
    entities::{Click, CodeClaim, EmailClaim, Export, ExportStatus, LineEntry, SlugClaim, Standing},
    fraud::{Assessment, Origin, Signal},
    line::Place,
    referral_code::ReferralCode,
    subscriber::{
        LedgerChange, LedgerEntry, Referral, ReferralStatus, Reward, RewardStatus, Subscriber,
        SubscriberStatus,
    },
    waitlist::Waitlist,
};
use webhooks::{
    entities::{EndpointFailing, EndpointSlow, EndpointsFence},
    webhook::{Attempt, Delivery, EndpointUrl, Message, OldSecret, WebhookEndpoint},
};

const ULID: &str = "01m7yhxdqhbwa008tz019wpw3d";

fn id<T: TryFrom<String, Error = domain::Invalid>>(prefix: &str) -> T {
    T::try_from(format!("{prefix}_{ULID}")).unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn shown(item: Item) -> Value {
    fn plain(value: AttributeValue) -> Value {
        match value {
            AttributeValue::S(text) => json!({ "S": text }),
            AttributeValue::N(number) => json!({ "N": number }),
            AttributeValue::Bool(value) => json!({ "BOOL": value }),
            AttributeValue::Null(_) => json!("NULL"),
            AttributeValue::L(list) => list.into_iter().map(plain).collect(),
            AttributeValue::M(map) => shown(map),
            other => panic!("no item holds {other:?}"),
        }
    }
    item.into_iter().map(|(name, value)| (name, plain(value))).collect()
}

fn golden<E: Entity + PartialEq + std::fmt::Debug>(entity: &E) {
    let item = entity.to_item();
    assert_eq!(&E::from_item(item.clone()).unwrap(), entity, "it reads back");
    insta::with_settings!({ prepend_module_to_snapshot => false, sort_maps => true }, {
        insta::assert_json_snapshot!(E::TYPE, shown(item));
    });
}

fn subscriber() -> Subscriber {
    Subscriber {
        id: id("sub"),
        account_id: id("acct"),
        waitlist_id: id("wl"),
        email: Email::try_from("Ada.L+x@Gmail.com".to_owned()).unwrap(),
        name: Some(Name::try_from("Ada".to_owned()).unwrap()),
        metadata: serde_json::from_value::<Metadata>(json!({ "n": 1e300 })).unwrap(),
        consent: Consent { granted: true, text: None, at: now() },
        source: None,
        status: SubscriberStatus::Active,
        referral_code: ReferralCode::try_from("BCDFGHJK".to_owned()).unwrap(),
        referred_by: None,
        number: Some(7),
        seated: false,
        referrals: 2,
        places: 6,
        votes: 0,
        comments: 0,
        disposable: false,
        origin: Origin { network: Some("n".to_owned()), device: None },
        joined_at: now(),
        verified_at: None,
        invited_at: None,
        converted_at: None,
        unsubscribed_at: None,
        return_request: None,
        return_requested_at: None,
        active_at: now(),
        mail_requests: 0,
        mail_requested_at: None,
        rev: 3,
    }
}

#[test]
fn items_of_accounts() {
    golden(&Account {
        id: id("acct"),
        name: Name::try_from("Acme".to_owned()).unwrap(),
        limits: Limits::default(),
        created_at: now(),
        rev: 1,
    });
    golden(&AccountSigning {
        account_id: id("acct"),
        signing_key: SigningKey::try_from("A".repeat(43)).unwrap(),
        rev: 1,
    });
    golden(&Member {
        id: id("mem"),
        account_id: id("acct"),
        email: "ada@example.com".to_owned(),
        login: "hash".to_owned(),
        role: Role::Owner,
        subject: None,
        created_at: now(),
        rev: 1,
    });
    golden(&Login { login: "ha#sh".to_owned(), account_id: id("acct"), member_id: id("mem") });
    golden(&ApiKeyRecord {
        id: id("key"),
        account_id: id("acct"),
        kind: KeyKind::Secret,
        name: None,
        scopes: vec![Grant::all()],
        prefix: "gs_sk_x".to_owned(),
        hash: "hash".to_owned(),
        status: KeyStatus::Active,
        valid_until: None,
        created_at: now(),
        rev: 1,
    });
    golden(&AuditEntry {
        id: id("aud"),
        ..AuditEntry::new(&id("acct"), "key_1", "api_key.revoked", "key_2", now())
    });
}

#[test]
fn items_of_waitlists() {
    let settings = serde_json::from_value(
        json!({ "name": "Aurora", "reward_tiers": [{ "referrals": 1, "name": "x" }] }),
    );
    let waitlist = Waitlist { id: id("wl"), ..Waitlist::new(id("acct"), settings.unwrap(), now()) };
    golden(&SlugClaim::of(&waitlist));
    golden(&waitlist);
}

#[test]
fn items_of_subscribers() {
    let subscriber = subscriber();
    golden(&EmailClaim::of(&subscriber));
    golden(&CodeClaim::of(&subscriber));
    golden(&Standing::of(&subscriber));
    golden(&LineEntry { waitlist_id: id("wl"), subscriber_id: id("sub"), number: 7, places: 6 });
    golden(&subscriber);
    assert_eq!(Place::new(7, 6).leaf(), subscriber.place().unwrap().leaf());
}

#[test]
fn items_of_referrals() {
    golden(&Referral {
        id: id("ref"),
        account_id: id("acct"),
        waitlist_id: id("wl"),
        referrer_id: id("sub"),
        referee_id: id("sub"),
        status: ReferralStatus::Credited,
        places: 3,
        disposable: false,
        origin: Origin::default(),
        assessment: Assessment { score: 50, reasons: vec![Signal::SameDevice] },
        created_at: now(),
        credited_at: Some(now()),
        rev: 2,
    });
    golden(&LedgerEntry {
        id: id("led"),
        subscriber_id: id("sub"),
        referral_id: id("ref"),
        change: LedgerChange::Revoked,
        referrals: -1,
        places: -3,
        actor: "key_1".to_owned(),
        at: now(),
    });
    golden(&Reward {
        id: id("rwd"),
        subscriber_id: id("sub"),
        waitlist_id: id("wl"),
        tier: serde_json::from_value(json!({ "referrals": 5, "name": "Sticker" })).unwrap(),
        status: RewardStatus::Issued,
        issued_at: now(),
        rev: 1,
    });
    golden(&Click { id: id("clk"), waitlist_id: id("wl"), referrer_id: id("sub"), source: None, at: now() });
}

#[test]
fn items_of_support() {
    golden(&IdempotencyRecord {
        account_id: id("acct"),
        principal: "key_1".to_owned(),
        idempotency_key: "a#b".to_owned(),
        request: "hash".to_owned(),
        status: 201,
        body: "{}".to_owned(),
        location: None,
        at: now(),
    });
    golden(&Event {
        id: id("evt"),
        account_id: id("acct"),
        topic: id::<waitlists::id::WaitlistId>("wl").to_string(),
        kind: waitlists::events::REWARD_ISSUED.into(),
        subscriber_id: Some(id("sub")),
        customer_id: None,
        object_id: None,
        data: std::collections::BTreeMap::from([("remaining".to_owned(), 7_u64.into())]),
        at: now(),
        noted_at: now(),
    });
    golden(&Job::new("x", &waitlists::entities::Task::ExportSubscribers { export_id: id("exp") }, now()));
    golden(&Export {
        id: id("exp"),
        account_id: id("acct"),
        waitlist_id: id("wl"),
        status: ExportStatus::Running,
        rows: 0,
        object: "exports/x.csv".to_owned(),
        created_at: now(),
        completed_at: None,
        rev: 1,
    });
    let mail = MessageRecord::new(
        "sub_1:1",
        MailTask::Endpoint { account_id: id("acct"), endpoint_id: id("we"), rev: 3, member_id: id("mem") },
        now(),
    );
    golden(&mail.taken(now()));
}

#[test]
fn a_mail_of_an_earlier_version_is_read_and_its_lease_lapses() {
    let now = now();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let stored = |state: &str| {
        let fields =
            [("id", "sub_1:1"), ("state", state), ("at", "2026-11-21T08:00:00Z"), ("_type", "message")];
        let mut item: Item = fields.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        item.insert("rev".to_owned(), AttributeValue::N("1".to_owned()));
        MessageRecord::from_item(item).unwrap()
    };
    assert!(!stored("sent").is_free(now + jiff::SignedDuration::from_hours(1)));
    assert!(!stored("sending").is_free(now + jiff::SignedDuration::from_secs(119)));
    assert!(stored("sending").is_free(now + jiff::SignedDuration::from_secs(120)));
    assert!(stored("sending").index_keys().is_empty());
}

#[test]
fn items_of_code_pools() {
    let settings = serde_json::from_value(json!({ "name": "Autumn", "low_stock_thresholds": [10, 100] }));
    golden(&CodePool { id: id("pool"), ..CodePool::new(id("acct"), settings.unwrap(), now()) });
    golden(&CodePoolStats { pool_id: id("pool"), imported: 3, claimed: 2, redeemed: 1, rev: 4 });
    let mut lots = Lots::default();
    lots.insert(Lot::new(Platform::Ios, Some(now())));
    lots.insert(Lot::new(Platform::Universal, None));
    golden(&Shelf { pool_id: id("pool"), lots, rev: 2 });

    let text = PromoCode::try_from("ABCDEFGHIXYZ".to_owned()).unwrap();
    let number = "5m7yhxdqhbwa008tz019wpw3d0";
    let within = |prefix: &str| format!("{prefix}_{ULID}{number}");
    let code = Code {
        id: within("code").parse().unwrap(),
        account_id: id("acct"),
        pool_id: id("pool"),
        code: Some(text.clone()),
        masked: text.masked(),
        platform: Platform::Ios,
        valid_until: Some(now()),
        lot: Lot::new(Platform::Ios, Some(now())),
        metadata: serde_json::from_value(json!({ "batch": 1e300 })).unwrap(),
        import_id: id("imp"),
        line: 2,
        redeemed_at: None,
        archived: None,
        rev: 1,
    };
    let claim_id: codes::id::ClaimId = within("claim").parse().unwrap();
    let stock = Stock { held_by: Some(claim_id.clone()), held_until: Some(1), ..Stock::of(&code, text) };
    golden(&stock);
    golden(&Claim {
        id: claim_id,
        account_id: id("acct"),
        pool_id: id("pool"),
        user: "pseudonym".to_owned(),
        device: None,
        status: ClaimStatus::Claimed,
        by_server: true,
        code_id: code.id.clone(),
        code: code.code.clone(),
        masked: code.masked.clone(),
        platform: code.platform,
        valid_until: code.valid_until,
        lot: code.lot,
        stock_rev: None,
        reserved_until: None,
        claimed_at: Some(now()),
        archived: None,
        rev: 1,
    });
    golden(&code);
    golden(&Import {
        etag: Some("etag".to_owned()),
        ..Import::new(id("imp"), &id("acct"), &id("pool"), "imports/x.csv".to_owned(), now())
    });
    // An import as the last release stored it.
    let import = Import {
        progress: Progress { offset: 5, line: 2, ..Progress::default() },
        ..Import::new(id("imp"), &id("acct"), &id("pool"), "imports/x.csv".to_owned(), now())
    };
    let mut item = import.to_item();
    item.remove("delimiter").unwrap();
    item.get_mut("progress").and_then(|progress| match progress {
        AttributeValue::M(progress) => progress.remove("reported"),
        _ => None,
    });
    assert_eq!(Import::from_item(item).unwrap(), import);
    golden(&Tally { fact: id("evt"), noted_at: now() });
    golden(&Filler { id: "abc".to_owned(), at: now() });
}

/// Texts are checked when they enter the system. Rules that are added later must not make stored items unreadable.
#[test]
fn stored_texts_are_read_as_they_are() {
    for name in ["\u{115f}", "a\u{202e}b", "a\u{ffff}", ""] {
        let mut item = subscriber().to_item();
        item.insert("name".to_owned(), AttributeValue::S(name.to_owned()));
        assert_eq!(Subscriber::from_item(item).unwrap().name.unwrap().as_str(), name);
        assert_ne!(Name::try_from(name.to_owned()).map(String::from), Ok(name.to_owned()));
    }
}

#[test]
fn items_of_stamp_cards() {
    let settings = serde_json::from_value(json!({ "name": "Coffee", "reward": "One coffee" }));
    let program = Program { id: id("prog"), ..Program::new(id("acct"), settings.unwrap(), now()) };
    golden(&program);
    let customer = Customer {
        id: id("cust"),
        account_id: id("acct"),
        phone: "+4915112345678".to_owned().try_into().unwrap(),
        email: None,
        name: Some(Name::try_from("Ada".to_owned()).unwrap()),
        birthday: Some("1815-12-10".parse().unwrap()),
        time_zone: Some("Europe/Berlin".to_owned().try_into().unwrap()),
        consent: Consent { granted: true, text: None, at: now() },
        provisional: Some(Provisional {
            email: Some("ada@example.com".to_owned().try_into().unwrap()),
            name: None,
            birthday: None,
            time_zone: None,
            consent: None,
            program_id: Some(id("prog")),
        }),
        created_at: now(),
        updated_at: now(),
        rev: 1,
    };
    golden(&customer);
    let hash = "pseudonym".to_owned();
    golden(&PhoneClaim { account_id: id("acct"), hash, customer_id: id("cust") });
    let card = Card::new(&program, id("cust"), now());
    golden(&card.stamped(StampCount::ONE, now(), &program.settings).0);
    let within = |prefix: &str| format!("{prefix}_{ULID}5m7yhxdqhbwa008tz019wpw3d0");
    golden(&Stamp {
        id: within("stamp").parse().unwrap(),
        account_id: id("acct"),
        program_id: id("prog"),
        customer_id: id("cust"),
        count: 2,
        status: StampStatus::Valid,
        taken_at: now(),
        recorded_at: now(),
        given_by: "key_1".to_owned(),
        voided_at: None,
        rev: 1,
    });
    golden(&CardReward {
        id: within("crw").parse().unwrap(),
        account_id: id("acct"),
        program_id: id("prog"),
        customer_id: id("cust"),
        reward: "One coffee".to_owned().try_into().unwrap(),
        stamps: 10,
        status: CardRewardStatus::Issued,
        issued_at: now(),
        expires_at: None,
        redeemed_at: None,
        withdrawn_at: None,
        rev: 1,
    });
    let stamp_id = within("stamp").parse().unwrap();
    golden(&VisitProof { customer_id: id("cust"), fact: "hash".to_owned(), stamp_id, at: now() });
}

#[test]
fn items_of_campaigns() {
    let settings = serde_json::from_value(json!({
        "name": "We miss you",
        "program_id": id::<domain::id::ProgramId>("prog"),
        "trigger": { "kind": "inactivity", "days": 30 },
        "template": {
            "channel": "whatsapp",
            "content_sid": format!("HX{}", "0".repeat(32)),
            "variables": { "1": "{{name}}" },
        },
        "quiet_hours": { "from": "21:00", "until": "08:00" },
    }));
    let campaign = Campaign { id: id("camp"), ..Campaign::new(id("acct"), settings.unwrap(), now()) };
    golden(&Campaign { status: CampaignStatus::Active, run: 1, ..campaign.clone() });
    let settings = serde_json::from_value(json!({ "name": "Coffee", "reward": "One coffee" }));
    let program = Program { id: id("prog"), ..Program::new(id("acct"), settings.unwrap(), now()) };
    let card = Card::new(&program, id("cust"), now());
    let send = Send::new(&campaign, &card, "since 1", now());
    golden(&Send { due_at: Some(now()), ..send.now(SendStatus::Deferred, now()) });
    golden(&Cap::of(&send, now()));
    golden(&TwilioAccount {
        account_id: id("acct"),
        account_sid: format!("AC{}", "0".repeat(32)),
        auth_token: AuthToken::new("0".repeat(32)).unwrap(),
        whatsapp_sender: None,
        sms_sender: Some("+4930123456".to_owned().try_into().unwrap()),
        stop_words: serde_json::from_value(json!(["Nej tak"])).unwrap(),
        updated_at: now(),
        rev: 1,
    });
}

#[test]
fn items_of_features() {
    let settings =
        serde_json::from_value(json!({ "title": "Dark mode", "description": "At night.\nAnd later." }));
    let feature = Feature { id: id("feat"), ..Feature::new(id("acct"), id("wl"), settings.unwrap(), now()) };
    golden(&FeatureTally { votes: 12, comments: 3, rev: 9, ..FeatureTally::new(&feature) });
    golden(&Vote::after(None, &feature.id, &subscriber(), true, now()));
    golden(&feature.merged(id("feat"), now()));
    let comment = Comment {
        id: id("cmt"),
        account_id: id("acct"),
        waitlist_id: id("wl"),
        feature_id: id("feat"),
        subscriber_id: id("sub"),
        author: "Ada L.".to_owned(),
        text: "Please.".to_owned().try_into().unwrap(),
        status: CommentStatus::Pending,
        created_at: now(),
        moderated_at: None,
        moderated_by: None,
        rev: 1,
    };
    golden(&CommentRef::of(&comment));
    golden(&comment);
}

#[test]
fn items_of_webhooks() {
    let url = EndpointUrl::parse("https://example.com/hook", &Networks::default()).unwrap();
    let wanted = vec![waitlists::events::SUBSCRIBER_JOINED.into(), codes::events::CODE_POOL_LOW_STOCK.into()];
    let secret = || serde_json::from_value(json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
    let endpoint = WebhookEndpoint {
        id: id("we"),
        secret: secret(),
        old_secret: Some(OldSecret { secret: secret(), until: now() }),
        ..WebhookEndpoint::new(id("acct"), url, None, wanted, now())
    };
    golden(&endpoint);
    golden(&EndpointFailing { endpoint_id: endpoint.id.clone(), since: now() });
    golden(&EndpointsFence { account_id: id("acct"), rev: 1 });
    golden(&EndpointSlow { endpoint_id: endpoint.id.clone(), until: now() });
    let message = Message { id: id("evt"), kind: "code.claimed".to_owned(), body: "{}".to_owned() };
    let attempt = Attempt {
        at: now(),
        duration_ms: 12,
        status_code: Some(503),
        error: None,
        response: Some("busy".to_owned()),
    };
    golden(&Delivery::new(&endpoint.id, id("acct"), message, now()).attempted(
        attempt,
        false,
        None,
        0,
        now(),
    ));
}

/// Items that prevent a replayed change from being counted again, or a message from being sent again, are kept for
/// as long as changes may be replayed.
#[test]
fn what_tells_that_something_was_done_outlasts_a_replay() {
    let event = Event {
        id: id("evt"),
        account_id: id("acct"),
        topic: format!("wl_{ULID}"),
        kind: waitlists::events::SUBSCRIBER_JOINED.into(),
        subscriber_id: None,
        customer_id: None,
        object_id: None,
        data: BTreeMap::new(),
        // The event happened 24 hours before it was recorded.
        at: now() - SignedDuration::from_hours(24),
        noted_at: now(),
    };
    let click =
        Click { id: id("clk"), waitlist_id: id("wl"), referrer_id: id("sub"), source: None, at: now() };
    let task = MailTask::Subscriber { subscriber_id: id("sub") };
    let message = MessageRecord::new("x", task, now()).settled(MessageState::Sent, now());
    let told = Message { id: id("evt"), kind: "x".to_owned(), body: "{}".to_owned() };
    let delivery = Delivery::new(&id("we"), id("acct"), told, now());
    let standing = Standing { erased_at: Some(now()), ..Standing::of(&subscriber()) };
    let vote = Vote::after(None, &id("feat"), &subscriber(), false, now());
    let kept = now() + REPLAYED_WITHIN;
    for (kind, expires) in [
        (Event::TYPE, event.expires()),
        (Tally::TYPE, Tally { fact: id("evt"), noted_at: now() }.expires()),
        (Click::TYPE, click.expires()),
        (MessageRecord::TYPE, message.expires()),
        (Delivery::TYPE, delivery.expires()),
        (Standing::TYPE, standing.expires()),
        (Vote::TYPE, vote.expires()),
    ] {
        assert_eq!(expires, Some(kept), "{kind}");
    }
}

/// All documents name the same time within which changes may be replayed.
#[test]
fn the_documents_name_the_time_within_which_changes_may_be_replayed() {
    let days = REPLAYED_WITHIN.as_hours() / 24;
    let within = days - 1;
    for (path, says) in [
        ("docs/adr/0002-standing-instead-of-shard-watermark.md", format!("stays for {days} days")),
        (
            "docs/runbooks/redrive.md",
            format!("counted is kept for {days} days: replay nothing older than {within}"),
        ),
        ("docs/runbooks/replay.sh", format!("\nDAYS={within} ")),
        ("docs/api.md", format!("`data` and `at`, are kept for {days} days")),
        ("docs/webhooks.md", format!("shows for {days} days what was sent")),
    ] {
        let text =
            std::fs::read_to_string(format!("{}/../../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.contains(&says), "{path} doesn't say {says:?}");
    }
}

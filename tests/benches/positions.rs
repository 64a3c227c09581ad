//! Reading a position among few and among very many.
//!
//! Fills a waitlist through the store, a third of it carried forward by referrals,
//! and reads positions of a sample: each must be the one that a sort of all entries
//! gives. Prints reads per position and latencies, side by side with plain calls of the
//! embedded store, which is itself slower when it is full: a read of one item, and a
//! COUNT of as many entries as a position counts, of which there are as many in a leaf
//! however long the line is.
//! `ENTRIES` sets the sizes (`1000,1000000`).

use std::time::{Duration, Instant};

use domain::{
    email::Email,
    fraud::Origin,
    id::{AccountId, SubscriberId, WaitlistId},
    line::Place,
    referral_code::ReferralCode,
    subscriber::{Consent, Subscriber, SubscriberStatus},
    text::Metadata,
};
use groundswell::{Options, Platform, faults::Faults};
use jiff::Timestamp;
use scenarios::Dice;
use serde_json::{Value, json};
use store::{entities::leaf_partition, projection, subscribers};

const SAMPLE: usize = 500;

fn subscriber(waitlist: &WaitlistId, number: u64, places: u64) -> Subscriber {
    let now = Timestamp::now();
    Subscriber {
        id: SubscriberId::new(now),
        account_id: AccountId::new(now),
        waitlist_id: waitlist.clone(),
        email: Email::try_from(format!("p{number}@example.com")).expect("an address"),
        name: None,
        metadata: Metadata::default(),
        consent: Consent { granted: true, text: None, at: now },
        source: None,
        status: SubscriberStatus::Active,
        referral_code: ReferralCode::generate(),
        referred_by: None,
        number: Some(number),
        referrals: 0,
        places,
        disposable: false,
        origin: Origin::default(),
        joined_at: now,
        verified_at: None,
        invited_at: None,
        converted_at: None,
        unsubscribed_at: None,
        active_at: now,
        mail_requests: 0,
        mail_requested_at: None,
        rev: 1,
    }
}

struct Measured {
    position: Duration,
    read: Duration,
    count: Duration,
    reads: f64,
}

/// One COUNT within a leaf, asked of the embedded store without any code of ours.
async fn count(http: &reqwest::Client, endpoint: &str, waitlist: &WaitlistId, place: Place) -> u64 {
    let body = json!({
        "TableName": "groundswell",
        "Select": "COUNT",
        "ConsistentRead": true,
        "KeyConditionExpression": "PK = :pk AND SK <= :sk",
        "ExpressionAttributeValues": {
            ":pk": { "S": leaf_partition(waitlist, place.leaf()) },
            ":sk": { "S": place.sort_key() },
        },
    });
    let request = http
        .post(endpoint)
        .header("x-amz-target", "DynamoDB_20120810.Query")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20260101T000000Z")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x",
        );
    let answer = request.body(body.to_string()).send().await.expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    answer["Count"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

async fn measure(entries: usize) -> Measured {
    let data = tempfile::tempdir().expect("a directory");
    let options = Options {
        port: 0,
        data_dir: data.path().to_owned(),
        keep_stream: true,
        event_sources: false,
        faults: Faults::default(),
    };
    let platform = Platform::start(options).await.expect("the platform starts");
    let table = &platform.table;
    let waitlist = WaitlistId::new(Timestamp::now());
    let mut dice = Dice(1);
    let mut places = Vec::with_capacity(entries);
    let mut sample = Vec::new();
    let started = Instant::now();
    let mut batch = Vec::new();
    for number in 1..=entries as u64 {
        let carried = if dice.below(3) == 0 { 3 * (1 + dice.below(20) as u64) } else { 0 };
        let subscriber = subscriber(&waitlist, number, carried);
        places.push(Place::new(number, carried));
        if (number as usize).is_multiple_of((entries / SAMPLE.min(entries)).max(1)) {
            subscribers::join(&subscriber, None).apply(table).await.expect("written");
            sample.push(subscriber.clone());
        }
        batch.push(projection::Change::Saved(Box::new(subscriber)));
        if batch.len() == 28 || number as usize == entries {
            let plan = projection::plan(table, &batch, Timestamp::now()).await.expect("a plan");
            plan.apply(table).await.expect("written");
            batch.clear();
        }
        if number % 100_000 == 0 {
            eprintln!("  {number} entries after {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    places.sort();

    let calls = || -> u64 { platform.meter.snapshot().values().sum() };
    let http = reqwest::Client::new();
    let mut reads = 0;
    let (mut positions, mut read, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    // In turn, so that whatever else the machine does slows both.
    for subscriber in &sample {
        let before = calls();
        let started = Instant::now();
        let found = subscribers::read(table, &subscriber.account_id, &subscriber.id).await.expect("read");
        let position = found.expect("there").position(table).await.expect("read").expect("in line");
        positions.push(started.elapsed());
        reads += calls() - before;
        let place = subscriber.place().expect("in line");
        let expected = places.binary_search(&place).expect("there") as u64 + 1;
        assert_eq!((position.position, position.total), (expected, entries as u64));

        let other = &sample[dice.below(sample.len())];
        let started = Instant::now();
        subscribers::find(table, &other.id).await.expect("read").expect("there");
        read.push(started.elapsed());

        // Somebody from anywhere in the line, so that nothing has been read lately, as with positions.
        let place = places[dice.below(places.len())];
        let started = Instant::now();
        assert!(count(&http, platform.dynamodb_endpoint(), &waitlist, place).await > 0);
        counts.push(started.elapsed());
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    Measured {
        position: median(positions),
        read: median(read),
        count: median(counts),
        reads: reads as f64 / sample.len() as f64,
    }
}

#[tokio::main]
async fn main() {
    let sizes = std::env::var("ENTRIES").unwrap_or_else(|_| "1000,1000000".to_owned());
    let mut first: Option<Measured> = None;
    for size in sizes.split(',').filter_map(|size| size.trim().parse().ok()) {
        let now = measure(size).await;
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "{size} entries: a position in {:.2} ms (median of {}), {:.2} reads each, all exact; \
             the store's own read {:.2} ms and COUNT {:.2} ms",
            ms(now.position),
            SAMPLE.min(size),
            now.reads,
            ms(now.read),
            ms(now.count)
        );
        match &first {
            None => first = Some(now),
            Some(small) => println!(
                "  against the first: positions ×{:.2}, the store's own read and COUNT together ×{:.2}",
                now.position.as_secs_f64() / small.position.as_secs_f64(),
                (now.read + now.count).as_secs_f64() / (small.read + small.count).as_secs_f64()
            ),
        }
    }
}

//! Reads of a position in a small and in a very large waitlist.
//!
//! Fills waitlists directly in the store, a third of each moved forward by referrals. Reads the positions of a
//! sample, alternating between the lists, and checks each against a sort of all entries. Prints the reads per
//! position and the latencies, beside those of the same requests to the embedded store without the product's
//! code. The store itself is slower when it is full, and when the items with counters (at most 128 each) are
//! full. `ENTRIES` sets the sizes (`1000,1000000`).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use domain::{
    consent::Consent,
    email::Email,
    id::{AccountId, SubscriberId},
    text::Metadata,
};
use groundswell::{Options, Platform, faults::Faults};
use jiff::Timestamp;
use scenarios::Dice;
use serde_json::{Value, json};
use waitlists::{
    entities::{leaf_partition, line_branch_key, line_root_key},
    fraud::Origin,
    id::WaitlistId,
    line::{ALL, Leaf, Place, counters_summed},
    projection,
    referral_code::ReferralCode,
    subscriber::{Subscriber, SubscriberStatus},
    subscribers,
};

const SAMPLE: usize = 500;
/// Number of times that each sample is read, with the product's code and without.
const ROUNDS: usize = 4;

fn subscriber(account: &AccountId, waitlist: &WaitlistId, number: u64, places: u64) -> Subscriber {
    let now = Timestamp::now();
    Subscriber {
        id: SubscriberId::new(now),
        account_id: account.clone(),
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
        seated: false,
        referrals: 0,
        places,
        votes: 0,
        comments: 0,
        disposable: false,
        origin: Origin::default(),
        joined_at: now,
        verified_at: None,
        invited_at: None,
        converted_at: None,
        unsubscribed_at: None,
        return_request: None,
        return_requested_at: None,
        active_at: now,
        mail_requests: 0,
        mail_requested_at: None,
        rev: 1,
    }
}

/// Filled waitlist.
struct Line {
    platform: Platform,
    _data: tempfile::TempDir,
    waitlist: WaitlistId,
    /// Sort keys of all entries in the line, in order.
    places: Vec<Place>,
    sample: Vec<Subscriber>,
}

#[derive(Default)]
struct Times {
    position: Vec<Duration>,
    store: Vec<Duration>,
    /// Number of DynamoDB calls for all positions.
    calls: u64,
}

/// Calls the embedded store without the product's code.
async fn ask(http: &reqwest::Client, endpoint: &str, operation: &str, body: Value) -> Value {
    let request = http
        .post(endpoint)
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20260101T000000Z")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x",
        );
    let answer = request.body(body.to_string()).send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

/// Makes the requests of a position in the same order: the two items of one subscriber, then the counters, beside
/// a COUNT within a leaf.
async fn ask_the_same(http: &reqwest::Client, line: &Line, subscriber: &Subscriber) {
    let endpoint = line.platform.dynamodb_endpoint();
    let place = subscriber.place().expect("in line");
    let person = json!({
        "TableName": "groundswell",
        "ConsistentRead": true,
        "KeyConditionExpression": "PK = :pk AND begins_with(SK, :sk)",
        "ExpressionAttributeValues": {
            ":pk": { "S": format!("SUB#{}", subscriber.id) },
            ":sk": { "S": "CORE#" },
        },
    });
    let Leaf { branch, leaf } = place.leaf();
    let tree = [line_root_key(&line.waitlist), line_branch_key(&line.waitlist, branch)];
    let tree = tree.map(|key| json!({ "PK": { "S": key.pk }, "SK": { "S": key.sk } }));
    let summed: BTreeSet<u16> = [branch, leaf, ALL].into_iter().flat_map(counters_summed).collect();
    let summed = summed.iter().map(|node| format!(", f{node}")).collect::<String>();
    let counters = json!({
        "RequestItems": { "groundswell": {
            "ConsistentRead": true,
            "Keys": tree,
            "ProjectionExpression": format!("PK, SK{summed}"),
        } },
    });
    let within = json!({
        "TableName": "groundswell",
        "Select": "COUNT",
        "ConsistentRead": true,
        "KeyConditionExpression": "PK = :pk AND SK <= :sk",
        "ExpressionAttributeValues": {
            ":pk": { "S": leaf_partition(&line.waitlist, place.leaf()) },
            ":sk": { "S": place.sort_key() },
        },
    });
    let found = ask(http, endpoint, "Query", person).await;
    assert_eq!(found["Count"], 2, "{found}");
    let (found, counted) =
        tokio::join!(ask(http, endpoint, "BatchGetItem", counters), ask(http, endpoint, "Query", within));
    assert_eq!(found["Responses"]["groundswell"].as_array().map(Vec::len), Some(2), "{found}");
    assert!(counted["Count"].as_u64() > Some(0), "{counted}");
}

async fn fill(entries: usize) -> Line {
    let data = tempfile::tempdir().expect("a directory");
    let options = Options {
        port: 0,
        data_dir: data.path().to_owned(),
        dynamodb: None,
        keep_stream: true,
        event_sources: false,
        twilio: None,
        faults: Faults::default(),
    };
    let platform = Platform::start(options).await.expect("the platform starts");
    let table = &platform.table;
    let account = AccountId::new(Timestamp::now());
    let waitlist = WaitlistId::new(Timestamp::now());
    let mut dice = Dice(1);
    let mut places = Vec::with_capacity(entries);
    let mut sample = Vec::new();
    let started = Instant::now();
    let mut batch = Vec::new();
    for number in 1..=entries as u64 {
        let carried = if dice.below(3) == 0 { 3 * (1 + dice.below(20) as u64) } else { 0 };
        let subscriber = subscriber(&account, &waitlist, number, carried);
        places.push(Place::new(number, carried));
        if (number as usize).is_multiple_of((entries / SAMPLE.min(entries)).max(1)) {
            subscribers::join(&subscriber, None, None).apply(table).await.expect("written");
            sample.push(subscriber.clone());
        }
        batch.push(projection::Change::Saved(Box::new(subscriber)));
        if batch.len() == 20 || number as usize == entries {
            let plan = projection::plan(table, &batch, Timestamp::now()).await.expect("a plan");
            plan.apply(table).await.expect("written");
            batch.clear();
        }
        if number % 100_000 == 0 {
            eprintln!("  {number} entries after {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    places.sort();
    Line { platform, _data: data, waitlist, places, sample }
}

/// Reads the position of a subscriber, and makes the same requests to the store without the product's code.
async fn measure(line: &Line, turn: usize, http: &reqwest::Client, times: &mut Times) {
    let calls = || -> u64 { line.platform.meter.snapshot().values().sum() };
    let table = &line.platform.table;
    let subscriber = &line.sample[turn % line.sample.len()];
    let before = calls();
    let started = Instant::now();
    let found = subscribers::read(table, &subscriber.account_id, &subscriber.id).await.expect("read");
    let position = found.expect("there").position(table).await.expect("read").expect("in line");
    times.position.push(started.elapsed());
    times.calls += calls() - before;
    let place = subscriber.place().expect("in line");
    let expected = line.places.binary_search(&place).expect("there") as u64 + 1;
    assert_eq!((position.position, position.total), (expected, line.places.len() as u64));

    // Another subscriber, who was read as long ago as the one above was requested directly, so that the store's
    // cache serves both alike.
    let other = &line.sample[(turn + line.sample.len() / 2) % line.sample.len()];
    let started = Instant::now();
    ask_the_same(http, line, other).await;
    times.store.push(started.elapsed());
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

#[tokio::main]
async fn main() {
    let sizes = std::env::var("ENTRIES").unwrap_or_else(|_| "1000,1000000".to_owned());
    let mut lines = Vec::new();
    for size in sizes.split(',').filter_map(|size| size.trim().parse().ok()) {
        lines.push((fill(size).await, Times::default()));
    }
    // Alternates between the lists, so that other load on the machine slows all of them alike.
    let http = reqwest::Client::new();
    for turn in 0..ROUNDS * SAMPLE {
        for (line, times) in &mut lines {
            measure(line, turn, &http, times).await;
        }
    }
    let Some((_, first)) = lines.first() else { return };
    for (line, times) in &lines {
        let (position, store) = (median(&times.position), median(&times.store));
        println!(
            "{} entries: a position in {position:.2} ms (median of {}), {:.2} reads each, all exact; \
             the same requests of the store {store:.2} ms; against the first: positions ×{:.2}, the store ×{:.2}",
            line.places.len(),
            times.position.len(),
            times.calls as f64 / times.position.len() as f64,
            position / median(&first.position),
            store / median(&first.store),
        );
    }
}

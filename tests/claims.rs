//! Codes under contention, checked by a history of every request and its answer: no code is given twice, a user
//! gets one code, no code is lost, and "exhausted" is only answered when it is true.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use codes::code_pool::{Lot, Platform as Device, PromoCode};
use futures_util::StreamExt;
use groundswell::faults::Faults;
use jiff::{SignedDuration, Timestamp};
use scenarios::{Api, Dice, apart, eventually, in_flight, many, patiently, platform};
use serde_json::{Value, json};

use crate::process::Victim;

/// Answer to a user, with the times of the request and of the answer.
#[derive(Clone, Debug)]
struct Event {
    user: usize,
    asked: Instant,
    told: Instant,
    /// Code, or `None` if no code was left.
    answer: Option<String>,
}

#[derive(Clone, Default)]
struct History(Arc<Mutex<Vec<Event>>>);

impl History {
    fn add(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    /// Checks all answers.
    fn check(&self, codes: usize, users: usize) -> HashMap<usize, String> {
        let events = self.0.lock().unwrap();
        let mut given: HashMap<usize, String> = HashMap::new();
        let mut owners: HashMap<&str, usize> = HashMap::new();
        // Time of the first request of each user. A user's code was not given before that time.
        let mut first_asked: BTreeMap<usize, Instant> = BTreeMap::new();
        for event in events.iter() {
            let asked = first_asked.entry(event.user).or_insert(event.asked);
            *asked = event.asked.min(*asked);
        }
        for event in events.iter() {
            let Some(code) = &event.answer else { continue };
            let before = given.insert(event.user, code.clone());
            assert!(before.is_none_or(|before| before == *code), "user {} has two codes", event.user);
            let owner = owners.entry(code).or_insert(event.user);
            assert_eq!(*owner, event.user, "{code} was given twice");
        }
        assert_eq!(given.len(), codes.min(users), "as many as there are codes, or users");
        let mut began: Vec<Instant> = given.keys().map(|user| first_asked[user]).collect();
        began.sort_unstable();
        for event in events.iter().filter(|event| event.answer.is_none()) {
            let possible = began.iter().filter(|began| **began < event.told).count();
            assert_eq!(possible, codes, "user {} was told of the end too early", event.user);
            let has = given.contains_key(&event.user);
            assert!(!has, "user {} has a code and was told there is none", event.user);
        }
        given
    }
}

/// Maximum number of lots in a pool before the end dates of one year share a lot.
const LOTS: usize = 60;

/// Returns codes of one lot without an end date, or of several lots with different end dates.
fn csv(codes: usize, lots: usize) -> String {
    let soonest = Timestamp::now() + SignedDuration::from_hours(24 * 35);
    let end = |lot: usize| match lots {
        1 => String::new(),
        _ => (soonest + SignedDuration::from_hours(24 * 35) * i32::try_from(lot).unwrap()).to_string(),
    };
    (0..codes)
        .fold("code,expires_at\n".to_owned(), |csv, n| csv + &format!("CODE-{n:06},{}\n", end(n % lots)))
}

/// Retries a claim until it is decided, as any client would.
async fn ask(api: &dyn Fn() -> Api, pool: &str, user: usize, history: &History) {
    let asked = Instant::now();
    let answer = patiently(Duration::from_secs(120), || async {
        let call = api().secret("POST", &format!("/distribute/{pool}"));
        let reply = call.json(json!({ "user": format!("user-{user}") })).try_send().await?;
        if reply.is_undecided() {
            return None;
        }
        match reply.status.as_u16() {
            200 | 201 => Some(Some(reply.text_at("code"))),
            409 => {
                reply.is_problem(409, "codes-exhausted");
                Some(None)
            }
            _ => panic!("{}: {}", reply.status, reply.text),
        }
    })
    .await;
    history.add(Event { user, asked, told: Instant::now(), answer });
}

/// Claims a code for each user. Some users claim twice at once, and half as many again claim once more later.
async fn rush(api: &dyn Fn() -> Api, pool: &str, users: usize, in_flight: usize, seed: u64) -> History {
    let history = History::default();
    let mut dice = Dice(seed);
    let mut requests: Vec<usize> = (0..users).collect();
    requests.extend((0..users / 2).map(|_| dice.below(users)));
    for position in (1..requests.len()).rev() {
        requests.swap(position, dice.below(position + 1));
    }
    // Duplicates that arrive together with the first request.
    requests.extend((0..users / 5).map(|_| dice.below(users)));
    let asking = requests.into_iter().map(|user| ask(api, pool, user, &history));
    futures_util::stream::iter(asking).buffer_unordered(in_flight).for_each(|()| async {}).await;
    history
}

async fn statuses(api: &Api, pool: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for code in api.all(&format!("/code-pools/{pool}/codes")).await {
        *counts.entry(code["status"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_claimers_get_each_code_once() {
    let data = tempfile::tempdir().unwrap();
    let (api, running) = apart(data.path()).await;
    let attempts = || {
        let counted = running.as_ref().map(|running| running.meter.snapshot());
        counted.and_then(|counted| counted.get("claim.write").copied()).unwrap_or_default()
    };
    for (codes, users, lots) in
        [(many(500), many(1000), 1), (many(10_000), many(1000), 1), (many(300), many(500), LOTS)]
    {
        let pool = api.pool(json!({})).await;
        assert_eq!(api.import(&pool, csv(codes, lots)).await["added"], codes);
        let before = attempts();
        let history = rush(&|| api.clone(), &pool, users, in_flight(many(128)), codes as u64).await;
        let attempts = attempts() - before;
        let given = history.check(codes, users);
        let claimed = statuses(&api, &pool).await.get("claimed").copied().unwrap_or_default();
        assert_eq!(claimed, given.len(), "none is lost");
        let per_claim = attempts as f64 / given.len() as f64;
        println!(
            "{codes} codes in {lots} lots, {users} users: {} given, {per_claim:.3} transactions each",
            given.len()
        );
        // Repeated answers cost no transaction. With many codes, two claimers rarely choose the same code.
        if codes > users {
            assert!(per_claim < 1.1, "{per_claim}");
        }
    }
}

/// Maximum number of reads of a claim: one at a random place, one at the beginning of a partition, and two pages
/// (of 8 and of 64 codes) of each of the eight partitions.
const READS: u64 = 2 + 2 * 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_costs_the_same_however_many_lots_have_nothing() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(running.credentials.clone());
    let calls = |pattern: &str| running.meter.snapshot().get(pattern).copied().unwrap_or_default();
    for (lots, confirmed) in [(1, false), (LOTS, false), (LOTS, true)] {
        let pool = api.pool(json!({})).await;
        assert_eq!(api.import(&pool, csv(LOTS, lots)).await["added"], LOTS);
        let path = format!("/distribute/{pool}");
        let mut held = Vec::new();
        for user in 1..LOTS {
            let reserved = api.post(&path, json!({ "user": format!("user-{user}"), "reserve": true })).await;
            held.push(reserved.text_at("claim_id"));
        }
        // A confirmed code leaves the stock without a change of the shelf, which still lists all lots.
        for claim in held.iter().filter(|_| confirmed) {
            assert_eq!(api.post(&format!("/claims/{claim}/confirm"), json!({})).await.status, 200);
        }
        let (reads, writes) = (calls("claim.stock"), calls("claim.write"));
        let claimed = api.claim(&pool, "ada").await;
        assert_eq!(claimed.status, 201);
        let last = LOTS - 1;
        assert!(lots == 1 || claimed.text_at("code") == format!("CODE-{last:06}"), "the last lot's");
        let (reads, writes) = (calls("claim.stock") - reads, calls("claim.write") - writes);
        println!("{lots} lots, the others confirmed: {confirmed}: {reads} reads, {writes} writes");
        assert!(reads <= READS, "{lots} lots, {confirmed}: {reads} reads");
        assert_eq!(writes, 1);

        // All codes are reserved or claimed. Each claim learns so with a bounded number of reads. Reserved codes
        // may return, so they are read twice.
        let reads = calls("claim.stock");
        let late = 24;
        let asking = (0..late).map(|n| {
            let (api, pool) = (&api, &pool);
            async move { api.claim(pool, &format!("late-{n}")).await }
        });
        for reply in futures_util::future::join_all(asking).await {
            reply.is_problem(409, "codes-exhausted");
        }
        let each = (calls("claim.stock") - reads).div_ceil(late);
        println!("{lots} lots, the others confirmed: {confirmed}: {each} reads until there is none");
        assert!(each < 2 * READS, "{each}");
        if confirmed {
            // The pool is now known to be empty.
            let reads = calls("claim.stock");
            api.claim(&pool, "too late").await.is_problem(409, "codes-exhausted");
            assert_eq!(calls("claim.stock"), reads);
        } else {
            // A released code can be claimed, and no other one.
            assert_eq!(api.post(&format!("/claims/{}/release", held[0]), json!({})).await.status, 200);
            assert_eq!(api.claim(&pool, "bo").await.status, 201);
            api.claim(&pool, "cy").await.is_problem(409, "codes-exhausted");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_from_before_the_stock_was_in_order_are_given_too() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(running.credentials.clone());
    let pool = api.pool(json!({})).await;
    assert_eq!(api.import(&pool, "code\nNEW-1\n").await["added"], 1);
    let (table, pool_id) = (&running.table, pool.parse().unwrap());
    let imports = codes::imports::list(table, &pool_id, None, 1).await.unwrap();
    let import = imports.data.into_iter().next().unwrap();
    let key = accounts::signing_key(table, &api.credentials.account_id).await.unwrap();
    let end: Timestamp = "2099-12-31T00:00:00Z".parse().unwrap();
    let lot = Lot::try_from(format!("{:012}+0.universal", end.as_second())).unwrap();
    assert_ne!(lot, Lot::new(Device::Universal, Some(end)));
    let old = ["OLD-1", "OLD-2"].into_iter().zip(2..).map(|(code, line)| codes::NewCode {
        line,
        code: PromoCode::try_from(code.to_owned()).unwrap(),
        platform: Device::Universal,
        valid_until: Some(end),
        metadata: Default::default(),
        lot,
    });
    let loaded = codes::load(table, &import, &key, &old.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(loaded.added, 2);
    let noted = codes::entities::Import { rev: import.rev + 1, ..import.clone() };
    codes::imports::checkpoint(table, &noted, import.rev, 2, &loaded.lots).await.unwrap();

    let body = json!({ "user": "ada", "reserve": true });
    let reserved = api.post(&format!("/distribute/{pool}"), body).await.text_at("claim_id");
    api.post(&format!("/claims/{reserved}/release"), json!({})).await.ok();
    let mut given = Vec::new();
    for user in ["bo", "cy", "dee"] {
        given.push(api.claim(&pool, user).await.text_at("code"));
    }
    given[..2].sort_unstable();
    assert_eq!(given, ["OLD-1", "OLD-2", "NEW-1"], "what ends soonest goes first");
    api.claim(&pool, "eve").await.is_problem(409, "codes-exhausted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_asks_several_times_at_once_for_the_last_code_is_never_told_there_is_none() {
    let api = Api::shared();
    for round in 0..10 {
        let pool = api.pool(json!({})).await;
        assert_eq!(api.import(&pool, format!("code\nLAST-{round}\n")).await["added"], 1);
        let asking = (0..16).map(async |_| {
            let decided = async || Some(api.claim(&pool, "ada").await).filter(|reply| !reply.is_undecided());
            let reply = eventually(decided).await;
            assert!(reply.status.is_success(), "{}", reply.text);
            assert_eq!(reply.text_at("code"), format!("LAST-{round}"));
        });
        futures_util::future::join_all(asking).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_survive_throttles_conflicts_and_lost_answers() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), false, Faults::seeded(7, 20, 40, 20)).await else { return };
    let api = Api::new(running.credentials.clone());
    let pool = patiently(Duration::from_secs(30), || async {
        let made = api.post("/code-pools", json!({ "name": "x" })).await;
        (made.status == 201).then(|| made.id())
    })
    .await;
    let (codes, users) = (many(100), many(1000));
    running.bucket.write(&format!("imports/{pool}/codes.csv"), csv(codes, 1).into_bytes()).await.unwrap();
    patiently(Duration::from_secs(60), || async {
        let imports = api.get(&format!("/code-pools/{pool}/imports")).await;
        (imports.json["data"][0]["status"] == "completed").then_some(())
    })
    .await;
    let history = rush(&|| api.clone(), &pool, users, 128, 3).await;
    history.check(codes, users);
    drop(running);
    let calm = platform(data.path(), false, Faults::default()).await.unwrap();
    let api = Api::new(calm.credentials.clone());
    assert_eq!(statuses(&api, &pool).await, BTreeMap::from([("claimed".to_owned(), codes)]));
    // All derived numbers become exact as well.
    patiently(Duration::from_secs(60), || async {
        (api.get(&format!("/code-pools/{pool}")).await.ok()["counts"]["claimed"] == codes).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_survive_a_process_that_is_killed_and_restarted() {
    let data = tempfile::tempdir().unwrap();
    let Some(victim) = Victim::start(data.path()).await else { return };
    let api = Api::new(victim.credentials.clone());
    let (codes, users) = (many(500), many(1000));
    let pool = api.pool(json!({})).await;
    assert_eq!(api.import(&pool, csv(codes, LOTS)).await["added"], codes);
    // Clients follow the platform to its new address.
    let address = Arc::new(Mutex::new(api));
    let followed = || address.lock().unwrap().clone();
    let history = History::default();
    let (mut running, mut killed) = (Some(victim), 0);
    let asking = (0..users).map(|user| ask(&followed, &pool, user, &history));
    let mut asking = std::pin::pin!(futures_util::stream::iter(asking).buffer_unordered(64));
    let mut told = 0;
    while asking.next().await.is_some() {
        told += 1;
        if [150, 420, 700].map(many).contains(&told) {
            running.take().unwrap().kill();
            let next = Victim::start(data.path()).await.unwrap();
            *address.lock().unwrap() = Api::new(next.credentials.clone());
            running = Some(next);
            killed += 1;
        }
    }
    assert_eq!(killed, 3);
    // A later retry gives the same code.
    let given = history.check(codes, users);
    for (user, code) in given.iter().take(50) {
        let again = followed().claim(&pool, &format!("user-{user}")).await;
        assert_eq!(again.text_at("code"), *code);
    }
    assert_eq!(statuses(&followed(), &pool).await, BTreeMap::from([("claimed".to_owned(), codes)]));
    running.take().unwrap().kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_that_lapse_under_load_lose_no_code_and_give_none_twice() {
    reservations_that_lapse(many(100), many(1000), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_that_lapse_in_many_lots_lose_no_code_and_give_none_twice() {
    reservations_that_lapse(many(2 * LOTS), many(600), LOTS).await;
}

async fn reservations_that_lapse(codes: usize, users: usize, lots: usize) {
    let data = tempfile::tempdir().unwrap();
    let (api, _running) = apart(data.path()).await;
    let pool = api.pool(json!({})).await;
    assert_eq!(api.import(&pool, csv(codes, lots)).await["added"], codes);
    let confirmed: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    let lapsed = Mutex::new(0);
    let mut dice = Dice(9);
    let visits: Vec<(usize, usize)> = (0..users).map(|user| (user, dice.below(3))).collect();
    let visiting = visits.into_iter().map(|(user, mood)| {
        let (api, pool, confirmed, lapsed) = (&api, &pool, &confirmed, &lapsed);
        async move {
            let body = json!({ "user": format!("user-{user}"), "reserve": 1 });
            let path = format!("/distribute/{pool}");
            let reserved = patiently(Duration::from_secs(60), || async {
                // With so many claimers for so few codes, a claim may lose its conflicts for seconds.
                Some(api.post(&path, body.clone()).await).filter(|reply| !reply.is_undecided())
            })
            .await;
            if reserved.status == 409 {
                return;
            }
            assert!(reserved.status.is_success(), "{}", reserved.text);
            let id = reserved.text_at("claim_id");
            let settle = async |what: &str| {
                let path = format!("/claims/{id}/{what}");
                let settled =
                    async || Some(api.post(&path, json!({})).await).filter(|reply| !reply.is_undecided());
                eventually(settled).await
            };
            match mood {
                // The user never returns.
                0 => {}
                1 => {
                    settle("release").await;
                }
                _ => {
                    let reply = settle("confirm").await;
                    match reply.status.as_u16() {
                        200 => {
                            let before = confirmed.lock().unwrap().insert(reply.text_at("code"), user);
                            assert_eq!(before, None, "{} was given twice", reply.text_at("code"));
                        }
                        _ => {
                            reply.is_problem(409, "reservation-lapsed");
                            *lapsed.lock().unwrap() += 1;
                        }
                    }
                }
            }
        }
    });
    futures_util::stream::iter(visiting).buffer_unordered(in_flight(64)).for_each(|()| async {}).await;
    // Every unconfirmed code returns to the pool and can be claimed by later users.
    let left = codes - confirmed.lock().unwrap().len();
    for user in 0..left {
        let code = patiently(Duration::from_secs(20), || async {
            let reply = api.claim(&pool, &format!("late-{user}")).await;
            reply.status.is_success().then(|| reply.text_at("code"))
        })
        .await;
        let before = confirmed.lock().unwrap().insert(code.clone(), users + user);
        assert_eq!(before, None, "{code} was given twice");
    }
    api.claim(&pool, "too late").await.is_problem(409, "codes-exhausted");
    let confirmed = confirmed.into_inner().unwrap();
    let expected: BTreeSet<String> = (0..codes).map(|n| format!("CODE-{n:06}")).collect();
    assert_eq!(confirmed.keys().cloned().collect::<BTreeSet<_>>(), expected);
    println!("{} reservations lapsed before they were confirmed", lapsed.into_inner().unwrap());
    let counts: Value = patiently(Duration::from_secs(30), || async {
        let counts = api.get(&format!("/code-pools/{pool}")).await.ok()["counts"].clone();
        (counts["claimed"] == codes).then_some(counts)
    })
    .await;
    assert_eq!(counts["remaining"], 0);
}

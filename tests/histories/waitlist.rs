//! Waitlists: each acknowledged subscriber is on the list once, every mail arrives, positions and credits are
//! exact, and a full list has exactly its capacity.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use scenarios::{Api, Call, Reply, address, link_token, patiently};
use serde_json::{Value, json};

use super::{PATIENCE, Storm, seeds};
use crate::mails::{look, pass};

const PEOPLE: usize = 60;
const PLACES: usize = 40;
const APPLICANTS: usize = 60;
const IN_FLIGHT: usize = 12;
const PLACES_PER_REFERRAL: u64 = 3;

/// Time after which the lease of a mail has expired whose worker was killed.
const LEASE: SignedDuration = SignedDuration::from_mins(3);
/// Time for which a subscriber waits for a mail before the other subscribers go on.
const MAIL_WITHIN: Duration = Duration::from_secs(5);

/// Waits for the confirmation mail and returns its token.
async fn confirmation(api: impl Fn() -> Api, email: &str) -> String {
    patiently(PATIENCE, || async {
        let found = api().call("GET", &format!("//outbox.json?to={email}")).try_send().await?;
        found.json["data"].as_array()?.last().map(|mail| link_token(mail, "/verify?token="))
    })
    .await
}

/// Follows the link of a confirmation mail.
async fn verify(storm: &Storm, api: impl Fn() -> Api, token: &str) -> Value {
    let call = || api().call("POST", "/subscribers/verify").json(json!({ "token": token }));
    storm.insist(call, true).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_their_mail_and_their_place_whatever_happens() {
    for seed in seeds() {
        let storm = Storm::new(seed).await;
        let settings =
            json!({ "verification_policy": "double_opt_in", "places_per_referral": PLACES_PER_REFERRAL });
        let waitlist = storm.api().waitlist(settings).await;
        let codes: RefCell<Vec<String>> = RefCell::default();
        let late: RefCell<Vec<(String, Value)>> = RefCell::default();
        let people = (0..PEOPLE).map(|n| {
            let (storm, waitlist, codes, late) = (&storm, &waitlist, &codes, &late);
            async move {
                let email = address(&format!("p{n}"));
                let mut body = json!({ "waitlist_id": waitlist, "email": email, "consent": true });
                let known = codes.borrow().len();
                if known > 0 && storm.below(2) == 0 {
                    body["referral_code"] = json!(codes.borrow()[storm.below(known)]);
                }
                let joined = storm.post("/subscribers", &body, |call| call).await;
                assert_eq!(joined.status, 202, "{}", joined.text);
                let code = body["referral_code"].clone();
                let mail = confirmation(|| storm.api(), &email);
                // A mail whose worker was killed is sent after its lease has expired.
                let Ok(token) = tokio::time::timeout(MAIL_WITHIN, mail).await else {
                    late.borrow_mut().push((email, code));
                    return None;
                };
                let mut verified = verify(storm, || storm.api(), &token).await;
                if storm.below(4) == 0 {
                    verified = verify(storm, || storm.api(), &token).await;
                }
                codes.borrow_mut().push(verified["referral_code"].as_str().unwrap().to_owned());
                Some((verified["id"].as_str().unwrap().to_owned(), code))
            }
        });
        let people = storm.over(stream::iter(people).buffer_unordered(IN_FLIGHT).collect::<Vec<_>>()).await;

        let (platform, api) = storm.calm().await;
        let mut people: Vec<_> = people.into_iter().flatten().collect();
        let late = late.into_inner();
        if !late.is_empty() {
            pass(&platform, LEASE).await;
            look(&platform).await;
        }
        for (email, code) in &late {
            let token = confirmation(|| api.clone(), email).await;
            let verified = verify(&storm, || api.clone(), &token).await;
            people.push((verified["id"].as_str().unwrap().to_owned(), code.clone()));
        }
        let ids: BTreeMap<String, Value> = people.into_iter().collect();
        assert_eq!(ids.len(), PEOPLE, "seed {seed}: an entry for each");
        let everybody = settled(&api, &waitlist, &ids).await;
        let id_of = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
        // Each subscriber has the credits of the friends who joined with the subscriber's code.
        let mut friends: BTreeMap<&str, u64> = BTreeMap::new();
        for code in ids.values().filter_map(Value::as_str) {
            *friends.entry(code).or_default() += 1;
        }
        for entry in &everybody {
            let expected = friends.get(entry["referral_code"].as_str().unwrap()).copied().unwrap_or_default();
            assert_eq!(entry["referrals"], expected, "seed {seed}: credits of {}", id_of(entry));
        }
        let mut positions = api.positions(&waitlist).await;
        positions.sort_by_key(|(_, position)| *position);
        let places: Vec<u64> = positions.iter().map(|(_, position)| *position).collect();
        assert_eq!(
            places,
            (1..=PEOPLE as u64).collect::<Vec<_>>(),
            "seed {seed}: gap-free and duplicate-free"
        );
        let events = api.all(&format!("/waitlists/{waitlist}/events")).await;
        let told = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
        let referred = ids.values().filter(|code| code.is_string()).count();
        assert_eq!(
            (told("subscriber.joined"), told("subscriber.verified"), told("referral.credited")),
            (PEOPLE, PEOPLE, referred),
            "seed {seed}"
        );
        println!(
            "seed {seed}: {PEOPLE} people, {referred} referred, {} mails late, {} requests",
            late.len(),
            storm.asked.get()
        );
    }
}

/// Waits until all subscribers are counted, and returns them.
async fn settled(api: &Api, waitlist: &str, ids: &BTreeMap<String, Value>) -> Vec<Value> {
    patiently(Duration::from_secs(60), || async {
        let everybody = api.all(&format!("/subscribers?waitlist_id={waitlist}")).await;
        let counts = &api.get(&format!("/waitlists/{waitlist}")).await.ok()["counts"];
        let referred = ids.values().filter(|code| code.is_string()).count();
        let credited: u64 = everybody.iter().map(|entry| entry["referrals"].as_u64().unwrap()).sum();
        let all = everybody.len();
        let settled = counts["in_line"] == all && counts["active"] == all && credited == referred as u64;
        (settled && all == ids.len()).then_some(everybody)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_list_has_as_many_as_it_takes_whatever_happens() {
    for seed in seeds() {
        let storm = Storm::new(seed).await;
        let waitlist = storm.api().waitlist(json!({ "capacity": PLACES })).await;
        let apply = |email: String| {
            let (storm, waitlist) = (&storm, &waitlist);
            async move {
                let body = json!({ "waitlist_id": waitlist, "email": email, "consent": true });
                storm.post("/subscribers", &body, |call: Call| call).await
            }
        };
        let applicants = (0..APPLICANTS).map(|n| apply(address(&format!("a{n}"))));
        let replies: Vec<Reply> =
            storm.over(stream::iter(applicants).buffer_unordered(IN_FLIGHT).collect()).await;
        let mut taken = 0;
        for reply in &replies {
            match reply.status.as_u16() {
                200 | 201 => taken += 1,
                _ => reply.is_problem(409, "waitlist-full"),
            }
        }
        let (_platform, api) = storm.calm().await;
        // A seat that no applicant got may become free only now.
        for n in taken..PLACES {
            patiently(Duration::from_secs(60), || async {
                let joined = api.join(&waitlist, &address(&format!("late{n}")), None).await;
                (joined.status == 201).then_some(())
            })
            .await;
        }
        api.join(&waitlist, &address("too-late"), None).await.is_problem(409, "waitlist-full");
        let everybody = api.all(&format!("/subscribers?waitlist_id={waitlist}")).await;
        assert_eq!(everybody.len(), PLACES, "seed {seed}: as many as there are places");
        println!("seed {seed}: {taken} of {PLACES} places taken in {} requests", storm.asked.get());
    }
}

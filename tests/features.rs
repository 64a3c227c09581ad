//! Feature voting: one vote a subscriber and feature, counted exactly under all conditions.

use std::collections::BTreeMap;

use features::feature::CommentStatus;
use futures_util::{StreamExt, future::join_all, stream};
use groundswell::faults::Faults;
use scenarios::{Api, Dice, Reply, address, eventually, patiently, platform};
use serde_json::{Value, json};

/// Exercises feature voting.
pub async fn tour(api: &Api) {
    let once = |path: &str| api.secret("POST", path).header("idempotency-key", path);
    let waitlist = api.waitlist(json!({})).await;
    let mut features = Vec::new();
    for title in ["One", "Two"] {
        features.push(api.post("/features", json!({ "waitlist_id": waitlist, "title": title })).await.id());
    }
    let [one, two] = &features[..] else { unreachable!() };
    let renamed = api.secret("PATCH", &format!("/features/{one}")).header("if-match", "*");
    renamed.json(json!({ "title": "First" })).send().await.ok();
    let mut people = Vec::new();
    for (name, wanted) in [("ada", vec![one, two]), ("bo", vec![one])] {
        let joined = api.join(&waitlist, &address(name), None).await;
        let token = joined.text_at("token");
        for feature in wanted {
            let path = format!("/features/{feature}/vote");
            once(&path).header("x-subscriber-token", &token).json(json!({})).send().await.ok();
            let said = json!({ "feature_id": feature, "text": "please" });
            let said = api.public("POST", "/comments").header("x-subscriber-token", &token).json(said).send();
            let moderate = format!("/comments/{}/moderate", said.await.id());
            api.secret("PUT", &moderate).json(json!({ "status": "approved" })).send().await.ok();
        }
        people.push((joined.id(), token));
    }
    for path in [
        format!("/features?waitlist_id={waitlist}"),
        format!("/features?waitlist_id={waitlist}&sort=newest"),
        format!("/features/{one}/votes"),
        format!("/features/{one}/events"),
        format!("/analytics/features/{one}"),
        format!("/comments?feature_id={one}"),
        format!("/comments?waitlist_id={waitlist}"),
    ] {
        let call = api.secret("GET", &path).header("x-subscriber-token", &people[0].1);
        assert_eq!(call.send().await.status, 200, "{path}");
    }
    let back =
        api.public("DELETE", &format!("/features/{two}/vote")).header("x-subscriber-token", &people[0].1);
    back.send().await.ok();
    let path = format!("/features/{two}/vote");
    api.public("POST", &path).header("x-subscriber-token", &people[0].1).json(json!({})).send().await.ok();
    eventually(|| async { (api.get(&format!("/features/{one}")).await.ok()["votes"] == 2).then_some(()) })
        .await;
    once(&format!("/features/{one}/merge")).json(json!({ "into": two })).send().await.ok();
    eventually(|| async { (api.get(&format!("/features/{two}")).await.ok()["votes"] == 2).then_some(()) })
        .await;
    api.secret("DELETE", &format!("/subscribers/{}", people[1].0)).send().await;
    api.secret("DELETE", &format!("/features/{two}")).send().await;
    api.secret("DELETE", &format!("/features/{one}")).send().await;
}

/// Subscriber of a waitlist.
#[derive(Clone)]
struct Voter {
    id: String,
    token: String,
}

async fn voter(api: &Api, waitlist: &str) -> Voter {
    let joined = patiently(std::time::Duration::from_secs(30), || async {
        let body = json!({ "waitlist_id": waitlist, "email": address("voter"), "name": "Ada Lovelace", "consent": true });
        let joined = api.secret("POST", "/subscribers").json(body).try_send().await?;
        (joined.status == 201).then_some(joined)
    })
    .await;
    Voter { id: joined.id(), token: joined.text_at("token") }
}

async fn feature(api: &Api, waitlist: &str, title: &str) -> String {
    let made = api.post("/features", json!({ "waitlist_id": waitlist, "title": title })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.id()
}

async fn vote(api: &Api, feature: &str, voter: &Voter) -> Reply {
    let call = api.public("POST", &format!("/features/{feature}/vote"));
    call.header("x-subscriber-token", &voter.token).json(json!({})).send().await
}

async fn unvote(api: &Api, feature: &str, voter: &Voter) -> Reply {
    let call = api.public("DELETE", &format!("/features/{feature}/vote"));
    call.header("x-subscriber-token", &voter.token).send().await
}

async fn comment(api: &Api, feature: &str, voter: &Voter, text: &str) -> Reply {
    let call = api.public("POST", "/comments").header("x-subscriber-token", &voter.token);
    call.json(json!({ "feature_id": feature, "text": text })).send().await
}

async fn moderate(api: &Api, comment: &str, status: &str) -> Value {
    let call = api.secret("PUT", &format!("/comments/{comment}/moderate"));
    call.json(json!({ "status": status })).send().await.ok()
}

/// Waits until a feature has this number of votes and comments.
async fn counted(api: &Api, feature: &str, votes: usize, comments: usize) -> Value {
    patiently(std::time::Duration::from_secs(60), || async {
        let shown = api.get(&format!("/features/{feature}")).await.ok();
        (shown["votes"] == votes && shown["comments"] == comments).then_some(shown)
    })
    .await
}

/// Compares the count of each feature with its stored votes, and the count of each voter with their own votes.
async fn check(api: &Api, features: &[String], voters: &[Voter]) {
    let mut own: BTreeMap<String, u64> = BTreeMap::new();
    for feature in features {
        let votes = api.all(&format!("/features/{feature}/votes")).await;
        for vote in &votes {
            *own.entry(vote["subscriber_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counted(api, feature, votes.len(), 0).await;
    }
    for voter in voters {
        let shown = api.get(&format!("/subscribers/{}", voter.id)).await.ok();
        assert_eq!(shown["votes"], own.get(&voter.id).copied().unwrap_or_default(), "{}", voter.id);
    }
}

#[tokio::test]
async fn a_feature_is_made_changed_and_listed() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let body = json!({ "waitlist_id": waitlist, "title": "Dark mode", "description": "For the night owls.\nAnd the bats." });
    let made = api.post("/features", body).await;
    assert_eq!((made.status.as_u16(), &made.json["status"]), (201, &json!("proposed")));
    assert_eq!((&made.json["votes"], &made.json["demand_index"]), (&json!(0), &json!(0.0)));
    let (dark, export) = (made.id(), feature(&api, &waitlist, "Export").await);
    let path = format!("/features/{dark}");
    let etag = api.get(&path).await.header("etag").to_owned();
    let change = api.secret("PATCH", &path).header("if-match", &etag).json(json!({ "status": "planned" }));
    assert_eq!(change.send().await.ok()["status"], "planned");
    let late = api.secret("PATCH", &path).header("if-match", &etag).json(json!({ "title": "Light mode" }));
    late.send().await.is_problem(412, "precondition-failed");
    api.secret("PATCH", &path).json(json!({})).send().await.is_problem(428, "precondition-required");
    let ada = voter(&api, &waitlist).await;
    vote(&api, &export, &ada).await.ok();
    counted(&api, &export, 1, 0).await;
    let list = |query: &'static str| {
        let call = api.public("GET", &format!("/features?waitlist_id={waitlist}{query}"));
        let call = call.header("x-subscriber-token", &ada.token);
        async move {
            let titles = |entry: &Value| json!([entry["title"], entry["voted"]]);
            call.send().await.ok()["data"].as_array().unwrap().iter().map(titles).collect::<Vec<_>>()
        }
    };
    let (first, second) = (json!(["Export", true]), json!(["Dark mode", false]));
    eventually(|| async { (list("").await == [first.clone(), second.clone()]).then_some(()) }).await;
    assert_eq!(list("&sort=newest").await, [first.clone(), second.clone()]);
    assert_eq!(list("&status=planned").await, [second]);
    assert_eq!(list("&status=shipped").await, Vec::<Value>::new());
    let page = api.get(&format!("/features?waitlist_id={waitlist}&limit=1")).await.ok();
    assert!(page["data"][0].get("voted").is_none(), "nobody asked");
    let next = page["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/features?waitlist_id={waitlist}&limit=1&cursor={next}")).await.ok();
    assert_eq!((&rest["data"][0]["title"], &rest["next_cursor"]), (&json!("Dark mode"), &Value::Null));
    // One vote of one subscriber proves little demand, because the index is a lower bound.
    assert_eq!(api.get(&format!("/features/{export}")).await.ok()["demand_index"], 20.7);
    for (body, field) in [
        (json!({ "waitlist_id": waitlist, "title": "" }), "title"),
        (json!({ "waitlist_id": waitlist, "title": "x", "description": "y".repeat(2001) }), "description"),
        (json!({ "waitlist_id": waitlist, "title": "x", "description": "a\u{202e}b" }), "description"),
        (json!({ "waitlist_id": waitlist, "title": "x", "status": "later" }), "status"),
        (json!({ "waitlist_id": "list", "title": "x" }), "waitlist_id"),
    ] {
        api.post("/features", body).await.refuses(field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_who_vote_and_take_it_back_in_parallel_are_counted_exactly_after_replays_too() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), true, Faults::default()).await else { return };
    let api = Api::new(running.credentials.clone());
    let waitlist = api.waitlist(json!({})).await;
    let features = [feature(&api, &waitlist, "One").await, feature(&api, &waitlist, "Two").await];
    let voters: Vec<Voter> =
        stream::iter(0..1000).map(|_| voter(&api, &waitlist)).buffer_unordered(32).collect().await;
    let mut dice = Dice(11);
    // Voters vote and withdraw several times, some of them at once, so that the final state is open.
    let turns: Vec<(usize, usize, bool)> =
        (0..3000).map(|_| (dice.below(1000), dice.below(2), dice.below(3) > 0)).collect();
    let turn = |(who, what, yes): (usize, usize, bool)| {
        let (api, feature, voter) = (api.clone(), features[what].clone(), voters[who].clone());
        async move {
            let reply =
                if yes { vote(&api, &feature, &voter).await } else { unvote(&api, &feature, &voter).await };
            assert_eq!((reply.status.as_u16(), &reply.json["voted"]), (200, &json!(yes)), "{}", reply.text);
        }
    };
    stream::iter(turns).map(turn).buffer_unordered(64).collect::<Vec<_>>().await;
    check(&api, &features, &voters).await;
    let picture = || async {
        let shown = join_all(features.iter().map(|feature| {
            let (api, path) = (api.clone(), format!("/features/{feature}"));
            async move { (api.get(&path).await.ok(), api.all(&format!("{path}/events")).await.len()) }
        }));
        shown.await
    };
    // The events are complete when two readings find the same number.
    let before = eventually(|| async {
        let picture = (picture().await, picture().await);
        (picture.0 == picture.1).then_some(picture.0)
    })
    .await;
    assert!(before.iter().all(|(shown, events)| shown["votes"].as_u64() > Some(200) && *events > 300));
    // The whole stream once more, in other batches, several at a time.
    let records = running.stream_records().await.unwrap();
    let batches: Vec<_> = records.chunks(90).map(<[Value]>::to_vec).collect();
    let again =
        batches.into_iter().map(|batch| running.invoke("ProjectorFunction", json!({ "Records": batch })));
    for answer in stream::iter(again).buffer_unordered(4).collect::<Vec<_>>().await {
        assert_eq!(answer.unwrap()["batchItemFailures"], json!([]));
    }
    assert_eq!(picture().await, before);
    check(&api, &features, &voters).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_survive_throttles_conflicts_and_lost_answers() {
    let data = tempfile::tempdir().unwrap();
    let faults = Faults::seeded(5, 40, 80, 30);
    let Some(running) = platform(data.path(), false, faults).await else { return };
    let api = Api::new(running.credentials.clone());
    let made = |path: &'static str, body: Value| {
        let api = api.clone();
        patiently(std::time::Duration::from_secs(30), move || {
            let call = api.secret("POST", path).json(body.clone());
            async move { call.try_send().await.filter(|reply| reply.status == 201).map(|reply| reply.id()) }
        })
    };
    let waitlist = made("/waitlists", json!({ "name": "Stormy" })).await;
    let feature = made("/features", json!({ "waitlist_id": waitlist, "title": "x" })).await;
    let voters = join_all((0..40).map(|_| voter(&api, &waitlist))).await;
    let turns = voters.iter().flat_map(|voter| [(voter, true), (voter, false), (voter, true)]);
    let turns = turns.map(|(voter, yes)| {
        let (api, feature, voter) = (api.clone(), feature.clone(), voter.clone());
        async move {
            let path = format!("/features/{feature}/vote");
            let call = if yes {
                api.public("POST", &path).header("x-subscriber-token", &voter.token).json(json!({}))
            } else {
                api.public("DELETE", &path).header("x-subscriber-token", &voter.token)
            };
            let reply = call.try_send().await;
            let fine = |reply: &Reply| reply.status == 200 || reply.is_undecided() || reply.status == 409;
            assert!(reply.as_ref().is_none_or(fine), "{}", reply.unwrap().text);
        }
    });
    let turns: Vec<_> = turns.collect();
    stream::iter(turns).buffer_unordered(16).collect::<Vec<_>>().await;
    let tallied = || async {
        let votes = api.get(&format!("/features/{feature}/votes?limit=100")).await;
        let shown = api.get(&format!("/features/{feature}")).await;
        let mut own = 0;
        for voter in &voters {
            own += api.get(&format!("/subscribers/{}", voter.id)).await.json["votes"].as_u64()?;
        }
        let votes = votes.json["data"].as_array()?.len() as u64;
        (shown.json["votes"] == votes && own == votes).then_some(votes)
    };
    let votes = patiently(std::time::Duration::from_secs(60), tallied).await;
    assert!(votes > 10, "{votes}");
}

#[tokio::test]
async fn a_vote_sent_again_by_its_key_does_not_undo_that_it_was_taken_back() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let (id, voter) = (feature(&api, &waitlist, "x").await, voter(&api, &waitlist).await);
    let keyed = async |key: &str| {
        let call = api.public("POST", &format!("/features/{id}/vote")).header("idempotency-key", key);
        call.header("x-subscriber-token", &voter.token).json(json!({})).send().await.ok()
    };
    // The second request finds the vote already cast and gets the same answer.
    keyed("first").await;
    let answered = keyed("second").await;
    assert_eq!(unvote(&api, &id, &voter).await.ok()["voted"], false);
    for key in ["first", "second"] {
        assert_eq!(keyed(key).await, answered);
        assert_eq!(api.all(&format!("/features/{id}/votes")).await, Vec::<Value>::new(), "{key}");
    }
}

#[tokio::test]
async fn who_may_vote_is_on_the_list_verified_and_in_time() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({ "allowed_origins": ["https://shop.example"] })).await;
    let id = feature(&api, &waitlist, "x").await;
    let path = format!("/features/{id}/vote");
    let ada = voter(&api, &waitlist).await;
    let origin = |call: scenarios::Call| call.header("origin", "https://shop.example").json(json!({})).send();
    let own = |token: &str| api.public("POST", &path).header("x-subscriber-token", token);
    api.public("POST", &path).json(json!({})).send().await.is_problem(403, "subscriber-token-required");
    origin(own("made.up.token")).await.is_problem(403, "subscriber-token-required");
    let evil = own(&ada.token).header("origin", "https://evil.example").json(json!({})).send();
    evil.await.is_problem(403, "origin-not-allowed");
    let call = own(&ada.token).header("idempotency-key", "once");
    assert_eq!(origin(call).await.ok(), json!({ "feature_id": id, "voted": true }));
    let call = own(&ada.token).header("idempotency-key", "once");
    assert_eq!(origin(call).await.status, 200, "once more");
    // Requests of different subscribers are different requests, even with the same idempotency key.
    let cy = voter(&api, &waitlist).await;
    origin(own(&cy.token).header("idempotency-key", "once")).await.ok();
    counted(&api, &id, 2, 0).await;
    let back = api.public("DELETE", &path).header("x-subscriber-token", &cy.token);
    back.header("origin", "https://shop.example").send().await.ok();
    // Subscribers of another list and of another account.
    let elsewhere = api.waitlist(json!({})).await;
    let foreign = voter(&api, &elsewhere).await;
    origin(own(&foreign.token)).await.is_problem(404, "not-found");
    if let Some(stranger) = Api::another_account().await {
        let theirs = stranger.waitlist(json!({})).await;
        let them = voter(&stranger, &theirs).await;
        origin(own(&them.token)).await.is_problem(403, "subscriber-token-required");
        let call = stranger.public("POST", &path).header("x-subscriber-token", &them.token);
        origin(call).await.is_problem(404, "not-found");
    }
    let close = api.secret("PATCH", &format!("/features/{id}")).header("if-match", "*");
    close.json(json!({ "status": "shipped" })).send().await.ok();
    let bo = voter(&api, &waitlist).await;
    origin(own(&bo.token)).await.is_problem(409, "feature-closed");
    let back = api.public("DELETE", &path).header("x-subscriber-token", &ada.token);
    let back = back.header("origin", "https://shop.example").send().await.ok();
    assert_eq!(back["voted"], false, "one may always take a vote back");
    counted(&api, &id, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_unites_the_voters_and_each_counts_once() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let (night, dark) = (feature(&api, &waitlist, "Night").await, feature(&api, &waitlist, "Dark").await);
    let voters = join_all((0..30).map(|_| voter(&api, &waitlist))).await;
    // Ten votes for one feature, ten for the other, ten for both.
    for (position, voter) in voters.iter().enumerate() {
        if position < 20 {
            vote(&api, &night, voter).await.ok();
        }
        if position >= 10 {
            vote(&api, &dark, voter).await.ok();
        }
    }
    let merge = format!("/features/{night}/merge");
    api.post(&merge, json!({ "into": night })).await.refuses("into");
    let elsewhere = api.waitlist(json!({})).await;
    let other = feature(&api, &elsewhere, "x").await;
    api.post(&merge, json!({ "into": other })).await.refuses("into");
    let merged = api.post(&merge, json!({ "into": dark })).await;
    assert_eq!((merged.status.as_u16(), &merged.json["merged_into"]), (202, &json!(dark)));
    // A voter with an outdated page votes while the votes are moved.
    let late = voter(&api, &waitlist).await;
    let voted = vote(&api, &night, &late).await.ok();
    assert_eq!(voted, json!({ "feature_id": dark, "voted": true }));
    // A voter of the merged feature and a voter of both features withdraw their votes.
    assert_eq!(unvote(&api, &night, &voters[0]).await.ok()["voted"], false);
    assert_eq!(unvote(&api, &dark, &voters[12]).await.ok()["voted"], false);
    counted(&api, &dark, 29, 0).await;
    counted(&api, &night, 0, 0).await;
    for (position, voter) in voters.iter().enumerate() {
        let own = eventually(|| async {
            let own = api.get(&format!("/subscribers/{}", voter.id)).await.ok()["votes"].clone();
            (own != 2).then_some(own)
        });
        assert_eq!(own.await, u8::from(![0, 12].contains(&position)), "{position}");
    }
    let listed = api.get(&format!("/features?waitlist_id={waitlist}")).await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "what was merged is not listed");
    api.post(&merge, json!({ "into": dark })).await.is_problem(409, "feature-merged");
    let back = format!("/features/{dark}/merge");
    api.post(&back, json!({ "into": night })).await.is_problem(409, "feature-merged");
    let change = api.secret("PATCH", &format!("/features/{night}")).header("if-match", "*");
    change.json(json!({ "title": "x" })).send().await.is_problem(409, "feature-merged");
    // Votes for a merged feature still reach the last target after the feature in between is deleted.
    let black = feature(&api, &waitlist, "Black").await;
    assert_eq!(api.post(&format!("/features/{dark}/merge"), json!({ "into": black })).await.status, 202);
    assert_eq!(api.secret("DELETE", &format!("/features/{dark}")).send().await.status, 202);
    let later = voter(&api, &waitlist).await;
    assert_eq!(vote(&api, &night, &later).await.ok(), json!({ "feature_id": black, "voted": true }));
    counted(&api, &black, 30, 0).await;
    assert_eq!(api.get(&format!("/features/{dark}")).await.status, 404);
    assert_eq!(unvote(&api, &night, &later).await.ok()["voted"], false);
    counted(&api, &black, 29, 0).await;
}

#[tokio::test]
async fn a_comment_is_seen_once_it_is_approved_and_shows_no_address() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let id = feature(&api, &waitlist, "x").await;
    let ada = voter(&api, &waitlist).await;
    let said = comment(&api, &id, &ada, "I need it <b>now</b>\n😀").await;
    assert_eq!((said.status.as_u16(), &said.json["status"]), (201, &json!("pending")));
    assert!(said.json.get("subscriber_id").is_none() && !said.text.contains('@'), "{}", said.text);
    let public = || async {
        api.public("GET", &format!("/comments?feature_id={id}")).send().await.ok()["data"].clone()
    };
    let waits = eventually(|| async {
        let waits = api.get(&format!("/comments?waitlist_id={waitlist}")).await.ok()["data"].clone();
        (!waits[0].is_null()).then_some(waits)
    })
    .await;
    assert_eq!((&waits[0]["id"], &waits[0]["subscriber_id"]), (&json!(said.id()), &json!(ada.id)));
    assert_eq!(public().await, json!([]), "nobody has approved it");
    for hidden in ["&status=pending", "&status=rejected"] {
        let call = api.public("GET", &format!("/comments?feature_id={id}{hidden}"));
        call.send().await.is_problem(403, "secret-key-required");
    }
    let call = api.public("GET", &format!("/comments?waitlist_id={waitlist}"));
    call.send().await.is_problem(403, "secret-key-required");
    moderate(&api, &said.id(), "approved").await;
    let seen = eventually(|| async { Some(public().await).filter(|seen| *seen != json!([])) }).await;
    assert_eq!(seen[0]["author"], "Ada L.");
    assert!(seen[0].get("subscriber_id").is_none(), "{seen}");
    counted(&api, &id, 0, 1).await;
    assert_eq!(api.get(&format!("/subscribers/{}", ada.id)).await.ok()["comments"], 1);
    moderate(&api, &said.id(), "approved").await;
    moderate(&api, &said.id(), "rejected").await;
    counted(&api, &id, 0, 0).await;
    eventually(|| async { (public().await == json!([])).then_some(()) }).await;
    assert_eq!(api.get(&format!("/subscribers/{}", ada.id)).await.ok()["comments"], 0);
    for (text, field) in [("", "text"), (&"x".repeat(2001) as &str, "text"), ("a\u{202e}b", "text")] {
        comment(&api, &id, &ada, text).await.refuses(field);
    }
    api.get("/comments").await.refuses("feature_id");
    // The limit is five comments a minute.
    let replies = join_all((0..9).map(|_| comment(&api, &id, &ada, "again"))).await;
    assert!(replies.iter().any(|reply| reply.status == 429), "{:?}", replies.last().unwrap().text);
}

#[tokio::test]
async fn votes_and_comments_make_somebody_hot() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let id = feature(&api, &waitlist, "x").await;
    let (ada, bo, cy) =
        (voter(&api, &waitlist).await, voter(&api, &waitlist).await, voter(&api, &waitlist).await);
    vote(&api, &id, &ada).await.ok();
    vote(&api, &id, &bo).await.ok();
    let said = comment(&api, &id, &bo, "and soon").await.id();
    moderate(&api, &said, "approved").await;
    let expected = [&bo.id, &ada.id, &cy.id].map(|id| json!(id));
    eventually(|| async {
        let hot = api.get(&format!("/subscribers?waitlist_id={waitlist}&sort=hot")).await.ok();
        let ids: Vec<_> = hot["data"].as_array().unwrap().iter().map(|entry| entry["id"].clone()).collect();
        (ids == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_takes_their_voice_along_and_a_deleted_feature_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let Some(running) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(running.credentials.clone());
    let waitlist = api.waitlist(json!({})).await;
    let (first, second) = (feature(&api, &waitlist, "1").await, feature(&api, &waitlist, "2").await);
    let (ada, bo) = (voter(&api, &waitlist).await, voter(&api, &waitlist).await);
    for feature in [&first, &second] {
        for voter in [&ada, &bo] {
            vote(&api, feature, voter).await.ok();
            let said = comment(&api, feature, voter, "please").await.id();
            moderate(&api, &said, "approved").await;
        }
        counted(&api, feature, 2, 2).await;
    }
    let once = || async {
        let call = api.public("POST", "/comments").header("x-subscriber-token", &ada.token);
        let call = call.header("idempotency-key", "once");
        call.json(json!({ "feature_id": first, "text": "My name is Ada" })).send().await
    };
    let said = once().await.ok();
    assert_eq!((once().await.ok(), &said["text"]), (said.clone(), &json!("My name is Ada")));
    assert_eq!(api.secret("DELETE", &format!("/subscribers/{}", ada.id)).send().await.status, 204);
    for feature in [&first, &second] {
        counted(&api, feature, 1, 1).await;
    }
    let left = || async {
        let mut left = 0;
        for feature in [&first, &second] {
            let id = feature.parse().unwrap();
            left += features::voters(&running.table, &id, None, 100).await.unwrap().data.len();
            for status in [CommentStatus::Pending, CommentStatus::Approved, CommentStatus::Rejected] {
                let found = features::comments::list(&running.table, &id, status, None, 100).await;
                left += found.unwrap().data.len();
            }
        }
        left
    };
    assert_eq!(left().await, 4, "Bo's, of both");
    once().await.is_problem(404, "not-found");
    assert_eq!(api.secret("DELETE", &format!("/features/{first}")).send().await.status, 202);
    vote(&api, &first, &bo).await.is_problem(409, "feature-deleting");
    let shown = || async { api.get(&format!("/subscribers/{}", bo.id)).await.ok() };
    eventually(|| async { (shown().await["votes"] == 1).then_some(()) }).await;
    patiently(std::time::Duration::from_secs(60), || async {
        (api.get(&format!("/features/{first}")).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(
        api.secret("DELETE", &format!("/waitlists/{waitlist}")).header("if-match", "*").send().await.status,
        202
    );
    patiently(std::time::Duration::from_secs(90), || async {
        let gone = [format!("/waitlists/{waitlist}"), format!("/features/{second}")];
        let gone = join_all(gone.iter().map(|path| api.get(path))).await;
        gone.iter().all(|reply| reply.status == 404).then_some(())
    })
    .await;
    assert_eq!(left().await, 0);
}

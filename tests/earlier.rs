//! Compatibility with data of an earlier version: `written_before/` has a table as it was after the README's
//! walk-through. Expectations may be added. The table is never regenerated.

use groundswell::faults::Faults;
use scenarios::{Api, eventually, platform};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_an_earlier_version_is_read_and_goes_on() {
    let written = concat!(env!("CARGO_MANIFEST_DIR"), "/written_before");
    let data = tempfile::tempdir().unwrap();
    let table = std::fs::read_to_string(format!("{written}/table.sql")).unwrap();
    rusqlite::Connection::open(data.path().join("table.db")).unwrap().execute_batch(&table).unwrap();
    std::fs::copy(format!("{written}/credentials.json"), data.path().join("credentials.json")).unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let first = async |path: &str| api.get(path).await.ok()["data"][0].clone();

    // The waitlist: six subscribers in line. Cy brought three of them and is first.
    let waitlist = first("/waitlists").await["id"].as_str().unwrap().to_owned();
    let list = api.get(&format!("/waitlists/{waitlist}")).await.ok();
    assert_eq!((&list["counts"]["in_line"], &list["counts"]["referrals"]), (&json!(6), &json!(3)), "{list}");
    let found = api.get(&format!("/subscribers?waitlist_id={waitlist}&email=cy@example.com")).await.ok();
    let cy = found["data"][0].clone();
    let id = cy["id"].as_str().unwrap();
    let position = api.get(&format!("/subscribers/{id}/position")).await.ok();
    assert_eq!((&position["position"], &position["total"], &position["referrals"]), (&json!(1), &json!(6), &json!(3)));
    let rewards = first(&format!("/referrals/{id}/rewards")).await;
    assert_eq!((&rewards["name"], &rewards["status"]), (&json!("Early access"), &json!("issued")));
    assert_eq!(first(&format!("/waitlists/{waitlist}/leaderboard")).await["referrals"], 3);

    // A feature with a vote and a comment of Cy.
    let feature = first(&format!("/features?waitlist_id={waitlist}")).await;
    assert_eq!((&feature["title"], &feature["votes"]), (&json!("Dark mode"), &json!(1)));
    assert_eq!(first(&format!("/comments?feature_id={}", feature["id"].as_str().unwrap())).await["text"], "My eyes!");

    // A code pool: Ada still has her code, and others get the next one.
    let pool = first("/code-pools").await["id"].as_str().unwrap().to_owned();
    let claim = async |user: &str| api.post(&format!("/distribute/{pool}"), json!({ "user": user })).await;
    assert_eq!(claim("ada@example.com").await.ok()["code"], "AUTUMN-0001-ABCD");
    assert_eq!(claim("bo@example.com").await.status, 201);
    eventually(|| async {
        let counts = api.get(&format!("/code-pools/{pool}")).await.ok()["counts"].clone();
        (counts == json!({ "imported": 3, "claimed": 2, "redeemed": 0, "remaining": 1 })).then_some(())
    })
    .await;

    // A stamp card, and another visit.
    let programs = api.get("/programs").await.ok();
    let program = programs["data"].as_array().unwrap().iter().find(|program| program["name"] == "Coffee").unwrap();
    let program = program["id"].as_str().unwrap();
    let customer = first(&format!("/customers?program_id={program}")).await["id"].as_str().unwrap().to_owned();
    let redeemed = first(&format!("/customers/{customer}/rewards")).await;
    assert_eq!((&redeemed["reward"], &redeemed["status"]), (&json!("One coffee"), &json!("redeemed")));
    let visit = api.post("/stamps", json!({ "program_id": program, "customer_id": customer })).await.ok();
    assert_eq!(visit["card"]["stamps"], 1, "{visit}");

    // A campaign with its message, and the analytics of all families.
    let campaign = first("/campaigns").await["id"].as_str().unwrap().to_owned();
    assert_eq!(first(&format!("/campaigns/{campaign}/sends")).await["status"], "delivered");
    let funnel = api.get("/analytics/funnel?from=2026-11-30T00:00:00Z&to=2026-12-01T00:00:00Z").await.ok();
    assert_eq!((&funnel["totals"]["join"], &funnel["totals"]["refer"]), (&json!(6), &json!(3)), "{funnel}");

    // The line goes on: a new subscriber is seventh.
    let body = json!({ "waitlist_id": waitlist, "email": "gil@example.com", "consent": true });
    assert_eq!(api.post("/subscribers", body).await.status, 202);
}

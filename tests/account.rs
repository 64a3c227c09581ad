//! Accounts, members, API keys, audit log and health.

use scenarios::{Api, Owned, address};
use serde_json::json;

pub async fn owned(api: &Api) -> Vec<Owned> {
    let key = api.post("/api-keys", json!({ "kind": "secret" })).await.id();
    let member = api.post("/members", json!({ "email": address("member"), "role": "staff" })).await.id();
    vec![Owned::new("api-keys", key), Owned { change: json!({ "role": "staff" }), ..Owned::new("members", member) }]
}

#[tokio::test]
async fn the_platform_says_that_it_is_well() {
    let api = Api::shared();
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(api.call("GET", path).send().await.ok()["status"], "ok");
    }
}

#[tokio::test]
async fn limits_change_one_by_one_and_are_bounded() {
    let Some(api) = Api::another_account().await else { return };
    let patch = |body| api.secret("PATCH", "/account").json(body).send();
    let changed = patch(json!({ "name": "Acme", "limits": { "joins_per_ip_per_minute": 7 } })).await.ok();
    assert_eq!(changed["name"], "Acme");
    assert_eq!(changed["limits"]["joins_per_ip_per_minute"], 7);
    assert_eq!(changed["limits"]["claims_per_ip_per_minute"], 100);
    assert_eq!(api.get("/account").await.ok()["limits"], changed["limits"]);
    patch(json!({ "limits": { "uploads_per_minute": 0 } })).await.refuses("limits.uploads_per_minute");
    patch(json!({ "limits": { "uploads_per_minute": "ten" } })).await.refuses("limits.uploads_per_minute");
    patch(json!({ "limits": { "downloads": 1 } })).await.refuses("limits.downloads");
}

#[tokio::test]
async fn a_key_is_shown_once_and_stored_hashed() {
    let api = Api::shared();
    let created = api.post("/api-keys", json!({ "kind": "secret", "name": "CI" })).await;
    assert_eq!(created.status, 201);
    let key = created.text_at("key");
    assert_eq!(api.call("GET", "/waitlists").key(&key).send().await.status, 200);
    let listed = api.all("/api-keys").await;
    let mine = listed.iter().find(|entry| entry["id"] == created.json["id"]).unwrap();
    assert!(key.starts_with(mine["prefix"].as_str().unwrap()) && mine.get("key").is_none());
    // A repetition of the creating request does not show the key again either.
    let make = || {
        let body = json!({ "kind": "secret", "name": "once" });
        api.secret("POST", "/api-keys").header("idempotency-key", &created.id()).json(body).send()
    };
    let (first, second) = (make().await, make().await);
    assert_eq!((first.id(), second.json.get("key")), (second.id(), None));
}

#[tokio::test]
async fn a_rotated_key_works_for_the_overlap_and_a_revoked_one_not_at_all() {
    let api = Api::shared();
    let works = async |key: &str| api.call("GET", "/waitlists").key(key).send().await.status == 200;
    let old = api.post("/api-keys", json!({ "kind": "secret" })).await.ok();
    let old_key = old["key"].as_str().unwrap();
    let path = format!("/api-keys/{}/rotate", old["id"].as_str().unwrap());
    let rotate = |body| api.post(&path, body);
    let new = rotate(json!({ "overlap_seconds": 600 })).await.ok();
    assert!(works(old_key).await && works(new["key"].as_str().unwrap()).await);
    rotate(json!({})).await.is_problem(409, "key-not-active");

    let rotate_at_once = json!({ "overlap_seconds": 0 });
    let newest =
        api.post(&format!("/api-keys/{}/rotate", new["id"].as_str().unwrap()), rotate_at_once).await.ok();
    assert!(!works(new["key"].as_str().unwrap()).await && works(newest["key"].as_str().unwrap()).await);

    let revoke = || api.secret("DELETE", &format!("/api-keys/{}", newest["id"].as_str().unwrap())).send();
    assert_eq!(revoke().await.status, 204);
    assert!(!works(newest["key"].as_str().unwrap()).await);
    assert_eq!(revoke().await.status, 204, "again is harmless");
    let rotated = api.post(&format!("/api-keys/{}/rotate", newest["id"].as_str().unwrap()), json!({})).await;
    rotated.is_problem(409, "key-not-active");
}

#[tokio::test]
async fn a_key_gives_no_more_than_it_has() {
    let api = Api::shared();
    let made = api.post("/api-keys", json!({ "kind": "secret", "scopes": ["account:write"] })).await.ok();
    let make = |scopes| {
        let body = json!({ "kind": "secret", "scopes": scopes });
        api.call("POST", "/api-keys").key(made["key"].as_str().unwrap()).json(body).send()
    };
    assert_eq!(make(json!(["account:read"])).await.status, 201);
    make(json!(["*"])).await.is_problem(403, "insufficient-scope");
    make(json!(["waitlists:read"])).await.is_problem(403, "insufficient-scope");
    let member = json!({ "email": address("accomplice"), "role": "admin" });
    let made = api.call("POST", "/members").key(made["key"].as_str().unwrap()).json(member).send().await;
    made.is_problem(403, "insufficient-scope");
    api.post("/api-keys", json!({ "kind": "secret", "scopes": ["waitlists:eat"] }))
        .await
        .refuses("scopes[0]");
    api.post("/api-keys", json!({ "kind": "secret", "scopes": [] })).await.refuses("scopes");
    api.post("/api-keys", json!({ "kind": "publishable", "scopes": ["*"] })).await.refuses("scopes");
}

#[tokio::test]
async fn an_account_keeps_an_owner_and_owners_make_owners() {
    let Some(api) = Api::another_account().await else { return };
    let members = api.all("/members").await;
    assert_eq!(members.len(), 1);
    let owner = format!("/members/{}", members[0]["id"].as_str().unwrap());
    api.secret("DELETE", &owner).send().await.is_problem(403, "insufficient-scope");
    let email = address("admin");
    api.post("/members", json!({ "email": email, "role": "owner" }))
        .await
        .is_problem(403, "insufficient-scope");
    let admin = api.post("/members", json!({ "email": email, "role": "admin" })).await;
    assert_eq!(admin.status, 201);
    let again = json!({ "email": email.to_uppercase(), "role": "staff" });
    api.post("/members", again).await.is_problem(409, "member-exists");

    let Some(platform) = scenarios::embedded() else { return };
    let token = platform.oidc.id_token(&api.credentials.oidc_username, std::time::Duration::from_secs(60));
    let as_owner = |method: &str, path: &str| api.call(method, path).key(&token);
    as_owner("DELETE", &owner).send().await.is_problem(409, "last-owner");
    as_owner("PATCH", &owner).json(json!({ "role": "staff" })).send().await.is_problem(409, "last-owner");
    let promoted = format!("/members/{}", admin.id());
    assert_eq!(as_owner("PATCH", &promoted).json(json!({ "role": "owner" })).send().await.status, 200);
    assert_eq!(as_owner("DELETE", &owner).send().await.status, 204);
}

/// A console starts with several concurrent requests.
#[tokio::test]
async fn all_first_requests_of_a_member_are_let_in() {
    let (Some(platform), Some(api)) = (scenarios::embedded(), Api::another_account().await) else { return };
    let email = address("staff");
    assert_eq!(api.post("/members", json!({ "email": email, "role": "admin" })).await.status, 201);
    let token = platform.oidc.id_token(&email, std::time::Duration::from_secs(60));
    let first = (0..8).map(|_| api.call("GET", "/account").key(&token).send());
    for reply in futures_util::future::join_all(first).await {
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
}

#[tokio::test]
async fn the_audit_log_says_who_did_what() {
    let Some(api) = Api::another_account().await else { return };
    let key = api.post("/api-keys", json!({ "kind": "secret" })).await;
    api.secret("DELETE", &format!("/api-keys/{}", key.id())).send().await;
    let log = api.all("/audit-log").await;
    let actions: Vec<_> = log
        .iter()
        .filter(|entry| entry["target"] == key.id())
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["api_key.revoked", "api_key.created"], "newest first");
    let actor = log[0]["actor"].as_str().unwrap();
    assert!(api.credentials.secret_key.contains(actor.trim_start_matches("key_")));
    let page = api.get("/audit-log?limit=1").await.ok();
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    assert!(page["next_cursor"].is_string());
}

#[tokio::test]
async fn an_operator_makes_accounts_and_says_clearly_what_is_wrong_with_a_request() {
    let Some(platform) = scenarios::embedded() else { return };
    let create = |name: &str, owner: &str| {
        let request = json!({ "operation": "create_account", "name": name, "owner": owner });
        platform.invoke("JobsFunction", request)
    };
    let made = create("Acme", "ada@example.com").await.unwrap();
    let mut api = Api::shared();
    api.credentials.account_id = serde_json::from_value(made["account_id"].clone()).unwrap();
    api.credentials.secret_key = made["secret_key"].as_str().unwrap().to_owned();
    assert_eq!(api.get("/account").await.ok()["name"], "Acme");
    assert_eq!(api.all("/members").await[0]["email"], "ada@example.com");
    let actions: Vec<_> =
        api.all("/audit-log").await.into_iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions.len(), 3, "{actions:?}");

    for (name, owner) in [("", "ada@example.com"), ("Acme", "ada")] {
        assert!(create(name, owner).await.is_err(), "{name} {owner}");
    }
    let unknown = platform.invoke("JobsFunction", json!({ "operation": "drop_account" })).await.unwrap_err();
    assert!(unknown.to_string().contains("drop_account"), "{unknown}");
}

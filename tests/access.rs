//! Access control: every route of the OpenAPI document refuses every kind of invalid or insufficient credentials.

use std::time::Duration;

use accounts::{
    api_key::{ApiKey, KeyKind},
    id::ApiKeyId,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::token::{self, Purpose};
use jiff::Timestamp;
use scenarios::{Api, Owned, address, embedded, link_token, phone};
use serde_json::{Value, json};

use crate::document::operations;

fn guarded() -> Vec<(String, String, String)> {
    let all = operations();
    let guarded: Vec<_> = all
        .into_iter()
        .filter(|(_, _, access)| !["public", "token", "hook"].contains(&access.as_str()))
        .collect();
    assert!(guarded.len() > 20, "the document is there");
    guarded
}

/// One object of each kind that an account has.
struct Belongings {
    waitlist: String,
    subscriber: String,
    referral: String,
    export: String,
    pool: String,
    import: String,
    code: String,
    claim: String,
    program: String,
    customer: String,
    stamp: String,
    card_reward: String,
    campaign: String,
    feature: String,
    comment: String,
    /// Objects that the scenarios of each family list.
    others: Vec<Owned>,
}

impl Belongings {
    async fn of(api: &Api) -> Self {
        let waitlist = api.waitlist(json!({})).await;
        let friend = api.join(&waitlist, &address("owner"), None).await;
        let code = friend.text_at("referral_code");
        let joined = api.join(&waitlist, &address("friend"), Some(&code)).await.id();
        let export =
            api.post("/exports", json!({ "kind": "subscribers", "waitlist_id": waitlist })).await.id();
        let pool = api.pool(json!({})).await;
        let import = api.import(&pool, "code\nOWNERS-CODE\n").await;
        let claim = api.claim(&pool, "owner").await;
        let code = api.get(&format!("/code-pools/{pool}/codes")).await.ok()["data"][0]["id"].clone();
        let program = api.program(json!({ "stamps_required": 1 })).await;
        let customer = api.customer(&program).await;
        let stamp = json!({ "program_id": program, "customer_id": customer });
        let given = api.post("/stamps", stamp).await;
        let settings = json!({ "name": "x", "program_id": program, "trigger": { "kind": "birthday" },
            "template": { "channel": "email", "subject": "x", "text": "y" } });
        let campaign = api.post("/campaigns", settings).await.id();
        let feature = api.post("/features", json!({ "waitlist_id": waitlist, "title": "x" })).await.id();
        let comment = json!({ "feature_id": feature, "text": "x" });
        let call = api.public("POST", "/comments").header("x-subscriber-token", &friend.text_at("token"));
        let comment = call.json(comment).send().await.id();
        Self {
            campaign,
            feature,
            comment,
            others: crate::owned(api).await,
            stamp: given.id(),
            card_reward: given.json["rewards"][0]["id"].as_str().unwrap().to_owned(),
            program,
            customer,
            import: import["id"].as_str().unwrap().to_owned(),
            code: code.as_str().unwrap().to_owned(),
            claim: claim.text_at("claim_id"),
            pool,
            referral: joined.replace("sub_", "ref_"),
            subscriber: friend.id(),
            waitlist,
            export,
        }
    }

    /// Returns the path with the id of the object that it refers to.
    fn path(&self, path: &str) -> String {
        let id = match path.trim_start_matches("/api/v1/").trim_start_matches("analytics/") {
            // Referrals are counted by waitlist.
            _ if path.contains("/analytics/referrals") => &self.waitlist,
            rest if rest.starts_with("waitlists") => &self.waitlist,
            rest if rest.starts_with("subscribers") => &self.subscriber,
            rest if rest.starts_with("referrals")
                && (rest.ends_with("revoke") || rest.ends_with("restore")) =>
            {
                &self.referral
            }
            rest if rest.starts_with("referrals") => &self.subscriber,
            rest if rest.starts_with("exports") => &self.export,
            rest if rest.starts_with("code-pools") || rest.starts_with("distribute") => &self.pool,
            rest if rest.starts_with("codes") => &self.code,
            rest if rest.starts_with("claims") => &self.claim,
            rest if rest.starts_with("programs") => &self.program,
            rest if rest.starts_with("customers") => &self.customer,
            rest if rest.starts_with("stamps") => &self.stamp,
            rest if rest.starts_with("rewards") => &self.card_reward,
            rest if rest.starts_with("campaigns") => &self.campaign,
            rest if rest.starts_with("features") => &self.feature,
            rest if rest.starts_with("comments") => &self.comment,
            rest if rest.contains('{') => &self.other(path).expect("a family's scenarios say whose id it is").id,
            _ => "",
        };
        let query =
            if path.ends_with("/card") { format!("?program_id={}", self.program) } else { String::new() };
        path.replace("/api/v1", "").replace("{id}", id).replace("{import_id}", &self.import) + &query
    }

    fn other(&self, path: &str) -> Option<&Owned> {
        let rest = path.trim_start_matches("/api/v1").trim_start_matches('/');
        self.others.iter().find(|other| rest.starts_with(other.prefix))
    }

    /// Makes a request body. Bodies that refer to objects refer to those of this account.
    fn body(&self, path: &str) -> Value {
        match path.trim_start_matches("/api/v1") {
            "/subscribers" => json!({ "waitlist_id": self.waitlist, "email": address("x"), "consent": true }),
            "/exports" => json!({ "kind": "subscribers", "waitlist_id": self.waitlist }),
            "/waitlists/{id}/invitations" => json!({ "count": 1 }),
            "/waitlists/{id}" | "/code-pools/{id}" | "/programs/{id}" | "/customers/{id}" => {
                json!({ "name": "mine now" })
            }
            "/campaigns/{id}" => json!({ "name": "mine now" }),
            "/features" => json!({ "waitlist_id": self.waitlist, "title": "mine now" }),
            "/features/{id}" => json!({ "title": "mine now" }),
            "/features/{id}/merge" => json!({ "into": self.feature }),
            "/comments" => json!({ "feature_id": self.feature, "text": "x" }),
            "/comments/{id}/moderate" => json!({ "status": "approved" }),
            "/campaigns/{id}/test" => json!({ "customer_id": self.customer }),
            "/campaigns" => {
                json!({ "name": "x", "program_id": self.program, "trigger": { "kind": "birthday" },
                "template": { "channel": "email", "subject": "x", "text": "y" } })
            }
            "/enrollments" => json!({ "program_id": self.program, "phone": phone(), "consent": true }),
            "/stamps" => json!({ "program_id": self.program, "customer_id": self.customer }),
            "/distribute/{id}" => json!({ "user": "a stranger" }),
            path => match self.other(path).filter(|other| path == format!("/{}/{{id}}", other.prefix)) {
                Some(other) => other.change.clone(),
                None => json!({}),
            },
        }
    }
}

#[tokio::test]
async fn another_accounts_things_do_not_exist() {
    let Some(stranger) = Api::another_account().await else { return };
    let owner = Api::shared();
    let things = Belongings::of(&owner).await;
    let mut tried = 0;
    for (method, path, _) in guarded() {
        let body = things.body(&path);
        let of_a_thing =
            ["waitlist_id", "program_id", "feature_id"].iter().any(|name| body.get(name).is_some());
        let names_things = path.contains("{id}") || (method != "GET" && of_a_thing);
        if names_things {
            let call = stranger.secret(&method, &things.path(&path)).header("if-match", "*");
            let reply = if method == "GET" { call.send().await } else { call.json(body).send().await };
            reply.is_problem(404, "not-found");
            tried += 1;
        }
    }
    let customers = stranger.get(&format!("/customers?program_id={}", things.program)).await;
    customers.is_problem(404, "not-found");
    for list in ["/subscribers", "/subscribers/export", "/referrals", "/features", "/comments"] {
        let reply = stranger.get(&format!("{list}?waitlist_id={}", things.waitlist)).await;
        reply.is_problem(404, "not-found");
    }
    assert!(tried >= 20, "only {tried} routes were tried");
    // The refused requests changed nothing.
    assert_eq!(owner.get(&format!("/subscribers/{}", things.subscriber)).await.status, 200);
    assert_eq!(owner.get(&format!("/waitlists/{}", things.waitlist)).await.ok()["deleting"], false);
}

#[tokio::test]
async fn a_strangers_referral_code_credits_nobody() {
    let Some(stranger) = Api::another_account().await else { return };
    let owner = Api::shared();
    let waitlist = owner.waitlist(json!({})).await;
    let ada = owner.join(&waitlist, &address("ada"), None).await;
    let theirs = stranger.waitlist(json!({})).await;
    let joined = stranger.join(&theirs, &address("eve"), Some(&ada.text_at("referral_code"))).await;
    assert_eq!(joined.status, 201);
    assert!(stranger.get(&format!("/subscribers/{}", joined.id())).await.ok()["referred_by"].is_null());
    let click = json!({ "referral_code": ada.text_at("referral_code") });
    assert_eq!(stranger.post("/referrals", click).await.ok()["tracked"], false);
}

#[tokio::test]
async fn credentials_that_should_not_do_are_refused_on_every_route() {
    let Some(platform) = embedded() else { return };
    let api = Api::shared();
    let made = api.post("/api-keys", json!({ "kind": "secret" })).await.ok();
    let revoked = made["key"].as_str().unwrap().to_owned();
    let gone = api.secret("DELETE", &format!("/api-keys/{}", made["id"].as_str().unwrap())).send().await;
    assert_eq!(gone.status, 204);

    let owner = api.credentials.oidc_username.as_str();
    let now = Timestamp::now().as_second();
    let claims = json!({
        "iss": platform.oidc.issuer(), "aud": "groundswell", "sub": "x", "email": owner,
        "email_verified": true, "iat": now, "nbf": now, "exp": now + 600, "token_use": "id",
    });
    let with = |change: Value| {
        let mut changed = claims.clone();
        for (name, value) in change.as_object().unwrap() {
            changed[name] = value.clone();
        }
        platform.oidc.mint(&changed)
    };
    let good = platform.oidc.id_token(owner, Duration::from_secs(600));
    let parts: Vec<_> = good.split('.').collect();
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    let kid = serde_json::from_str::<Value>(&header).unwrap()["kid"].clone();
    let hs256 = {
        // A token signed with the public key as an HMAC secret: the known algorithm confusion attack.
        let content = format!("{}.{}", encode(json!({ "alg": "HS256", "typ": "JWT", "kid": kid })), parts[1]);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"public");
        format!("{content}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, content.as_bytes()).as_ref()))
    };
    let unknown = ApiKey::generate(ApiKeyId::new(Timestamp::now()), KeyKind::Secret).reveal();
    let secret = &api.credentials.secret_key;
    let wrong_secret = format!("{}{}", &secret[..secret.len() - 4], "AAAA");
    let as_secret = api.credentials.publishable_key.replace("gs_pk_", "gs_sk_");
    let cases = [
        ("no such key", unknown, "invalid-api-key"),
        ("key with another secret", wrong_secret, "invalid-api-key"),
        ("publishable key called secret", as_secret, "invalid-api-key"),
        ("no key at all", "gs_sk_".to_owned(), "invalid-api-key"),
        ("revoked key", revoked, "revoked-api-key"),
        ("garbage", "nonsense".to_owned(), "invalid-token"),
        ("expired", with(json!({ "exp": now - 3600 })), "expired-token"),
        ("not yet valid", with(json!({ "nbf": now + 3600 })), "invalid-token"),
        ("wrong issuer", with(json!({ "iss": "https://evil.example" })), "invalid-token"),
        ("wrong audience", with(json!({ "aud": "somebody-else" })), "invalid-token"),
        ("access token", with(json!({ "token_use": "access" })), "invalid-token"),
        ("unverified address", with(json!({ "email_verified": false })), "not-a-member"),
        ("no member", with(json!({ "email": "nobody@example.com" })), "not-a-member"),
        ("forged", format!("{}.{}.{}", parts[0], encode(claims.clone()), parts[2]), "invalid-token"),
        ("alg none", format!("{}.{}.", encode(json!({ "alg": "none" })), parts[1]), "invalid-token"),
        ("HS256 with the public key", hs256, "invalid-token"),
        (
            "unknown key id",
            format!("{}.{}.{}", encode(json!({ "alg": "ES256", "kid": "x" })), parts[1], parts[2]),
            "invalid-token",
        ),
    ];
    for (method, path, _) in guarded() {
        let path = path.replace("/api/v1", "").replace("{id}", "x").replace("{import_id}", "x");
        for (case, credentials, slug) in &cases {
            let reply = api.call(&method, &path).key(credentials).send().await;
            assert_eq!(reply.status, 401, "{case}: {method} {path}: {}", reply.text);
            reply.is_problem(401, slug);
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
        api.call(&method, &path).send().await.is_problem(401, "unauthorized");
    }
}

/// Makes tokens that must be refused where a token of this purpose is expected. Returns each with the reason.
fn bad_tokens(good: &str, of_other_purposes: &[String], of_others: &[String]) -> Vec<(&'static str, String)> {
    let parts: Vec<_> = good.split('.').collect();
    let [purpose, subject, expiry, tag] = parts[..] else { panic!("{good} has four parts") };
    let last = if tag.ends_with('A') { 'B' } else { 'A' };
    let mut bad = vec![
        ("empty", String::new()),
        ("garbage", "nonsense".to_owned()),
        ("huge", "x".repeat(6000)),
        ("dots", "....".to_owned()),
        ("cut short", good[..good.len() - 1].to_owned()),
        ("another signature", format!("{purpose}.{subject}.{expiry}.{}{last}", &tag[..tag.len() - 1])),
        ("no signature", format!("{purpose}.{subject}.{expiry}.")),
        ("another time", format!("{purpose}.{subject}.{}.{tag}", i64::from(u32::MAX))),
        ("something appended", format!("{good}.x")),
    ];
    bad.extend(of_other_purposes.iter().map(|token| ("another purpose", token.clone())));
    bad.extend(of_other_purposes.iter().map(|token| {
        let (_, rest) = token.split_once('.').unwrap();
        ("another purpose under this one's name", format!("{purpose}.{rest}"))
    }));
    bad.extend(of_others.iter().map(|token| ("somebody else's", token.clone())));
    bad
}

#[tokio::test]
async fn tokens_that_should_not_do_are_refused_on_every_route_that_takes_one() {
    let (Some(platform), Some(stranger)) = (embedded(), Api::another_account().await) else { return };
    let owner = Api::shared();
    let things = Belongings::of(&owner).await;
    let join = async |api: &Api| {
        let list = api.waitlist(json!({})).await;
        api.join(&list, &address("token"), None).await
    };
    let strangers = join(&stranger).await.text_at("token");
    let email = address("mail");
    let list = owner.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    owner.join(&list, &email, None).await;
    let mail = owner.mail(&email).await;
    let (verify, stop) = (link_token(&mail, "/verify?token="), link_token(&mail, "/unsubscribe?token="));
    let own = owner.join(&things.waitlist, &address("own"), None).await;
    let mut tried = 0;

    // Tokens of another account or of another purpose identify no subscriber. Tokens of another subscriber do not
    // match the subscriber in the path.
    let subscribers = bad_tokens(&own.text_at("token"), &[verify.clone(), stop.clone()], &[strangers]);
    let document: Value =
        serde_json::from_str(include_str!("../docs/openapi.json")).expect("the document is JSON");
    for (method, path, access) in guarded() {
        let operation = &document["paths"][&path][method.to_lowercase()];
        let takes = operation["parameters"].to_string().contains("X-Subscriber-Token");
        if !takes || !access.starts_with("publishable") {
            continue;
        }
        let at = things.path(&path);
        // The list of features is public and needs no token, but a token that is sent must be valid.
        let at =
            if path.ends_with("/features") { format!("{at}?waitlist_id={}", things.waitlist) } else { at };
        for (case, token) in &subscribers {
            let call = owner.public(&method, &at).header("x-subscriber-token", token);
            let reply =
                if method == "POST" { call.json(things.body(&path)).send().await } else { call.send().await };
            assert!(!reply.status.is_success(), "{case}: {method} {path}: {}", reply.text);
            reply.is_problem(403, "subscriber-token-required");
            tried += 1;
        }
        if path.contains("/subscribers/{id}") || path.contains("/referrals/{id}") {
            let call = owner.public(&method, &at).header("x-subscriber-token", &own.text_at("token"));
            call.send().await.is_problem(403, "subscriber-token-required");
        }
    }

    let key = accounts::signing_key(&platform.table, &owner.credentials.account_id).await.unwrap();
    let customer: domain::id::CustomerId = things.customer.parse().unwrap();
    let opt_out = token::issue(&key, Purpose::OptOut, &customer, None);
    let purposes = [verify, stop, opt_out, own.text_at("token")];
    for (method, path, access) in operations() {
        if access != "token" {
            continue;
        }
        let good = match path.as_str() {
            _ if path.ends_with("/verify") => &purposes[0],
            _ if path.contains("/customers/") => &purposes[2],
            _ => &purposes[1],
        };
        let others: Vec<_> = purposes.iter().filter(|token| *token != good).cloned().collect();
        for (case, token) in bad_tokens(good, &others, &[]) {
            let path = path.replace("/api/v1", "");
            let query = format!("{path}?token={token}");
            let reply = match (method.as_str(), path.as_str()) {
                ("POST", "/subscribers/verify") => {
                    owner.call("POST", &path).json(json!({ "token": token })).send().await
                }
                ("POST", _) => {
                    let form = "List-Unsubscribe=One-Click";
                    owner.call("POST", &query).body("application/x-www-form-urlencoded", form).send().await
                }
                _ => owner.call(&method, &query).send().await,
            };
            // A GET of an unsubscribe link shows a confirmation page and changes nothing.
            if method != "GET" {
                assert!(!reply.status.is_success(), "{case}: {method} {path}: {}", reply.text);
                reply.is_problem(401, "invalid-token");
            }
            tried += 1;
        }
    }
    assert!(tried > 80, "only {tried} tokens were tried");
    // The refused tokens changed nothing.
    let shown = owner.all(&format!("/subscribers?waitlist_id={list}")).await;
    assert_eq!((&shown[0]["status"], &shown[0]["unsubscribed_at"]), (&json!("pending"), &Value::Null));
    assert_eq!(owner.all(&format!("/features/{}/votes", things.feature)).await, Vec::<Value>::new());
    let customer = owner.get(&format!("/customers/{}", things.customer)).await.ok();
    assert_eq!(customer["consent"]["granted"], true, "{customer}");
    println!("{tried} bad tokens refused");
}

#[tokio::test]
async fn a_publishable_key_and_a_key_without_the_scope_stay_outside() {
    let api = Api::shared();
    let mut publishable = 0;
    for (method, path, access) in guarded() {
        let reply = api
            .public(&method, &path.replace("/api/v1", "").replace("{id}", "x").replace("{import_id}", "x"))
            .send()
            .await;
        if access.starts_with("publishable") {
            publishable += 1;
            assert_ne!(
                reply.json["type"], "https://groundswell.dev/problems/secret-key-required",
                "{method} {path}"
            );
        } else {
            reply.is_problem(403, "secret-key-required");
        }
    }
    assert!(publishable >= 5);
    // A key with each single scope, on every route.
    for family in [
        "account",
        "waitlists",
        "subscribers",
        "referrals",
        "features",
        "codes",
        "stamps",
        "till",
        "campaigns",
        "analytics",
    ] {
        for action in ["read", "write"] {
            let own = format!("{family}:{action}");
            let made = api.post("/api-keys", json!({ "kind": "secret", "scopes": [own] })).await.ok();
            let key = made["key"].as_str().unwrap();
            for (method, path, access) in guarded() {
                let needed = access.trim_start_matches("publishable or ");
                let covered = needed == own || (action == "write" && needed == format!("{family}:read"));
                if !covered {
                    let path = path.replace("/api/v1", "").replace("{id}", "x").replace("{import_id}", "x");
                    let reply = api.call(&method, &path).key(key).send().await;
                    reply.is_problem(403, "insufficient-scope");
                }
            }
        }
    }
}

#[tokio::test]
async fn members_act_by_their_role() {
    let Some(platform) = embedded() else { return };
    let Some(api) = Api::another_account().await else { return };
    let token = |email: &str| platform.oidc.id_token(email, Duration::from_secs(600));
    let owner = token(&api.credentials.oidc_username);
    let waitlists = api.call("GET", "/waitlists").key(&owner).send().await;
    assert_eq!(waitlists.status, 200, "{}", waitlists.text);

    let email = address("staff");
    let invite = json!({ "email": email, "role": "staff" });
    let member = api.call("POST", "/members").key(&owner).json(invite).send().await;
    assert_eq!(member.status, 201, "{}", member.text);
    let staff = token(&email);
    assert_eq!(api.call("GET", "/waitlists").key(&staff).send().await.status, 200);
    let refused = api.call("POST", "/waitlists").key(&staff).json(json!({ "name": "x" })).send().await;
    refused.is_problem(403, "insufficient-scope");
    api.call("GET", "/members").key(&staff).send().await.is_problem(403, "insufficient-scope");
    // Staff may add stamps at the till.
    let program = api.program(json!({})).await;
    let visit = json!({ "program_id": program, "customer_id": api.customer(&program).await });
    let stamped = api.call("POST", "/stamps").key(&staff).json(visit).send().await;
    assert_eq!(stamped.status, 201, "{}", stamped.text);
    let change = api.call("PATCH", &format!("/programs/{program}")).key(&staff).header("if-match", "*");
    change.json(json!({ "name": "x" })).send().await.is_problem(403, "insufficient-scope");

    // A different mailbox is a different person, even where some mail servers deliver both to one mailbox.
    let tagged = token(&email.replace('@', "+x@"));
    api.call("GET", "/waitlists").key(&tagged).send().await.is_problem(401, "not-a-member");

    // The membership is bound to the subject that first signed in.
    let now = Timestamp::now().as_second();
    let other = platform.oidc.mint(&json!({
        "iss": platform.oidc.issuer(), "aud": "groundswell", "sub": "somebody-else", "email": email,
        "email_verified": true, "exp": now + 600,
    }));
    api.call("GET", "/waitlists").key(&other).send().await.is_problem(401, "not-a-member");

    // A deleted membership ends at once.
    let gone = api.call("DELETE", &format!("/members/{}", member.id())).key(&owner).send().await;
    assert_eq!(gone.status, 204);
    api.call("GET", "/waitlists").key(&staff).send().await.is_problem(401, "not-a-member");
}

#[tokio::test]
async fn a_member_of_two_accounts_says_which() {
    let Some(platform) = embedded() else { return };
    let (Some(one), Some(two)) = (Api::another_account().await, Api::another_account().await) else { return };
    let email = address("consultant");
    for api in [&one, &two] {
        api.post("/members", json!({ "email": email, "role": "admin" })).await.ok();
    }
    let token = platform.oidc.id_token(&email, Duration::from_secs(600));
    one.call("GET", "/account").key(&token).send().await.is_problem(401, "account-required");
    for api in [&one, &two] {
        let id = api.credentials.account_id.as_str();
        let account = api.call("GET", "/account").key(&token).header("x-account-id", id).send().await.ok();
        assert_eq!(account["id"], id);
    }
    let elsewhere = Api::shared().credentials.account_id;
    let reply =
        one.call("GET", "/account").key(&token).header("x-account-id", elsewhere.as_str()).send().await;
    reply.is_problem(401, "not-a-member");
}

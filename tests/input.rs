//! Invalid input gets a clear error that names the field, and never a 5xx.

use scenarios::{Api, address, lacks};
use serde_json::{Value, json};

#[tokio::test]
async fn what_is_not_json_is_said_to_be_not_json() {
    let api = Api::shared();
    let send = |body: Vec<u8>| api.secret("POST", "/waitlists").raw(body).send();
    for body in ["{", "{\"name\":}", "nul", "{\"name\": \"a\"} x", "[1,", "\u{feff}{}", "{\"name\": \"a\\"] {
        send(body.as_bytes().to_vec()).await.is_problem(400, "malformed-json");
    }
    if !lacks("bodies that are no text") {
        send(b"{\"name\": \"\xff\xfe\"}".to_vec()).await.is_problem(400, "malformed-json");
    }
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    send(deep.clone().into_bytes()).await.refuses("");
    send(format!("{{\"branding\": {deep}}}").into_bytes()).await.refuses("branding[0]");
    for body in ["[\"My list\"]", "\"name\"", "null", "7"] {
        send(body.as_bytes().to_vec()).await.refuses("");
    }
    let metadata = format!(
        "{{\"metadata\": {{\"a\": {deep}}}, \"email\": \"a@example.com\", \"consent\": true, \"waitlist_id\": \"wl_x\"}}"
    );
    let reply = api.public("POST", "/subscribers").raw(metadata).send().await;
    reply.is_problem(400, "malformed-json");
    send(vec![b' '; 1024 * 1024]).await.is_problem(413, "payload-too-large");
    send(vec![b' '; 11 * 1024 * 1024]).await.is_problem(413, "payload-too-large");

    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let reply = api.secret("POST", "/waitlists").body(content_type, "{\"name\":\"x\"}").send().await;
        reply.is_problem(415, "unsupported-media-type");
    }
    api.secret("POST", "/waitlists").send().await.refuses("name");
}

#[tokio::test]
async fn a_refused_field_is_named() {
    let api = Api::shared();
    let long = "x".repeat(10_000);
    for (change, path) in [
        (json!({ "name": 1 }), "name"),
        (json!({ "name": null }), "name"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": long }), "name"),
        (json!({ "name": "a\r\nb" }), "name"),
        (json!({ "name": "a\u{0}b" }), "name"),
        (json!({ "name": "\u{202e}evil" }), "name"),
        (json!({ "slug": "Not A Slug" }), "slug"),
        (json!({ "slug": "a#b" }), "slug"),
        (json!({ "status": "opened" }), "status"),
        (json!({ "locale": "english!" }), "locale"),
        (json!({ "capacity": 0 }), "capacity"),
        (json!({ "capacity": -1 }), "capacity"),
        (json!({ "capacity": 1.5 }), "capacity"),
        (json!({ "capacity": "5" }), "capacity"),
        (json!({ "places_per_referral": 10_001 }), "places_per_referral"),
        (json!({ "allowed_origins": ["*"] }), "allowed_origins[0]"),
        (json!({ "allowed_origins": "https://a.example" }), "allowed_origins"),
        (
            json!({ "reward_tiers": [{ "referrals": 1, "name": "a" }, { "referrals": "x", "name": "b" }] }),
            "reward_tiers[1].referrals",
        ),
        (json!({ "reward_tiers": [{ "referrals": 1 }] }), "reward_tiers[0].name"),
        (
            json!({ "reward_tiers": [{ "referrals": 1, "name": "a" }, { "referrals": 1, "name": "b" }] }),
            "reward_tiers",
        ),
        (json!({ "branding": { "logo_url": "javascript:alert(1)" } }), "branding.logo_url"),
        (json!({ "branding": { "colour": "#000000" } }), "branding.colour"),
        (json!({ "page_url": "http://example.com" }), "page_url"),
        (json!({ "shoe_size": 43 }), "shoe_size"),
    ] {
        let mut body = json!({ "name": "Fine" });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let reply = api.post("/waitlists", body).await;
        assert_eq!(reply.status, 422, "{change}: {}", reply.text);
        reply.refuses(path);
    }
}

#[tokio::test]
async fn a_join_with_bad_fields_is_refused_by_field() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let huge: Value = json!({ "a": "x".repeat(5000) });
    for (change, path) in [
        (json!({ "email": "ada" }), "email"),
        (json!({ "email": "ada@example.com\r\nBcc: eve@example.com" }), "email"),
        (json!({ "email": format!("{}@example.com", "a".repeat(10_000)) }), "email"),
        (json!({ "email": 7 }), "email"),
        (json!({ "email": null }), "email"),
        (json!({ "email": "😀@example.com" }), "email"),
        (json!({ "name": "x".repeat(10_000) }), "name"),
        (json!({ "consent": "yes" }), "consent"),
        (json!({ "metadata": [] }), "metadata"),
        (json!({ "metadata": huge }), "metadata"),
        (json!({ "source": "" }), "source"),
        (json!({ "waitlist_id": "sub_01m7yhxdtz0cyjt48f3t3fhnyh" }), "waitlist_id"),
        (json!({ "waitlist_id": "wl_'; drop table" }), "waitlist_id"),
        (json!({ "admin": true }), "admin"),
    ] {
        let mut body = json!({ "waitlist_id": waitlist, "email": address("x"), "consent": true });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let reply = api.public("POST", "/subscribers").json(body).send().await;
        assert_eq!(reply.status, 422, "{change}: {}", reply.text);
        reply.refuses(path);
    }
    let mut missing = json!({ "waitlist_id": waitlist, "email": address("x"), "consent": true });
    for field in ["waitlist_id", "email", "consent"] {
        let value = missing.as_object_mut().unwrap().remove(field).unwrap();
        api.public("POST", "/subscribers").json(missing.clone()).send().await.refuses(field);
        missing[field] = value;
    }
}

#[tokio::test]
async fn text_of_all_scripts_and_odd_numbers_come_back_as_they_went() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({ "name": "قائمة 👩‍🚀 שלום" })).await;
    assert_eq!(api.get(&format!("/waitlists/{waitlist}")).await.ok()["name"], "قائمة 👩‍🚀 שלום");
    let metadata = json!({ "big": 1e300, "small": 5e-324, "int": u64::MAX, "neg": i64::MIN, "": "empty", "nested": { "é": [null, {}] } });
    let body = json!({
        "waitlist_id": waitlist, "email": address("Åsa".to_ascii_lowercase().as_str().trim_start_matches('å').trim_start_matches('Å')),
        "name": "李小龙", "consent": { "granted": false, "text": "v2 – «oui»" }, "metadata": metadata,
    });
    let joined = api.public("POST", "/subscribers").json(body).send().await;
    assert_eq!(joined.status, 201, "{}", joined.text);
    let read = api.get(&format!("/subscribers/{}", joined.id())).await.ok();
    assert_eq!((&read["name"], &read["metadata"]), (&json!("李小龙"), &metadata));
    assert_eq!(
        (&read["consent"]["granted"], &read["consent"]["text"]),
        (&json!(false), &json!("v2 – «oui»"))
    );
}

/// All text fields follow one policy.
#[tokio::test]
async fn every_field_takes_the_same_texts() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    let program = api.program(json!({})).await;
    let feature = api.post("/features", json!({ "waitlist_id": waitlist, "title": "x" })).await.id();
    // Path of a request, pointer to a field, and true if the field is a single line.
    let fields = [
        ("/waitlists", "/name", true),
        ("/subscribers", "/name", true),
        ("/features", "/title", true),
        ("/features", "/description", false),
        ("/comments", "/text", false),
        ("/programs", "/name", true),
        ("/programs", "/reward", true),
        ("/campaigns", "/name", true),
        ("/campaigns", "/template/subject", true),
        ("/campaigns", "/template/text", false),
    ];
    let post = async |path: &str, field: &str, text: &str| {
        let mut body = match path {
            "/waitlists" => json!({ "name": "x" }),
            "/subscribers" => {
                json!({ "waitlist_id": waitlist, "email": address("x"), "name": "x", "consent": true })
            }
            "/features" => json!({ "waitlist_id": waitlist, "title": "x", "description": "x" }),
            "/comments" => json!({ "feature_id": feature, "text": "x" }),
            "/programs" => json!({ "name": "x", "reward": "x" }),
            _ => json!({ "name": "x", "program_id": program, "trigger": { "kind": "segment" },
                "template": { "channel": "email", "subject": "x", "text": "x" } }),
        };
        *body.pointer_mut(field).unwrap() = json!(text);
        let call = match path {
            // Each subscriber may write five comments a minute.
            "/comments" => {
                let author = api.join(&waitlist, &address("author"), None).await.text_at("token");
                api.public("POST", path).header("x-subscriber-token", &author)
            }
            _ => api.secret("POST", path),
        };
        call.json(body).send().await
    };
    let emoji = "Go 🏴󠁧󠁢󠁥󠁮󠁧󠁿🏴󠁧󠁢󠁳󠁣󠁴󠁿🏴󠁧󠁢󠁷󠁬󠁳󠁿 🇩🇪 ❤️‍🔥 👨‍👩‍👧‍👦 1️⃣ 👍🏽!";
    let cases = [
        // Text, its result in a single-line field, and its result in a multi-line field.
        (emoji, Ok(emoji), Ok(emoji)),
        (
            "می\u{200c}خواهم \u{2068}x\u{2069}",
            Ok("می\u{200c}خواهم \u{2068}x\u{2069}"),
            Ok("می\u{200c}خواهم \u{2068}x\u{2069}"),
        ),
        ("soft\u{ad}ly\tdone\u{feff}", Ok("softly done"), Ok("soft\u{ad}ly\tdone")),
        ("a\u{e0067}\u{fe0f}\u{fe0f}b\u{2069}", Ok("a\u{fe0f}b"), Ok("a\u{fe0f}b")),
        (
            "one\r\ntwo\rthree\n\nfour\u{2028}five",
            Err("a line break at character 4"),
            Ok("one\ntwo\nthree\n\nfour\nfive"),
        ),
        ("x\r\n", Ok("x"), Ok("x")),
        (
            "a\u{202e}b",
            Err("U+202E RIGHT-TO-LEFT OVERRIDE at character 2"),
            Err("U+202E RIGHT-TO-LEFT OVERRIDE at character 2"),
        ),
        (
            "a\u{0}b",
            Err("a control character (U+0000) at character 2"),
            Err("a control character (U+0000) at character 2"),
        ),
        ("\u{200b}\u{e0067}\u{200d}", Err("is empty"), Err("is empty")),
    ];
    for (path, field, one_line) in fields {
        for (text, one, many) in cases {
            let reply = post(path, field, text).await;
            match if one_line { one } else { many } {
                Ok(expected) => {
                    assert_eq!(reply.status, 201, "{path}{field} {text:?}: {}", reply.text);
                    // A page that adds a subscriber does not see the name in the response.
                    let shown = match path {
                        "/subscribers" => api.get(&format!("/subscribers/{}", reply.id())).await.ok(),
                        _ => reply.json,
                    };
                    assert_eq!(shown.pointer(field).unwrap(), expected, "{path}{field}");
                }
                Err(reason) => {
                    reply.is_problem(422, "validation-failed");
                    let error = &reply.json["errors"][0];
                    let named = error["path"].as_str().unwrap().split('.').next().unwrap().to_owned();
                    assert!(field[1..].starts_with(&named), "{path}{field}: {}", reply.text);
                    assert!(
                        error["detail"].as_str().unwrap().contains(reason),
                        "{path}{field}: {}",
                        reply.text
                    );
                }
            }
        }
    }
    let variables = |text: &str| {
        json!({ "name": "x", "program_id": program, "trigger": { "kind": "segment" }, "template": {
            "channel": "whatsapp", "content_sid": format!("HX{}", "0".repeat(32)), "variables": { "1": text } } })
    };
    let made = api.post("/campaigns", variables("a\tb\u{feff} 🏴󠁧󠁢󠁥󠁮󠁧󠁿")).await;
    assert_eq!(made.json["template"]["variables"]["1"], "a b 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "{}", made.text);
    assert_eq!(api.post("/campaigns", variables("a\nb")).await.status, 422);
    assert_eq!(api.post("/campaigns", variables("")).await.status, 201);
}

#[tokio::test]
async fn lists_refuse_what_is_no_cursor_and_no_limit() {
    let api = Api::shared();
    let waitlist = api.waitlist(json!({})).await;
    for list in [
        "/waitlists?".to_owned(),
        "/audit-log?".to_owned(),
        "/api-keys?".to_owned(),
        format!("/subscribers?waitlist_id={waitlist}&"),
        format!("/referrals?waitlist_id={waitlist}&"),
        format!("/waitlists/{waitlist}/events?"),
    ] {
        for cursor in ["x", "", "%00", "AAAA", "MXw", "💥", &"A".repeat(3000)] {
            let reply = api.get(&format!("{list}cursor={cursor}")).await;
            assert_eq!(reply.status, 422, "{list}{cursor}: {}", reply.text);
            reply.refuses("cursor");
        }
        for limit in ["0", "101", "-1", "x", "99999999999999999999", "1.5"] {
            let reply = api.get(&format!("{list}limit={limit}")).await;
            assert_eq!(reply.status, 422, "{list}{limit}: {}", reply.text);
            reply.refuses("limit");
        }
    }
    api.get("/subscribers").await.refuses("waitlist_id");
    api.get(&format!("/subscribers?waitlist_id={waitlist}&status=dead")).await.refuses("status");
    api.get(&format!("/subscribers?waitlist_id={waitlist}&email=nope")).await.refuses("email");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let api = Api::shared();
    for path in [
        "/",
        "/nothing",
        "/waitlists/",
        "/waitlists/x/y/z",
        "/subscribers/%00",
        "/subscribers/%F0%9F%92%A9",
        "/waitlists/wl_1",
    ] {
        api.get(path).await.is_problem(404, "not-found");
    }
    let odd = api
        .secret("GET", "/account")
        .header("x-forwarded-proto", "ht tp")
        .header("x-forwarded-for", "💥")
        .send();
    assert_eq!(odd.await.status, 200);
    api.secret("DELETE", "/waitlists").send().await.is_problem(405, "method-not-allowed");
    api.secret("PUT", "/subscribers").send().await.is_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn random_bodies_never_break_a_route() {
    let api = Api::shared();
    let mut dice = scenarios::Dice(20_261_121);
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "null",
        "1e999",
        "-0",
        "\\u0000",
        "\"name\"",
        "\"email\"",
        "true",
        "\u{feff}",
        "𝒳",
    ];
    for (method, path, access) in crate::document::operations() {
        if method == "GET" || method == "DELETE" {
            continue;
        }
        for _ in 0..5 {
            let body: String = (0..dice.below(12)).map(|_| pieces[dice.below(pieces.len())]).collect();
            let target = format!("/{}", path.replace("{id}", "wl_01m7yhxdqhbwa008tz019wpw3d"));
            let call =
                if access == "token" { api.call(&method, &target) } else { api.secret(&method, &target) };
            let reply = call.header("if-match", "*").raw(body.clone()).send().await;
            assert!(reply.status.as_u16() < 500, "{method} {path} {body:?}: {}", reply.text);
            if reply.status.is_client_error() {
                assert_eq!(
                    reply.header("content-type"),
                    "application/problem+json",
                    "{method} {path} {body:?}"
                );
            }
        }
    }
}

use axum::body::{Body, to_bytes};
use axum::http::Request;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::*;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "fedcba9876543210fedcba9876543210";
const TEMPLATE: &str = "HX00112233445566778899aabbccddeeff";
const TO: &str = "+4915112345678";
const FROM: &str = "+14155550100";

type Form = Vec<(String, String)>;

/// Listener for callbacks and the callbacks that it has received.
struct Webhook {
    url: String,
    heard: mpsc::UnboundedReceiver<(String, String, Form)>,
}

impl Webhook {
    /// Starts a listener that answers with this status.
    async fn answering(status: StatusCode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, heard) = mpsc::unbounded_channel();
        let hear = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let signature = headers["x-twilio-signature"].to_str().unwrap().to_owned();
            let form: Form = form_urlencoded::parse(&body).into_owned().collect();
            sender.send((uri.to_string(), signature, form)).unwrap();
            async move { status }
        };
        let router = Router::new().fallback(hear);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, heard }
    }

    fn status_callback(&self) -> String {
        format!("{}/twilio/status?message_id=m%2B1&account_id=acct_1", self.url)
    }

    /// Returns the path and the form of the next callback. Checks the callback's signature.
    async fn next(&mut self) -> (String, BTreeMap<String, String>) {
        let heard = tokio::time::timeout(Duration::from_secs(10), self.heard.recv()).await;
        let (path, signature, form) = heard.unwrap().unwrap();
        let token = AuthToken::new(TOKEN.to_owned()).unwrap();
        assert!(token.verify_form(&signature, &format!("{}{path}", self.url), &form), "{path}");
        (path, form.into_iter().collect())
    }

    /// Returns the status in the next callback.
    async fn next_status(&mut self) -> String {
        let (path, mut form) = self.next().await;
        assert_eq!(path, "/twilio/status?message_id=m%2B1&account_id=acct_1");
        form.remove("MessageStatus").unwrap()
    }
}

fn open(directory: &TempDir) -> Outbox {
    Outbox::open(&directory.path().join("outbox.db")).unwrap()
}

fn encode(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

async fn call(router: Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    (parts.status, parts.headers, String::from_utf8(body).unwrap())
}

async fn send_as(outbox: &Outbox, pair: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
    let request = Request::post(format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json"))
        .header("authorization", format!("Basic {}", STANDARD.encode(pair)))
        .header("content-type", format!("{FORM}; charset=utf-8"))
        .body(Body::from(encode(form)))
        .unwrap();
    let (status, _, body) = call(router(outbox.clone()), request).await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn send(outbox: &Outbox, form: &[(&str, &str)]) -> (StatusCode, Value) {
    send_as(outbox, &format!("{ACCOUNT}:{TOKEN}"), form).await
}

/// Reads a page at or below `/outbox`. Checks that the page does not contain the token.
async fn look(outbox: &Outbox, path: &str) -> String {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let (_, _, text) = call(outbox.page_router(), request).await;
    assert!(!text.contains(TOKEN));
    text
}

async fn listed(outbox: &Outbox, query: &str) -> Vec<Value> {
    let found: Value = serde_json::from_str(&look(outbox, &format!("/outbox.json{query}")).await).unwrap();
    found["data"].as_array().unwrap().clone()
}

/// Returns the id of the newest message once the message has this status.
async fn id_when(outbox: &Outbox, status: &str) -> String {
    for _ in 0..1000 {
        let newest = &listed(outbox, "?limit=1").await[0];
        if newest["status"] == status {
            return newest["id"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {status}");
}

/// Posts a form of the message's page and returns the response.
async fn simulate(
    outbox: &Outbox,
    id: &str,
    what: &str,
    form: &[(&str, &str)],
    headers: &[(&'static str, &'static str)],
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::post(format!("/outbox/{id}/{what}")).header("content-type", FORM);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    call(outbox.page_router(), request.body(Body::from(encode(form))).unwrap()).await
}

#[tokio::test]
async fn a_message_is_taken_shown_and_reported() {
    let directory = TempDir::new().unwrap();
    let outbox = open(&directory);
    let mut webhook = Webhook::answering(StatusCode::NO_CONTENT).await;
    let callback = webhook.status_callback();
    let form = [("To", TO), ("From", FROM), ("Body", "Two <b>for one</b>"), ("StatusCallback", &*callback)];
    let (status, mut sent) = send(&outbox, &form).await;
    assert_eq!(status, StatusCode::CREATED, "{sent}");
    let (sid, date) = (sent["sid"].take(), sent["date_created"].take());
    let sid = sid.as_str().unwrap();
    assert!(is_sid(sid, "SM") && date.as_str().unwrap().ends_with(" +0000"), "{sid} {date}");
    let expected = json!({
        "sid": null, "account_sid": ACCOUNT, "to": TO, "from": FROM, "body": "Two <b>for one</b>",
        "status": "queued", "error_code": null, "error_message": null, "date_created": null,
        "uri": format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json"), "num_segments": "1",
        "direction": "outbound-api", "api_version": "2010-04-01",
    });
    assert_eq!(sent, expected);

    let (_, form) = webhook.next().await;
    let expected = [
        ("MessageSid", sid),
        ("SmsSid", sid),
        ("AccountSid", ACCOUNT),
        ("From", FROM),
        ("To", TO),
        ("MessageStatus", "sent"),
        ("ApiVersion", "2010-04-01"),
    ];
    assert_eq!(form, owned(expected));
    assert_eq!(webhook.next_status().await, "delivered");

    let id = id_when(&outbox, "delivered").await;
    let outbox = open(&directory);
    let mut listed = listed(&outbox, &format!("?to={TO}")).await;
    listed[0]["at"].take();
    let expected = json!({
        "id": id, "at": null, "channel": "sms", "from": FROM, "to": TO, "text": "Two <b>for one</b>",
        "content_sid": null, "variables": null, "status": "delivered", "sid": sid,
    });
    assert_eq!(listed, [expected]);
    for page in [look(&outbox, "/outbox").await, look(&outbox, &format!("/outbox/{id}")).await] {
        assert!(page.contains("Two &lt;b&gt;for one&lt;/b&gt;"), "{page}");
    }
}

#[tokio::test]
async fn a_template_is_shown_with_its_variables() {
    let outbox = open(&TempDir::new().unwrap());
    let (to, from) = (format!("whatsapp:{TO}"), format!("whatsapp:{FROM}"));
    let variables = r#"{"1":"Ada","2":"10 %"}"#;
    let form = [("To", &*to), ("From", &*from), ("ContentSid", TEMPLATE), ("ContentVariables", variables)];
    let (status, sent) = send(&outbox, &form).await;
    assert_eq!((status, &sent["to"], &sent["body"]), (StatusCode::CREATED, &json!(to), &Value::Null));
    // The message has no callback and is delivered all the same.
    let id = id_when(&outbox, "delivered").await;
    let listed = listed(&outbox, &format!("?to={}", TO.replace('+', "%2B"))).await;
    assert_eq!(listed[0]["channel"], "whatsapp");
    assert_eq!((&listed[0]["to"], &listed[0]["text"]), (&json!(TO), &Value::Null));
    assert_eq!(listed[0]["content_sid"], TEMPLATE);
    assert_eq!(listed[0]["variables"], json!({ "1": "Ada", "2": "10 %" }));
    for page in [look(&outbox, "/outbox").await, look(&outbox, &format!("/outbox/{id}")).await] {
        assert!(page.contains("<dt>{{1}}</dt><dd>Ada</dd>") && page.contains(TEMPLATE), "{page}");
        assert!(!page.contains("<form"));
    }
    for (what, form) in [("status", ("status", "read")), ("reply", ("text", "STOP"))] {
        assert_eq!(simulate(&outbox, &id, what, &[form], &[]).await.0, StatusCode::NOT_FOUND);
        assert_eq!(simulate(&outbox, "none", what, &[form], &[]).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_twilio_refuses_or_is_not_played_is_refused() {
    let outbox = open(&TempDir::new().unwrap());
    let text = [("To", TO), ("From", FROM), ("Body", "Hello")];
    let template = [("To", TO), ("From", FROM), ("ContentSid", TEMPLATE)];
    let long = "x".repeat(MAX_CHARACTERS + 1);
    for (base, name, value, code) in [
        (text, "To", "ada@example.com", 21211),
        (text, "To", "+49 151 12345678", 21211),
        (text, "From", "Groundswell", 21212),
        (text, "From", "whatsapp:+14155550100", 21212),
        (text, "Body", "", 21602),
        (text, "Body", &*long, 21602),
        (text, "StatusCallback", "ftp://example.com/status", 21609),
        (text, "StatusCallback", "http://example.com/status#rc=2", 21609),
        (text, "ContentVariables", "{}", 21654),
        (text, "MediaUrl", "https://example.com/a.png", 20001),
        (template, "ContentSid", "HX1", 21655),
        (template, "ContentVariables", "[]", 21656),
        (template, "ContentVariables", r#"{"1":2}"#, 21656),
        (template, "Body", "Hello", 20001),
    ] {
        let rest = base.into_iter().filter(|(known, _)| *known != name);
        let form: Vec<_> = rest.chain([(name, value)]).collect();
        let (status, body) = send(&outbox, &form).await;
        assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!(code)), "{name}: {body}");
    }
    let (_, twice) = send(&outbox, &[text, text].concat()).await;
    assert_eq!(twice["code"], 20001);
    let (_, unknown) = send(&outbox, &[("MediaUrl", "https://example.com/a.png")]).await;
    assert!(unknown["message"].as_str().unwrap().contains("MediaUrl"));

    let other = ACCOUNT.replace('0', "1");
    for pair in ["", ACCOUNT, &format!("{ACCOUNT}:short"), &format!("{other}:{TOKEN}")] {
        let (status, body) = send_as(&outbox, pair, &text).await;
        let expected = json!({
            "code": 20003, "message": "Authenticate", "status": 401,
            "more_info": "https://www.twilio.com/docs/errors/20003",
        });
        assert_eq!((status, body), (StatusCode::UNAUTHORIZED, expected), "{pair}");
    }
    assert!(listed(&outbox, "").await.is_empty());
}

#[tokio::test]
async fn replies_and_statuses_are_simulated() {
    let outbox = open(&TempDir::new().unwrap());
    let mut webhook = Webhook::answering(StatusCode::OK).await;
    let (to, from) = (format!("whatsapp:{TO}"), format!("whatsapp:{FROM}"));
    let callback = webhook.status_callback();
    let form = [("To", &*to), ("From", &*from), ("Body", "Hello"), ("StatusCallback", &*callback)];
    send(&outbox, &form).await;
    assert_eq!(webhook.next_status().await, "sent");
    assert_eq!(webhook.next_status().await, "delivered");
    let id = id_when(&outbox, "delivered").await;
    assert!(look(&outbox, &format!("/outbox/{id}")).await.contains("<button name=text value=STOP>"));

    let (status, headers, _) = simulate(&outbox, &id, "reply", &[("text", "STOP")], &[]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(headers["location"], format!("/outbox/{id}"));
    let (path, mut form) = webhook.next().await;
    assert_eq!(path, "/twilio/inbound?account_id=acct_1");
    let (sid, again) = (form.remove("MessageSid").unwrap(), form.remove("SmsSid").unwrap());
    assert!(is_sid(&sid, "SM") && sid == again);
    let expected = [
        ("AccountSid", ACCOUNT),
        ("From", &*to),
        ("To", &*from),
        ("Body", "STOP"),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
        ("ApiVersion", "2010-04-01"),
    ];
    assert_eq!(form, owned(expected));

    let failed = [("status", "failed"), ("error_code", "30003")];
    let (status, ..) = simulate(&outbox, &id, "status", &failed, &[]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, form) = webhook.next().await;
    assert_eq!((&*form["MessageStatus"], &*form["ErrorCode"]), ("failed", "30003"));
    assert_eq!(id_when(&outbox, "failed").await, id);

    let read = [("status", "read"), ("error_code", "")];
    assert_eq!(simulate(&outbox, &id, "status", &read, &[]).await.0, StatusCode::SEE_OTHER);
    assert!(!webhook.next().await.1.contains_key("ErrorCode"));

    for (what, form) in [
        ("reply", vec![("text", "")]),
        ("reply", vec![]),
        ("status", vec![("status", "lost")]),
        ("status", vec![("status", "failed"), ("error_code", "x")]),
        ("status", vec![("status", "read"), ("error_code", "30003")]),
    ] {
        let (status, _, text) = simulate(&outbox, &id, what, &form, &[]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what} {form:?}: {text}");
    }
}

#[tokio::test]
async fn a_callback_that_is_refused_is_told() {
    let outbox = open(&TempDir::new().unwrap());
    let webhook = Webhook::answering(StatusCode::FORBIDDEN).await;
    let callback = webhook.status_callback();
    send(&outbox, &[("To", TO), ("From", FROM), ("Body", "Hello"), ("StatusCallback", &*callback)]).await;
    let id = id_when(&outbox, "delivered").await;
    for (what, form) in [("status", ("status", "read")), ("reply", ("text", "STOP"))] {
        let (status, _, text) = simulate(&outbox, &id, what, &[form], &[]).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(text.contains("403"), "{text}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_simulate_nothing() {
    let outbox = open(&TempDir::new().unwrap());
    let webhook = Webhook::answering(StatusCode::OK).await;
    let callback = webhook.status_callback();
    send(&outbox, &[("To", TO), ("From", FROM), ("Body", "Hello"), ("StatusCallback", &*callback)]).await;
    let id = id_when(&outbox, "delivered").await;
    let host = ("host", "127.0.0.1:3000");
    let (own, other) = (("origin", "http://127.0.0.1:3000"), ("origin", "http://example.com"));
    let site = |site: &'static str| ("sec-fetch-site", site);
    for (headers, status) in [
        (vec![host], StatusCode::SEE_OTHER),
        (vec![host, own], StatusCode::SEE_OTHER),
        (vec![host, own, site("same-origin")], StatusCode::SEE_OTHER),
        (vec![host, site("none")], StatusCode::SEE_OTHER),
        (vec![host, other], StatusCode::FORBIDDEN),
        (vec![host, ("origin", "null")], StatusCode::FORBIDDEN),
        (vec![host, ("origin", "http://127.0.0.1:3001"), site("same-site")], StatusCode::FORBIDDEN),
        (vec![host, own, site("cross-site")], StatusCode::FORBIDDEN),
        (vec![own], StatusCode::FORBIDDEN),
    ] {
        for (what, form) in [("status", ("status", "read")), ("reply", ("text", "STOP"))] {
            let (answered, ..) = simulate(&outbox, &id, what, &[form], &headers).await;
            assert_eq!(answered, status, "{what} {headers:?}");
        }
    }
}

#[tokio::test]
async fn whatsapp_names_a_number_by_its_other_form() {
    let outbox = open(&TempDir::new().unwrap());
    let mut webhook = Webhook::answering(StatusCode::OK).await;
    let (to, from) = ("whatsapp:+525500000001", format!("whatsapp:{FROM}"));
    let callback = webhook.status_callback();
    send(&outbox, &[("To", to), ("From", &*from), ("Body", "Hello"), ("StatusCallback", &*callback)]).await;
    for _ in FOLLOWING {
        assert_eq!(webhook.next().await.1["To"], "whatsapp:+5215500000001");
    }
    let id = id_when(&outbox, "delivered").await;
    simulate(&outbox, &id, "reply", &[("text", "STOP")], &[]).await;
    assert_eq!(webhook.next().await.1["From"], "whatsapp:+5215500000001");
}

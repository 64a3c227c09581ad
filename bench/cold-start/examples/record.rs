//! Records what DynamoDB answers to a claim and to a join, in `canned/`.
//!
//! `cargo run -p cold-start --example record`: runs the platform in a temporary directory,
//! makes a pool with codes and a waitlist with somebody on it through the API, and has the
//! functions serve the events of `events/`, listening in on their way to DynamoDB.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use cold_start::canned::{Call, Canned, name_of};
use groundswell::{Options, Platform, faults::Faults};
use scenarios::Api;
use serde_json::{Value, json};

#[tokio::main]
async fn main() {
    let data = tempfile::tempdir().expect("a directory");
    let options = Options {
        port: 0,
        data_dir: data.path().to_owned(),
        dynamodb: None,
        keep_stream: false,
        event_sources: true,
        twilio: None,
        faults: Faults::default(),
    };
    let platform = Platform::start(options).await.expect("the platform starts");
    let api = Api::new(platform.credentials.clone());
    let account = ("acct_01m5ewqke04tff59tdwh9edd1r", platform.credentials.account_id.as_str());

    let pool = api.pool(json!({ "name": "Autumn", "low_stock_thresholds": [100] })).await;
    let codes = (0..1000).map(|n| format!("AUTUMN-{n:04}-{:04X},2099-12-31\n", n * 40_503 % 65_536));
    let imported = api.import(&pool, format!("code,expires_at\n{}", codes.collect::<String>())).await;
    assert_eq!(imported["added"], 1000, "{imported}");
    let ids = [account, ("pool_01m7a3w4e0g7kyhrjxjg7dj13n", &*pool)];
    let serve = async |env: aws::Env, event| {
        api::handle(&code_distribution::app(&env).expect("it starts"), event).await.expect("an answer")
    };
    record(&platform, "CodeDistributionFunction", serve, "code-distribution-claim", "claim", &ids).await;

    let list = api.waitlist(json!({ "name": "My launch", "places_per_referral": 1 })).await;
    let referrer = api.join(&list, "grace@example.com", None).await;
    let code = referrer.text_at("referral_code");
    let ids = [account, ("wl_01m7a3w4e0g7kyhrjxjg7dj13n", &*list), ("K7M2QX9R", &*code)];
    let serve = async |env: aws::Env, event| {
        api::handle(&subscriber::app(&env).expect("it starts"), event).await.expect("an answer")
    };
    record(&platform, "SubscriberFunction", serve, "subscriber-join", "join", &ids).await;
}

async fn record(
    platform: &Platform,
    function: &str,
    serve: impl AsyncFnOnce(aws::Env, Value) -> Value,
    event: &str,
    name: &str,
    ids: &[(&str, &str)],
) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let variables = platform.environment(function).expect("an environment");
    let mut canned = Canned {
        table: variables["TABLE_NAME"].clone(),
        ids: ids.iter().map(|(theirs, ours)| ((*theirs).to_owned(), (*ours).to_owned())).collect(),
        calls: Vec::new(),
        status: 0,
        body: Value::Null,
    };
    let event = std::fs::read_to_string(here.join(format!("../../events/{event}.json"))).expect("an event");
    let event = serde_json::from_str(&canned.event(&event)).expect("JSON");
    let heard = Heard::default();
    let client = Listener { client: aws::plain_http_client(), heard: heard.clone() }.into_shared();
    let answer = serve(aws::Env::new(variables, client), event).await;
    canned.status =
        answer["statusCode"].as_u64().and_then(|status| status.try_into().ok()).expect("a status");
    assert_eq!(canned.status, 201, "{answer}");
    canned.body = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    canned.calls = std::mem::take(&mut *heard.lock().expect("no panic"));
    let text = serde_json::to_string_pretty(&canned).expect("JSON") + "\n";
    std::fs::write(here.join(format!("canned/{name}.json")), text).expect("written");
    println!("{name}: {} calls", canned.calls.len());
}

type Heard = Arc<Mutex<Vec<Call>>>;

/// A client that keeps what goes through it.
#[derive(Debug)]
struct Listener {
    client: SharedHttpClient,
    heard: Heard,
}

impl HttpClient for Listener {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(ListeningConnector { connector, heard: self.heard.clone() })
    }
}

#[derive(Debug)]
struct ListeningConnector {
    connector: SharedHttpConnector,
    heard: Heard,
}

impl HttpConnector for ListeningConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let asked: Value =
            serde_json::from_slice(request.body().bytes().expect("bytes in memory")).expect("JSON");
        let call = self.connector.call(request);
        let heard = self.heard.clone();
        HttpConnectorFuture::new(async move {
            let response = call.await?;
            let (status, body) = (response.status(), ByteStream::new(response.into_body()));
            let answer = body.collect().await.expect("a whole answer").into_bytes();
            let call = Call {
                name: name_of(&target, &asked),
                request: asked,
                answer: serde_json::from_slice(&answer).expect("JSON"),
            };
            heard.lock().expect("no panic").push(call);
            Ok(HttpResponse::new(status, SdkBody::from(answer)))
        })
    }
}

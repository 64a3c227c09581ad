//! The recorded calls that the cold-start benchmark replays are those that the functions make to DynamoDB today.

use std::{
    collections::HashMap,
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
use groundswell::faults::Faults;
use scenarios::{Api, platform};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[tokio::test(flavor = "multi_thread")]
async fn the_benchmark_of_cold_starts_plays_what_dynamodb_is_asked_and_answers_today() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let api = Api::new(platform.credentials.clone());
    let account = ("acct_01m5ewqke04tff59tdwh9edd1r", platform.credentials.account_id.as_str());

    let pool = api.pool(json!({ "name": "Autumn", "low_stock_thresholds": [100] })).await;
    // So many codes that a random place in a partition is rarely behind the last code.
    let codes = (0..5000).map(|n| format!("AUTUMN-{n:04}-{:04X},2099-12-31\n", n * 40_503 % 65_536));
    let imported = api.import(&pool, format!("code,expires_at\n{}", codes.collect::<String>())).await;
    assert_eq!(imported["added"], 5000, "{imported}");
    let variables = platform.environment("CodeDistributionFunction").unwrap();
    let ids = [account, ("pool_01m7a3w4e0g7kyhrjxjg7dj13n", &*pool)];
    let claim = record(variables, "code-distribution-claim", &ids, async |env: aws::Env, event| {
        api::handle(&code_distribution::app(&env).unwrap(), event).await.unwrap()
    });
    held_to("claim", &claim.await);

    let list = api.waitlist(json!({ "name": "My launch", "places_per_referral": 1 })).await;
    let referrer = api.join(&list, "grace@example.com", None).await;
    let code = referrer.text_at("referral_code");
    let variables = platform.environment("SubscriberFunction").unwrap();
    let ids = [account, ("wl_01m7a3w4e0g7kyhrjxjg7dj13n", &*list), ("K7M2QX9R", &*code)];
    let join = record(variables, "subscriber-join", &ids, async |env: aws::Env, event| {
        api::handle(&subscriber::app(&env).unwrap(), event).await.unwrap()
    });
    held_to("join", &join.await);
}

/// Compares a recording with the stored one. Stores it instead if `UPDATE` is set.
fn held_to(name: &str, today: &Canned) {
    let path = Path::new(ROOT).join(format!("bench/cold-start/canned/{name}.json"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(today).unwrap() + "\n").unwrap();
    }
    let kept = Canned::read(&path).unwrap();
    assert_eq!(kept.shape(), today.shape(), "{}: run with UPDATE=1", path.display());
}

/// Runs a function with an event of `events/` about the platform's objects, and records the function's calls to
/// DynamoDB.
async fn record(
    variables: HashMap<String, String>,
    event: &str,
    ids: &[(&str, &str)],
    serve: impl AsyncFnOnce(aws::Env, Value) -> Value,
) -> Canned {
    let mut canned = Canned {
        table: variables["TABLE_NAME"].clone(),
        ids: ids.iter().map(|(theirs, ours)| ((*theirs).to_owned(), (*ours).to_owned())).collect(),
        calls: Vec::new(),
        status: 0,
        body: Value::Null,
    };
    let event = canned.event(&std::fs::read_to_string(format!("{ROOT}/events/{event}.json")).unwrap());
    let heard = Heard::default();
    let client = Listener { client: aws::plain_http_client(), heard: heard.clone() }.into_shared();
    let answer = serve(aws::Env::new(variables, client), serde_json::from_str(&event).unwrap()).await;
    canned.status = answer["statusCode"].as_u64().unwrap().try_into().unwrap();
    assert_eq!(canned.status, 201, "{answer}");
    canned.body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    canned.calls = std::mem::take(&mut *heard.lock().unwrap());
    canned
}

type Heard = Arc<Mutex<Vec<Call>>>;

/// HTTP client that records all calls.
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
        let asked: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let call = self.connector.call(request);
        let heard = self.heard.clone();
        HttpConnectorFuture::new(async move {
            let response = call.await?;
            let (status, body) = (response.status(), ByteStream::new(response.into_body()));
            let answer = body.collect().await.unwrap().into_bytes();
            let call = Call {
                name: name_of(&target, &asked),
                request: asked,
                answer: serde_json::from_slice(&answer).unwrap(),
            };
            heard.lock().unwrap().push(call);
            Ok(HttpResponse::new(status, SdkBody::from(answer)))
        })
    }
}

//! The functions accept the sample events in `events/`, called as in the local platform and as Lambda calls the
//! deployed binaries.

use std::{
    collections::{BTreeSet, HashMap},
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use groundswell::faults::Faults;
use scenarios::{logical_id, patiently, platform, skipped};
use serde_json::{Value, json};

use crate::document::operations;

/// Returns the sample events: the event's name, the logical id of its function, and the event. The name begins
/// with that of the function's crate.
fn samples() -> Vec<(String, String, Value)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let names = |folder: &str| {
        let entries = std::fs::read_dir(format!("{root}/{folder}")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let crates: Vec<_> = names("functions").iter().map(stem).collect();
    let sample = |path: PathBuf| {
        let name = stem(&path);
        let event: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let owners = crates.iter().filter(|function| name.starts_with(&format!("{function}-")));
        let owner = owners.max_by_key(|function| function.len()).unwrap_or_else(|| panic!("whose event is {name}?"));
        (name, logical_id(owner), event)
    };
    let samples: Vec<_> = names("events").into_iter().map(sample).collect();
    let functions: BTreeSet<_> = samples.iter().map(|(_, function, _)| function).collect();
    assert_eq!(functions.len(), crates.len(), "an event for each function: {functions:?}");
    samples
}

/// Checks the answer to a sample event on a platform without the objects that the event refers to.
fn check(name: &str, function: &str, event: &Value, answer: &Value) {
    match function {
        "AuthorizerFunction" => {
            assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny", "{name}: {answer}");
        }
        "CampaignSchedulerFunction"
        | "JobsFunction"
        | "MessageSenderFunction"
        | "ProjectorFunction"
        | "WebhookSenderFunction" => {
            assert_eq!(answer["batchItemFailures"], json!([]), "{name}: {answer}");
        }
        // A file for an unknown pool is ignored.
        "CodeImportFunction" => assert!(answer.is_null(), "{name}: {answer}"),
        _ => {
            // The route exists, so a 404 is about the object that the request names.
            let asked = |field: &str| event[field].as_str().unwrap();
            let fits = |pattern: &str| {
                let parts: Vec<_> = pattern.split('/').zip(asked("path").split('/')).collect();
                pattern.matches('/').count() == asked("path").matches('/').count()
                    && parts.iter().all(|(pattern, part)| pattern.starts_with('{') || pattern == part)
            };
            let known = operations();
            let routed = known.iter().any(|(method, path, _)| method == asked("httpMethod") && fits(path));
            assert!(routed, "{name}: no operation is {} {}", asked("httpMethod"), asked("path"));
            let expected = match name {
                "waitlist-create" => 201,
                _ => 404,
            };
            assert_eq!(answer["statusCode"], expected, "{name}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_function_answers_its_sample_event() {
    // A platform of its own, because the events refer to objects that no account has.
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    for (name, function, event) in samples() {
        let answer =
            platform.invoke(&function, event.clone()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &function, &event, &answer);
    }
}

/// A message that a worker does not know is reported as failed, so that it moves to the dead-letter queue. The
/// other messages of its batch are processed.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_worker_has_no_use_for_fails() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    const ULID: &str = "01m7yhxdqhbwa008tz019wpw3d";
    let delivery = format!("dlv_{ULID}{ULID}");
    let deliver = json!({ "kind": "deliver", "account_id": format!("acct_{ULID}"), "delivery_id": delivery, "tried": 0 });
    let send = format!("send_{ULID}{ULID}");
    let jobs = json!({ "kind": "delete_code_pool", "pool_id": format!("pool_{ULID}") });
    let of_others = [
        jobs.clone(),
        deliver.clone(),
        json!({ "kind": "start_campaign", "campaign_id": format!("camp_{ULID}"), "run": 1 }),
        json!({ "kind": "send_message", "send_id": send }),
        json!({ "kind": "campaign_message", "send_id": send }),
        json!({ "kind": "tell_of_endpoint", "account_id": format!("acct_{ULID}"), "endpoint_id": format!("we_{ULID}"), "rev": 1 }),
        json!({ "kind": "slow", "task": { "kind": "slow", "task": deliver } }),
        json!({ "kind": "unknown" }),
        json!({ "no": "kind" }),
        json!("text"),
    ];
    for (function, own) in [
        ("JobsFunction", &["delete_code_pool"][..]),
        ("WebhookSenderFunction", &["deliver"]),
        ("CampaignSchedulerFunction", &["start_campaign"]),
        ("MessageSenderFunction", &["campaign_message", "tell_of_endpoint"]),
    ] {
        let is_own = |body: &Value| own.contains(&body["kind"].as_str().unwrap_or_default());
        let mut records: Vec<_> = of_others
            .iter()
            .enumerate()
            .map(|(n, body)| json!({ "messageId": n.to_string(), "body": body.to_string() }))
            .collect();
        records.push(json!({ "messageId": "no JSON", "body": "{" }));
        records.push(json!({ "messageId": "nothing" }));
        let answer = platform.invoke(function, json!({ "Records": records })).await.unwrap();
        let failures = answer["batchItemFailures"].as_array().unwrap().iter();
        let failed: BTreeSet<_> =
            failures.map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect();
        let foreign = of_others.iter().enumerate().filter(|(_, body)| !is_own(body));
        let expected: BTreeSet<_> =
            foreign.map(|(n, _)| n.to_string()).chain(["no JSON".to_owned(), "nothing".to_owned()]).collect();
        assert_eq!(failed, expected, "{function}: {of_others:#?}");
    }
    // An event that is neither a batch nor a known schedule fails as a whole.
    for function in ["JobsFunction", "WebhookSenderFunction", "CampaignSchedulerFunction"] {
        for event in [json!({ "schedule": "unknown" }), json!({}), json!({ "operation": "unknown" })] {
            assert!(platform.invoke(function, event.clone()).await.is_err(), "{function}: {event}");
        }
    }
}

/// Binary under AWS's runtime interface emulator, which calls the binary as Lambda does.
struct Emulator {
    process: tokio::process::Child,
    url: String,
}

impl Emulator {
    fn start(emulator: &Path, bootstrap: &Path, environment: HashMap<String, String>) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let address = free();
        let process = tokio::process::Command::new(emulator)
            .args(["--runtime-interface-emulator-address", &address, "--runtime-api-address", &free()])
            .arg(bootstrap)
            .env_clear()
            .envs(environment)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { process, url: format!("http://{address}/2015-03-31/functions/function/invocations") }
    }

    /// Stops the emulator with a signal on which it stops the binary first.
    async fn stop(mut self) {
        let id = self.process.id().unwrap().to_string();
        tokio::process::Command::new("kill").arg(id).status().await.unwrap();
        self.process.wait().await.unwrap();
    }
}

/// Needs the emulator's path in `GROUNDSWELL_RIE` and the folder of `sam build` in `GROUNDSWELL_BUILD`.
#[tokio::test(flavor = "multi_thread")]
async fn each_binary_answers_its_sample_event_as_lambda_asks_it() {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(emulator), Some(build)) = (path("GROUNDSWELL_RIE"), path("GROUNDSWELL_BUILD")) else {
        skipped::<()>("needs GROUNDSWELL_RIE and GROUNDSWELL_BUILD");
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let http = reqwest::Client::new();
    for (name, function, event) in samples() {
        let bootstrap = build.join(&function).join("bootstrap");
        assert!(bootstrap.exists(), "{} is not there", bootstrap.display());
        let environment = platform.environment(&function).unwrap();
        let emulator = Emulator::start(&emulator, &bootstrap, environment);
        let answer = patiently(Duration::from_secs(60), || async {
            http.post(&emulator.url).body(event.to_string()).send().await.ok()
        })
        .await;
        check(&name, &function, &event, &answer.json().await.unwrap());
        emulator.stop().await;
    }
}

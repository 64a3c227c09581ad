//! The events in `events/` are ones that the functions take.

use groundswell::faults::Faults;
use scenarios::platform;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn each_function_answers_its_sample_event() {
    // A platform of its own: the events speak of things that nobody has.
    let data = tempfile::tempdir().unwrap();
    let platform = platform(data.path(), false, Faults::default()).await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");
    let mut functions = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let event: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let function = match name.split('-').next().unwrap() {
            _ if name.starts_with("code-distribution") => "CodeDistributionFunction",
            _ if name.starts_with("code-import") => "CodeImportFunction",
            "account" => "AccountFunction",
            "authorizer" => "AuthorizerFunction",
            "jobs" => "JobsFunction",
            "message" => "MessageSenderFunction",
            "projector" => "ProjectorFunction",
            "referral" => "ReferralFunction",
            "subscriber" => "SubscriberFunction",
            "waitlist" => "WaitlistFunction",
            other => panic!("whose event is {other}?"),
        };
        let answer = platform.invoke(function, event).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        match function {
            "AuthorizerFunction" => {
                assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny", "{name}: {answer}");
            }
            "JobsFunction" | "MessageSenderFunction" | "ProjectorFunction" => {
                assert_eq!(answer["batchItemFailures"], json!([]), "{name}: {answer}");
            }
            // A file for a pool that is not there is nobody's.
            "CodeImportFunction" => assert!(answer.is_null(), "{name}: {answer}"),
            _ => {
                let status = answer["statusCode"].as_u64().unwrap();
                // The waitlist is made; what asks for an account's own things finds none.
                assert!(status == 201 || status == 404, "{name}: {answer}");
            }
        }
        functions.insert(function);
    }
    assert_eq!(functions.len(), 10, "an event for each function: {functions:?}");
}

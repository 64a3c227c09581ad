//! Files: uploads to the bucket, downloads from it, and the permissions of a data directory.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use files::{Bucket, FilesError, PART};
use groundswell::{Options, faults::Faults};
use scenarios::{Api, address, eventually, platform, unique};
use serde_json::json;

use crate::process::Victim;

#[tokio::test]
async fn an_upload_link_demands_nothing_that_a_browser_would_not_send() {
    let api = Api::shared();
    let pool = api.pool(json!({})).await;
    let upload = api.post(&format!("/code-pools/{pool}/imports"), json!({})).await;
    let url = reqwest::Url::parse(&upload.text_at("upload_url")).unwrap();
    let asked: BTreeMap<String, String> =
        url.query_pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned())).collect();
    assert_eq!(asked["x-amz-signedheaders"], "content-type;host");
    let sums: Vec<_> = asked.keys().filter(|name| name.contains("checksum")).collect();
    assert!(sums.is_empty(), "a checksum of what nobody has seen yet: {sums:?}");
}

#[tokio::test]
async fn an_object_is_written_in_parts_by_the_rules_of_s3() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let bucket = &platform.bucket;
    in_parts(bucket).await;
    // Smaller parts are refused, and the existing object stays.
    bucket.write("exports/short.csv", b"before".to_vec()).await.unwrap();
    let mut upload = bucket.begin("exports/short.csv").await.unwrap();
    for part in [b"short".to_vec(), b"last".to_vec()] {
        upload.part(part).await.unwrap();
    }
    let refused = upload.finish().await.unwrap_err().to_string();
    assert!(refused.contains("EntityTooSmall"), "{refused}");
    upload.abort().await.ok();
    assert_eq!(bucket.read("exports/short.csv", 0, 100).await.unwrap(), b"before");
}

async fn in_parts(bucket: &Bucket) {
    let key = format!("exports/{}.csv", unique());
    // The existing object has a checksum of its own.
    bucket.write(&key, b"before".to_vec()).await.unwrap();
    let mut upload = bucket.begin(&key).await.unwrap();
    for part in [vec![b'x'; PART], b"last".to_vec()] {
        upload.part(part).await.unwrap();
    }
    assert_eq!(bucket.read(&key, 0, 100).await.unwrap(), b"before");
    upload.finish().await.unwrap();
    let object = bucket.open(&key, 0, None).await.unwrap();
    let content = object.body.collect().await.unwrap().to_vec();
    assert_eq!((content.len(), &content[PART..]), (PART + 4, &b"last"[..]));
    assert_eq!(bucket.read(&key, PART as u64, 4).await.unwrap(), b"last");

    bucket.delete(&key).await.unwrap();
    assert!(matches!(bucket.read(&key, 0, 4).await, Err(FilesError::NotFound)));
}

/// Run by hand; see `docs/stores.md`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another S3 has to run"]
async fn another_s3_takes_exports_and_imports() {
    let data = tempfile::tempdir().unwrap();
    // Event sources are off: this test calls the functions itself, with the other S3 as theirs.
    let options =
        Options { event_sources: false, ..scenarios::options(data.path(), false, Faults::default()) };
    let platform = scenarios::start(options).await;
    let api = Api::new(platform.credentials.clone());
    let env = |function: &str| {
        let mut variables = platform.environment(function).unwrap();
        let names = ["AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "BUCKET_NAME"];
        variables.extend(names.map(|name| (name.to_owned(), std::env::var(name).unwrap())));
        aws::Env::new(variables, aws::plain_http_client())
    };
    let bucket = Bucket::from_env(&env("JobsFunction")).unwrap();
    in_parts(&bucket).await;

    let waitlist = api.waitlist(json!({})).await;
    let (ada, bo) = (address("ada"), address("bo"));
    for email in [&ada, &bo] {
        api.join(&waitlist, email, None).await;
    }
    let export = api.post("/exports", json!({ "kind": "subscribers", "waitlist_id": waitlist })).await.id();
    let job = waitlists::entities::Task::ExportSubscribers { export_id: export.parse().unwrap() };
    let body = serde_json::to_string(&job).unwrap();
    let event = json!({ "Records": [{ "messageId": "1", "body": body }] });
    let jobs = jobs::Jobs::from_env(&env("JobsFunction")).unwrap();
    jobs.handle(event.try_into().unwrap()).await.unwrap();
    assert_eq!(api.get(&format!("/exports/{export}")).await.ok()["status"], "completed");
    let export = waitlists::exports::read(&platform.table, &export.parse().unwrap()).await.unwrap().unwrap();
    let link = bucket.download_link(&export.object, "subscribers.csv").await.unwrap();
    let http = reqwest::Client::new();
    let answer = http.get(link).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"subscribers.csv\"");
    let csv = answer.text().await.unwrap();
    assert!(csv.contains(&ada) && csv.contains(&bo), "{csv}");

    let pool = api.pool(json!({})).await;
    let announced = api.post(&format!("/code-pools/{pool}/imports"), json!({})).await.id();
    let ids = (pool.parse().unwrap(), announced.parse().unwrap());
    let import = codes::imports::read(&platform.table, &ids.0, &ids.1).await.unwrap().unwrap();
    let link = bucket.upload_link(&import.object).await.unwrap();
    let lines: String = (0..2500).map(|n| format!("OTHER-{n:04},\n")).collect();
    let put = http.put(link).header("content-type", "text/csv");
    let put = put.body(format!("code,platform\n{lines}MOON-1,moon\n")).send().await.unwrap();
    assert_eq!(put.status(), 200);
    let etag = put.headers()["etag"].to_str().unwrap().trim_matches('"').to_owned();
    let importer = code_import::Importer::from_env(&env("CodeImportFunction")).unwrap();
    let event = json!({ "detail": { "object": { "key": import.object, "etag": etag } } });
    importer.handle(serde_json::from_value(event).unwrap()).await.unwrap();
    let import = api.get(&format!("/code-pools/{pool}/imports/{announced}")).await.ok();
    assert_eq!((&import["added"], &import["rejected"]), (&json!(2500), &json!(1)), "{import}");
    let import = codes::imports::read(&platform.table, &ids.0, &ids.1).await.unwrap().unwrap();
    let report = bucket.open(&import.report.unwrap(), 0, None).await.unwrap().body.collect().await.unwrap();
    assert!(String::from_utf8(report.to_vec()).unwrap().contains("2502"), "the line is named");
    // A read can start in the middle of a file, and fails if the file has been replaced.
    assert!(bucket.open(&import.object, 100, Some(&etag)).await.is_ok());
    assert!(matches!(bucket.open(&import.object, 100, Some("other")).await, Err(FilesError::Changed)));
    assert!(matches!(bucket.open(&import.object, 10_000_000, None).await, Err(FilesError::PastEnd)));
    for folder in ["imports", "reports"] {
        bucket.delete_all(&format!("{folder}/{pool}/")).await.unwrap();
    }
    assert!(matches!(bucket.open(&import.object, 0, None).await, Err(FilesError::NotFound)));
}

/// Returns all files and directories below a directory, and the directory itself.
fn all_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| if path.is_dir() { all_below(&path) } else { vec![path] });
    below.chain([directory.to_owned()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_is_its_owners_only_whatever_the_umask() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    for round in ["new", "from a version that left it open"] {
        std::fs::create_dir_all(&data).unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        if round != "new" {
            std::fs::set_permissions(&data, open).unwrap();
        }
        let Some(victim) = Victim::start(&data).await else { return };
        let api = Api::new(victim.credentials.clone());
        let waitlist = api.waitlist(json!({})).await;
        api.join(&waitlist, &address("ada"), None).await;
        let pool = api.pool(json!({})).await;
        api.import(&pool, "code,platform\nMODE-1,\nMODE-2,moon\n").await;
        assert_eq!(api.claim(&pool, "ada").await.status, 201);
        let export = api.post("/exports", json!({ "kind": "subscribers", "waitlist_id": waitlist })).await;
        let path = format!("/exports/{}", export.id());
        eventually(|| async { (api.get(&path).await.ok()["status"] == "completed").then_some(()) }).await;
        let found = all_below(&data);
        let named = |end: &str| found.iter().any(|path| path.to_string_lossy().ends_with(end));
        for end in [".db", "-wal", ".csv", "credentials.json", "functions.env", ".checkpoint"] {
            assert!(named(end), "{end}");
        }
        for path in found {
            // The test's own output.
            let own = path.file_name().is_some_and(|name| name == "log");
            // A directory that already existed keeps its permissions; new files in it are private.
            if own || (path == data && round == "new") {
                continue;
            }
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{round}: {} is {mode:o}", path.display());
        }
        victim.kill();
    }
}

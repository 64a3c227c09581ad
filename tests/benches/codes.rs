//! Import of up to 100,000 codes, and claims by 1,000 users at once.
//!
//! Prints rows a second and calls per row for files of 1,000, 10,000 and 100,000 codes; the peak memory of the
//! importer, as a separate process, for the smallest and the largest file; and, for 1,000 claimers of 10,000
//! codes with 64 requests in flight, claims a second, latencies at the client, and transactions and calls to
//! DynamoDB per claim. `PARTS` selects among `imports,memory,claims`.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use code_import::Importer;
use futures_util::{StreamExt, stream};
use groundswell::{Options, Platform, faults::Faults};
use scenarios::{Api, platform};
use serde_json::json;

const CLAIMERS: usize = 1000;
const CODES: usize = 10_000;
const IN_FLIGHT: usize = 64;

fn csv(rows: usize) -> Vec<u8> {
    let mut csv = String::from("code\n");
    for n in 0..rows {
        csv.push_str(&format!("SUMMER-{n:07}\n"));
    }
    csv.into_bytes()
}

type Calls = BTreeMap<&'static str, u64>;

/// Returns the number of calls since `before` whose pattern begins with one of the prefixes.
fn since(before: &Calls, platform: &Platform, prefixes: &[&str]) -> u64 {
    let now = platform.meter.snapshot();
    let wanted = now.iter().filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    wanted.map(|(name, calls)| calls - before.get(name).copied().unwrap_or_default()).sum()
}

async fn imports() {
    for rows in [1000, 10_000, 100_000] {
        let data = tempfile::tempdir().expect("a directory");
        let platform = platform(data.path(), false, Faults::default()).await.expect("a platform");
        let api = Api::new(platform.credentials.clone());
        let pool = api.pool(json!({})).await;
        let before = platform.meter.snapshot();
        let done = api.import(&pool, csv(rows)).await;
        assert_eq!(done["added"], rows);
        let calls = since(&before, &platform, &["code.load", "import.checkpoint"]) as f64 / rows as f64;
        println!("{rows} codes: {} rows/s, {calls:.4} calls per row", done["rows_per_second"]);
    }
}

/// Runs the importer as a separate process; see [`memory`].
async fn import_alone(task: &str) {
    let (variables, event): (HashMap<String, String>, _) = serde_json::from_str(task).expect("a task");
    let env = aws::Env::new(variables, aws::plain_http_client());
    Importer::from_env(&env).expect("an importer").handle(event).await.expect("imported");
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    println!("{}", peak.trim().trim_end_matches(" kB"));
}

async fn memory() {
    let mut peaks = Vec::new();
    for rows in [1000, 100_000] {
        let data = tempfile::tempdir().expect("a directory");
        let data_dir = data.path().to_owned();
        // Event sources are off, because the importer is run by hand.
        let options = Options {
            port: 0,
            data_dir,
            dynamodb: None,
            keep_stream: false,
            event_sources: false,
            twilio: None,
            faults: Faults::default(),
        };
        let platform = Platform::start(options).await.expect("the platform starts");
        let api = Api::new(platform.credentials.clone());
        let pool = api.pool(json!({})).await;
        let import = api.upload(&pool, csv(rows)).await;
        let key = format!("imports/{pool}/{import}.csv");
        let head = platform.bucket.client().head_object().bucket(&platform.bucket.name).key(&key).send();
        let head = head.await.expect("uploaded");
        let event = json!({ "detail": { "object": { "key": key, "etag": head.e_tag() } } });
        let variables = platform.environment("CodeImportFunction").expect("a function");
        let output = tokio::process::Command::new(std::env::current_exe().expect("a path"))
            .env("IMPORT_ALONE", json!([variables, event]).to_string())
            .output()
            .await
            .expect("the importer runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(api.imported(&pool, &import).await["added"], rows);
        let peak: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("kilobytes");
        peaks.push(peak / 1024.0);
    }
    println!(
        "peak memory of the importer: {:.1} MB for 1,000 rows, {:.1} MB for 100,000 ({:+.1} MB)",
        peaks[0],
        peaks[1],
        peaks[1] - peaks[0]
    );
}

async fn claims() {
    let data = tempfile::tempdir().expect("a directory");
    let platform = platform(data.path(), false, Faults::default()).await.expect("a platform");
    let api = Api::new(platform.credentials.clone());
    let pool = api.pool(json!({})).await;
    assert_eq!(api.import(&pool, csv(CODES)).await["added"], CODES);
    // Ten rounds of a thousand claimers, until the pool is empty.
    let mut all = Vec::new();
    let began = Instant::now();
    for round in 0..CODES / CLAIMERS {
        let before = platform.meter.snapshot();
        let started = Instant::now();
        let latencies: Vec<Duration> = stream::iter(0..CLAIMERS)
            .map(|n| {
                let (api, pool) = (&api, &pool);
                async move {
                    let started = Instant::now();
                    let reply = api.claim(pool, &format!("user-{round}-{n}")).await;
                    assert_eq!(reply.status, 201, "{}", reply.text);
                    started.elapsed()
                }
            })
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        let elapsed = started.elapsed();
        let per_claim = |prefixes: &[&str]| since(&before, &platform, prefixes) as f64 / CLAIMERS as f64;
        let attempts = per_claim(&["claim.write"]);
        let calls = per_claim(&["key.read", "claim."]);
        println!(
            "  codes {}–{}: {:.0} claims/s, {attempts:.3} attempts and {calls:.2} calls per claim",
            round * CLAIMERS + 1,
            (round + 1) * CLAIMERS,
            CLAIMERS as f64 / elapsed.as_secs_f64()
        );
        all.extend(latencies);
    }
    let elapsed = began.elapsed();
    all.sort();
    let percentile = |p: usize| all[(all.len() * p / 100).min(all.len() - 1)].as_secs_f64() * 1000.0;
    println!(
        "{CODES} codes, {CLAIMERS} claimers a round, {IN_FLIGHT} in flight: {:.0} claims/s; \
         p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms at the client",
        CODES as f64 / elapsed.as_secs_f64(),
        percentile(50),
        percentile(95),
        percentile(99)
    );
    let before = platform.meter.snapshot();
    api.claim(&pool, "too late").await.is_problem(409, "codes-exhausted");
    let calls = since(&before, &platform, &["key.read", "claim."]);
    println!("{calls} calls for the answer that none is left");
}

#[tokio::main]
async fn main() {
    if let Ok(task) = std::env::var("IMPORT_ALONE") {
        return import_alone(&task).await;
    }
    let parts = std::env::var("PARTS").unwrap_or_else(|_| "imports,memory,claims".to_owned());
    for part in parts.split(',') {
        match part {
            "imports" => imports().await,
            "memory" => memory().await,
            "claims" => claims().await,
            other => panic!("no part is called {other}"),
        }
    }
}

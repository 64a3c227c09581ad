//! Resources of the worker that fans out a campaign, by the number of customers.
//!
//! The scheduler runs as a separate process, as on Lambda, and gets its tasks from the embedded queue one after
//! another. The process is killed twice, and its current task is repeated each time, as a queue would repeat it.
//! Prints the number of tasks, the calls of DynamoDB, and the peak memory of a worker (`VmHWM`, on Linux). Fails
//! unless each customer has exactly one message. `CUSTOMERS` sets the sizes (`1000,100000`).

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use campaign_scheduler::CampaignScheduler;
use campaigns::sends;
use domain::id::CampaignId;
use futures_util::{StreamExt, stream};
use groundswell::{Options, Platform, faults::Faults};
use scenarios::{Api, options, start};
use serde_json::{Value, json};
use table::LIST_SHARDS;

const FUNCTION: &str = "CampaignSchedulerFunction";
/// Environment variable that makes this process a worker.
const WORKER: &str = "GROUNDSWELL_WORKER";

fn main() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    if std::env::var_os(WORKER).is_some() {
        return runtime.enable_all().build().expect("a runtime").block_on(work());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let sizes = std::env::var("CUSTOMERS").unwrap_or_else(|_| "1000,100000".to_owned());
    for size in sizes.split(',') {
        runtime.block_on(measure(size.parse().expect("a number of customers")));
    }
}

/// Processes the events on stdin, one a line, and prints the numbers of calls after each.
async fn work() {
    let meter = aws::Meter::default();
    let env = aws::Env::from_process().expect("an environment").with_meter(meter.clone());
    let scheduler = CampaignScheduler::from_env(&env).expect("a scheduler");
    for line in std::io::stdin().lines() {
        let event = serde_json::from_str(&line.expect("a line")).expect("an event");
        let response = scheduler.handle(event).await.expect("a response");
        assert!(response.batch_item_failures.is_empty(), "a task failed");
        println!("{}", json!(meter.snapshot()));
    }
}

struct Worker {
    process: Child,
    answers: Lines<BufReader<ChildStdout>>,
    /// Calls by access pattern.
    calls: BTreeMap<String, u64>,
}

impl Worker {
    fn start(platform: &Platform) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .env(WORKER, "1")
            .envs(platform.environment(FUNCTION).expect("its environment"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let answers = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, answers, calls: BTreeMap::new() }
    }

    fn give(&mut self, event: &Value) {
        let stdin = self.process.stdin.as_mut().expect("piped");
        writeln!(stdin, "{event}").expect("it listens");
    }

    /// Waits until the worker has processed its event.
    fn wait(&mut self) {
        let answer = loop {
            let line = self.answers.next().expect("an answer").expect("a line");
            // Metrics are lines as well.
            if let Ok(calls) = serde_json::from_str(&line) {
                break calls;
            }
        };
        self.calls = answer;
    }

    /// Kills the worker in the middle of its work. Returns its peak memory in kB and its calls.
    fn kill(mut self) -> (u64, BTreeMap<String, u64>) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let most = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ended");
        (most, self.calls)
    }
}

/// Calls the embedded SQS.
async fn sqs(http: &reqwest::Client, queue_url: &str, operation: &str, mut body: Value) -> Value {
    body["QueueUrl"] = json!(queue_url);
    let url = reqwest::Url::parse(queue_url).expect("a URL");
    let request = http
        .post(url.origin().ascii_serialization())
        .header("x-amz-target", format!("AmazonSQS.{operation}"))
        .header("content-type", "application/x-amz-json-1.0");
    let answer = request.body(body.to_string()).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{operation}: {}", answer.status());
    answer.json().await.unwrap_or_default()
}

async fn measure(customers: usize) {
    let data = tempfile::tempdir().expect("a directory");
    let options = Options { event_sources: false, ..options(data.path(), false, Faults::default()) };
    let platform = start(options).await;
    let api = Api::new(platform.credentials.clone());
    let program = api.program(json!({})).await;
    let enrolled = stream::iter(0..customers).map(|_| api.customer(&program));
    enrolled.buffer_unordered(32).collect::<Vec<_>>().await;
    let settings = json!({
        "name": "Everybody", "program_id": program, "trigger": { "kind": "segment" },
        "template": { "channel": "email", "subject": "We miss you", "text": "Come back" },
    });
    let campaign: CampaignId = api.post("/campaigns", settings).await.id().parse().expect("an id");
    let active = api.post(&format!("/campaigns/{campaign}/activate"), json!({})).await.ok();

    let http = reqwest::Client::new();
    let tasks = platform.environment(FUNCTION).expect("its environment")["CAMPAIGN_TASKS_QUEUE_URL"].clone();
    let event = |body: &str| json!({ "Records": [{ "messageId": "1", "body": body }] });
    // Task that the projector would send.
    let run = campaigns::find(&platform.table, &campaign).await.expect("a table").expect("it is there").run;
    assert_eq!(active["status"], "active");
    let begin = json!({ "kind": "start_campaign", "campaign_id": campaign, "run": run }).to_string();
    let began = std::time::Instant::now();
    let mut worker = Worker::start(&platform);
    worker.give(&event(&begin));
    worker.wait();
    let (mut done, mut killed, mut most) = (1, 0, 0);
    let mut calls = 0;
    let kill_at = [customers / 400, customers / 150];
    loop {
        let received = sqs(&http, &tasks, "ReceiveMessage", json!({ "MaxNumberOfMessages": 1 })).await;
        let Some(message) = received["Messages"].get(0) else { break };
        let event = event(message["Body"].as_str().expect("a body"));
        worker.give(&event);
        if kill_at.get(killed).is_some_and(|at| done >= *at) {
            killed += 1;
            let (memory, counted) = worker.kill();
            most = most.max(memory);
            calls += counted.values().sum::<u64>();
            worker = Worker::start(&platform);
            worker.give(&event);
        }
        worker.wait();
        done += 1;
        sqs(&http, &tasks, "DeleteMessage", json!({ "ReceiptHandle": message["ReceiptHandle"] })).await;
    }
    let took = began.elapsed();
    let (memory, counted) = worker.kill();
    most = most.max(memory);
    calls += counted.values().sum::<u64>();
    println!(
        "{customers} customers: {done} tasks, {killed} times killed, {calls} calls of DynamoDB ({:.3} a customer), {:.1} s, at most {:.1} MB",
        calls as f64 / customers as f64,
        took.as_secs_f64(),
        most as f64 / 1024.0
    );
    for (pattern, count) in counted {
        println!("  {pattern}: {count} by the last worker");
    }
    let mut messages = 0;
    for shard in 0..LIST_SHARDS {
        let mut after = None;
        loop {
            let page =
                sends::shard(&platform.table, &campaign, shard, after.as_ref(), 1000).await.expect("a page");
            messages += page.len();
            after = page.last().map(|send| send.id.clone());
            if page.len() < 1000 {
                break;
            }
        }
    }
    assert_eq!(messages, customers, "one for each");
    let queue = &platform.environment(FUNCTION).expect("its environment")["CAMPAIGN_MESSAGES_QUEUE_URL"];
    let queue = queue.rsplit('/').next().expect("its name");
    let queued = platform.queue_depth(queue).expect("a queue");
    println!("  {messages} messages, {queued:?} in the queue");
}

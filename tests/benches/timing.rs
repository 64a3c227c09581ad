//! Test whether the response time reveals a known address or number, on the embedded platform.
//!
//! Makes joins with double opt-in and enrolments by a page, with a new or a known address at random, in one run.
//! The effects of a request run while the next one is answered, so each kind must follow each kind equally often.
//! Prints the 10th, 50th and 90th percentile of each kind and the z of a rank test (Mann–Whitney). Beyond ±2.6,
//! the two differ at the 1% level. `CALLS` sets the number of calls (1,000).

use std::time::{Duration, Instant};

use groundswell::faults::Faults;
use scenarios::{Api, Call, Dice, address, phone, platform};
use serde_json::json;

#[tokio::main]
async fn main() {
    let calls = std::env::var("CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let data = tempfile::tempdir().expect("a directory");
    let platform = platform(data.path(), false, Faults::default()).await.expect("a platform");
    let api = Api::new(platform.credentials.clone());

    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let join = |email: String| {
        let body = json!({ "waitlist_id": waitlist, "email": email, "consent": true });
        api.public("POST", "/subscribers").json(body)
    };
    let (mailed, verified) = (address("mailed"), address("verified"));
    for email in [&mailed, &verified] {
        join(email.clone()).send().await.ok();
    }
    api.verify(&verified).await.ok();
    compare("join, address mailed just now", calls, || join(address("new")), || join(mailed.clone())).await;
    compare("join, address verified", calls, || join(address("new")), || join(verified.clone())).await;

    let program = api.program(json!({})).await;
    let enrol = |phone: String| {
        let body = json!({ "program_id": program, "phone": phone, "consent": true });
        api.public("POST", "/enrollments").json(body)
    };
    let known = phone();
    enrol(known.clone()).send().await.ok();
    compare("enrolment, number enrolled", calls, || enrol(phone()), || enrol(known.clone())).await;
}

async fn timed(call: Call) -> Duration {
    let started = Instant::now();
    let reply = call.send().await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    started.elapsed()
}

async fn compare(what: &str, calls: usize, new: impl Fn() -> Call, known: impl Fn() -> Call) {
    let mut dice = Dice(1);
    let (mut of_new, mut of_known) = (Vec::new(), Vec::new());
    for call in 0..calls + 40 {
        let (times, asked) = match dice.below(2) {
            0 => (&mut of_new, new()),
            _ => (&mut of_known, known()),
        };
        let took = timed(asked).await;
        // The first 40 calls warm up.
        if call >= 40 {
            times.push(took);
        }
    }
    println!("{what}, {calls} calls:");
    for (name, times) in [("new", &mut of_new), ("known", &mut of_known)] {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
        println!("  {name:5} p10 {:6.2} ms, p50 {:6.2} ms, p90 {:6.2} ms", at(10), at(50), at(90));
    }
    println!("  rank test: z = {:.2}", rank_test(&of_new, &of_known));
}

/// Returns the z of Mann–Whitney's U for sorted times. The z is positive if the times in `first` are longer.
fn rank_test(first: &[Duration], second: &[Duration]) -> f64 {
    let wins: f64 = first
        .iter()
        .map(|time| {
            let (below, upto) =
                (second.partition_point(|other| other < time), second.partition_point(|other| other <= time));
            (below + upto) as f64 / 2.0
        })
        .sum();
    let (n, m) = (first.len() as f64, second.len() as f64);
    (wins - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

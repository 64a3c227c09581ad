//! Table of the results, and their comparison with the targets.

use std::time::Duration;

use crate::contest::{ColdStart, Warm};

/// Minimum ratio of the peer's cold start to the Rust function's.
const COLD: f64 = 14.0;
/// Maximum ratio of the Rust function's cold start to that of the minimal program (`bench/floor`).
const FLOOR: f64 = 1.6;
/// Minimum ratio of the peer's CPU time of a warm call to the Rust function's.
const WARM_CPU: f64 = 4.0;
/// Maximum size in bytes of a function's zip file.
const ZIPPED: u64 = 6_000_000;

/// Measurements of one contestant.
pub struct Measured {
    pub cold: Vec<ColdStart>,
    pub warm: Warm,
    pub zipped: u64,
}

/// Returns the smallest value that at least this share of the values does not exceed; `p` is in 0–1.
fn percentile<T: Copy + Ord>(values: impl Iterator<Item = T>, p: f64) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let rank = (p * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

struct Row {
    title: &'static str,
    unit: &'static str,
    value: fn(&Measured) -> f64,
    /// Minimum ratio that is required, if any.
    target: Option<f64>,
}

const ROWS: [Row; 11] = [
    Row { title: "cold start, p50", unit: "ms", value: |m| cold(m, 0.5), target: Some(COLD) },
    Row { title: "cold start, p99", unit: "ms", value: |m| cold(m, 0.99), target: None },
    Row { title: "cold start, fastest", unit: "ms", value: |m| cold(m, 0.0), target: None },
    Row { title: "CPU time until then, p50", unit: "ms", value: |m| cpu(&m.cold), target: None },
    Row {
        title: "resident memory then, p50",
        unit: "MB",
        value: |m| megabytes(percentile(m.cold.iter().map(|start| start.usage.resident), 0.5)),
        target: None,
    },
    Row {
        title: "its peak, p50",
        unit: "MB",
        value: |m| megabytes(percentile(m.cold.iter().map(|start| start.usage.peak), 0.5)),
        target: None,
    },
    Row { title: "warm call, p50", unit: "ms", value: |m| warm(m, 0.5), target: None },
    Row { title: "warm call, p99", unit: "ms", value: |m| warm(m, 0.99), target: None },
    Row {
        title: "CPU time of a warm call",
        unit: "ms",
        value: |m| millis(m.warm.cpu) / m.warm.calls.len() as f64,
        target: Some(WARM_CPU),
    },
    Row {
        title: "resident memory after the calls",
        unit: "MB",
        value: |m| megabytes(m.warm.resident),
        target: None,
    },
    Row { title: "zip file", unit: "MB", value: |m| m.zipped as f64 / 1e6, target: None },
];

fn cold(measured: &Measured, p: f64) -> f64 {
    total(&measured.cold, p)
}

fn total(starts: &[ColdStart], p: f64) -> f64 {
    millis(percentile(starts.iter().map(|start| start.total), p))
}

fn cpu(starts: &[ColdStart]) -> f64 {
    millis(percentile(starts.iter().map(|start| start.usage.cpu), 0.5))
}

fn warm(measured: &Measured, p: f64) -> f64 {
    millis(percentile(measured.warm.calls.iter().copied(), p))
}

/// Converts KiB to MB.
fn megabytes(kibibytes: u64) -> f64 {
    kibibytes as f64 * 1024.0 / 1e6
}

/// Prints the table of one function. Returns the missed targets.
pub fn contest(title: &str, ours: &Measured, peer: &Measured) -> Vec<String> {
    println!("| {title} | Rust | Node.js | ratio |\n|---|--:|--:|--:|");
    let mut missed = Vec::new();
    for Row { title: row, unit, value, target } in ROWS {
        let (ours, peer) = (value(ours), value(peer));
        let ratio = peer / ours;
        println!("| {row} | {ours:.2} {unit} | {peer:.2} {unit} | {ratio:.1} |");
        if let Some(target) = target.filter(|target| ratio < *target) {
            missed.push(format!("{title}, {row}: {ratio:.1} instead of {target}"));
        }
    }
    println!();
    missed
}

/// Prints one function's cold starts beside those of the minimal program. Returns the target if it was missed.
pub fn floor(title: &str, ours: &Measured, least: &[ColdStart]) -> Option<String> {
    println!("| {title} | Rust | the least | ratio |\n|---|--:|--:|--:|");
    let rows = [
        ("cold start, p50", total(&ours.cold, 0.5), total(least, 0.5)),
        ("cold start, fastest", total(&ours.cold, 0.0), total(least, 0.0)),
        ("CPU time until then, p50", cpu(&ours.cold), cpu(least)),
    ];
    for (row, ours, least) in rows {
        println!("| {row} | {ours:.2} ms | {least:.2} ms | {:.2} |", ours / least);
    }
    println!();
    let [(row, ours, least), ..] = rows;
    let ratio = ours / least;
    (ratio > FLOOR).then(|| format!("{title}, {row}: {ratio:.2} times the least instead of {FLOOR}"))
}

/// Prints the sizes of all functions. Returns the missed targets.
pub fn sizes(functions: &[(String, u64)]) -> Vec<String> {
    println!("| zip file | MB |\n|---|--:|");
    for (name, bytes) in functions {
        println!("| {name} | {:.2} |", *bytes as f64 / 1e6);
    }
    println!();
    let large = functions.iter().filter(|(_, bytes)| *bytes > ZIPPED);
    large.map(|(name, bytes)| format!("{name}: {bytes} bytes zipped instead of {ZIPPED}")).collect()
}

//! Simulation of the rate at which recorded actions exceed a partition's limits.
//!
//! Each partition key is a partition of its own with 1,000 write units and 3,000 read units a second, modelled as
//! a token bucket of one second that is full at first. Calls arrive at random times (a Poisson process) in the
//! order in which they were recorded. The simulation leaves out DynamoDB's burst capacity (up to 300 seconds of
//! unused capacity), its adaptation to hot partitions, and the repetition of transactions that conflict on an
//! item.

use std::collections::HashMap;

use groundswell::capacity::Charge;

use crate::{
    Dice,
    actions::{Action, Recording, class_of},
};

const WRITES_A_SECOND: f64 = 1000.0;
const READS_A_SECOND: f64 = 3000.0;
/// Relative precision of the result.
const PRECISION: f64 = 0.01;
/// Highest rate in actions a second that is tried.
const HIGHEST: f64 = 100_000.0;

/// Granularity of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// All items with one key share a partition, which is what DynamoDB guarantees from the start.
    Keys,
    /// Each item has a partition, which is the best that DynamoDB can reach over time by splitting hot
    /// partitions.
    Items,
}

/// Maximum difference between partitions that count as equally used, as a share of their capacity for one second.
const ALIKE: f64 = 0.01;

/// Limit of a mix of actions: its highest rate, and the partition that is throttled above it.
#[derive(Clone, Debug)]
pub struct Limit {
    pub a_second: f64,
    /// Partition in the form of `docs/access-patterns.md`, with the index if it is not the table's.
    pub partition: String,
    /// True if the partition is throttled because of reads.
    pub reading: bool,
}

/// Calls of a recorded action, in the order in which they were made.
struct Trace {
    calls: Vec<Vec<Demand>>,
    /// Calls for each action of the mix.
    weight: f64,
}

/// Demand of a call on a partition.
struct Demand {
    partition: usize,
    /// True if the partition belongs to one person, so that each repetition of the recording uses another one.
    own: bool,
    reads: f64,
    writes: f64,
}

#[derive(Clone, Copy)]
struct Bucket {
    at: f64,
    reads: f64,
    writes: f64,
}

/// Recorded actions that can be played at any rate.
pub struct Mix {
    traces: Vec<Trace>,
    names: Vec<String>,
}

/// Kinds of partitions that belong to one person, one click or one fact.
const OWN: [&str; 13] = [
    "SUB", "EMAIL", "CODE", "REF", "CLICK", "IDEM", "MSG", "TALLY", "RATE", "LEDGER", "REFERRER", "JOB",
    "EXPORT",
];

fn is_own(action: Action, partition: &str) -> bool {
    let kind = partition.split('#').next().unwrap_or_default();
    // All of these joins have the same referrer.
    let shared = action == Action::JoinThroughOneLink && ["SUB", "LEDGER", "REFERRER"].contains(&kind);
    let leaf = kind == "LINE" && partition.split('#').count() == 4;
    (OWN.contains(&kind) && !shared) || leaf
}

impl Mix {
    /// Makes a mix from recordings, each with the number of times that its action happens per action of the mix.
    pub fn of(recordings: &[(&Recording, f64)], partitions: Partitions) -> Self {
        let mut mix = Self { traces: Vec::new(), names: Vec::new() };
        let mut known: HashMap<(Option<String>, String, String), usize> = HashMap::new();
        for (recording, often) in recordings {
            let mut demand = |charge: &Charge| {
                let sort = if partitions == Partitions::Items { charge.sort.clone() } else { String::new() };
                let key = (charge.index.clone(), charge.partition.clone(), sort);
                let partition = *known.entry(key).or_insert_with(|| {
                    let class = class_of(&charge.partition);
                    mix.names.push(match &charge.index {
                        Some(index) => format!("`{class}` in {index}"),
                        None => format!("`{class}`"),
                    });
                    mix.names.len() - 1
                });
                let own = is_own(recording.action, &charge.partition);
                Demand { partition, own, reads: charge.reads, writes: charge.writes }
            };
            let calls: Vec<Vec<Demand>> = recording
                .calls()
                .filter(|call| !call.charges.is_empty())
                .map(|call| call.charges.iter().map(&mut demand).collect())
                .collect();
            let weight = often * calls.len() as f64 / recording.times as f64;
            if !calls.is_empty() {
                mix.traces.push(Trace { calls, weight });
            }
        }
        mix
    }

    /// Returns the highest rate at which nothing is throttled within this number of seconds. Returns `None` if
    /// nothing is throttled at any rate, because no two actions share a partition.
    pub fn limit(&self, seconds: f64) -> Option<Limit> {
        let (mut low, mut high) = (0.0, 64.0);
        let mut first = loop {
            match self.play(high, seconds) {
                Some(throttled) => break throttled,
                None if high > HIGHEST => return None,
                None => (low, high) = (high, high * 2.0),
            }
        };
        while high - low > high * PRECISION {
            let middle = f64::midpoint(low, high);
            match self.play(middle, seconds) {
                Some(throttled) => (high, first) = (middle, throttled),
                None => low = middle,
            }
        }
        let (partition, reading) = first;
        Some(Limit { a_second: low, partition: self.names[partition].clone(), reading })
    }

    /// Plays the mix at this rate. Returns the partition that is throttled first, and true if reads are
    /// throttled.
    fn play(&self, rate: f64, seconds: f64) -> Option<(usize, bool)> {
        let mut dice = Dice(1);
        let mut buckets: HashMap<(usize, usize), Bucket> = HashMap::new();
        let rates: Vec<f64> = self.traces.iter().map(|trace| trace.weight * rate).collect();
        let mut wait = |rate: f64| -(1.0 - dice.below(1 << 30) as f64 / f64::from(1 << 30)).ln() / rate;
        let mut next: Vec<(f64, usize)> = rates.iter().map(|rate| (wait(*rate), 0)).collect();
        loop {
            let (stream, (now, played)) =
                next.iter().copied().enumerate().min_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b))?;
            if now > seconds {
                return None;
            }
            let calls = &self.traces[stream].calls;
            let (pass, call) = (played / calls.len(), &calls[played % calls.len()]);
            for demand in call {
                let pass = if demand.own { pass + 1 } else { 0 };
                let full = Bucket { at: now, reads: READS_A_SECOND, writes: WRITES_A_SECOND };
                let bucket = buckets.entry((demand.partition, pass)).or_insert(full);
                let since = now - bucket.at;
                *bucket = Bucket {
                    at: now,
                    reads: READS_A_SECOND.min(bucket.reads + since * READS_A_SECOND) - demand.reads,
                    writes: WRITES_A_SECOND.min(bucket.writes + since * WRITES_A_SECOND) - demand.writes,
                };
                if bucket.reads < 0.0 || bucket.writes < 0.0 {
                    let reading = bucket.reads < 0.0;
                    let left = |bucket: &Bucket| match reading {
                        true => bucket.reads / READS_A_SECOND,
                        false => bucket.writes / WRITES_A_SECOND,
                    };
                    // Which of several equally used partitions is throttled first is random, so the first by name
                    // is reported.
                    let used_up = buckets.iter().filter(|(_, bucket)| left(bucket) < ALIKE);
                    let partitions = used_up.map(|((partition, _), _)| *partition);
                    return Some((partitions.min_by_key(|at| &self.names[*at])?, reading));
                }
            }
            next[stream] = (now + wait(rates[stream]), played + 1);
        }
    }
}

//! How fast recorded actions can be done before a partition is over its limits.
//!
//! Each partition key is a partition of its own, which takes 1,000 write and 3,000 read units a second:
//! a bucket of tokens for one second, full at first. Calls come at random (a Poisson process) in the order
//! in which they were recorded. DynamoDB's burst capacity (up to 300 seconds of what was not used) is left
//! out, as is what it does by itself about hot partitions, and that a transaction which meets another at an
//! item has to be repeated.

use std::collections::HashMap;

use groundswell::capacity::Charge;

use crate::{
    Dice,
    actions::{Action, Recording, class_of},
};

const WRITES_A_SECOND: f64 = 1000.0;
const READS_A_SECOND: f64 = 3000.0;
/// What is looked for is within this part of the truth.
const PRECISION: f64 = 0.01;
/// Actions a second that are not looked beyond.
const HIGHEST: f64 = 100_000.0;

/// What has to share a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// All items with one key: what DynamoDB guarantees at once.
    Keys,
    /// Single items: the best that DynamoDB can do by itself, in time, by splitting what is hot.
    Items,
}

/// What partitions that are used alike may differ by, as a share of what they take in a second.
const ALIKE: f64 = 0.01;

/// The limit of some actions: how many a second, and what would be throttled if there were more.
#[derive(Clone, Debug)]
pub struct Limit {
    pub a_second: f64,
    /// As `docs/access-patterns.md` writes it, with the index if it isn't the table.
    pub partition: String,
    /// Whether it is for its reads that the partition is throttled.
    pub reading: bool,
}

/// Calls in the order in which they were made, of so many actions.
struct Trace {
    calls: Vec<Vec<Demand>>,
    /// Calls for each action of the mix.
    weight: f64,
}

/// What a call wants of a partition.
struct Demand {
    partition: usize,
    /// One that comes with each person: it is another one each time the recording is played again.
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

/// Recorded actions, ready to be played at any rate.
pub struct Mix {
    traces: Vec<Trace>,
    names: Vec<String>,
}

/// Partitions that are each person's, click's or fact's own.
const OWN: [&str; 13] = [
    "SUB", "EMAIL", "CODE", "REF", "CLICK", "IDEM", "MSG", "TALLY", "RATE", "LEDGER", "REFERRER", "JOB",
    "EXPORT",
];

fn is_own(action: Action, partition: &str) -> bool {
    let kind = partition.split('#').next().unwrap_or_default();
    // Everybody's referrer is the same.
    let shared = action == Action::JoinThroughOneLink && ["SUB", "LEDGER", "REFERRER"].contains(&kind);
    let leaf = kind == "LINE" && partition.split('#').count() == 4;
    (OWN.contains(&kind) && !shared) || leaf
}

impl Mix {
    /// Recordings, each with how often its action is done for one of the mix.
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

    /// The highest rate at which nothing is throttled within so many seconds. `None` when nothing
    /// ever is: no two actions share a partition.
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

    /// Plays the mix at this rate; the partition that is throttled first, and whether a read is.
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
                    // Of partitions that are used alike it is chance which one is throttled first.
                    let used_up = buckets.iter().filter(|(_, bucket)| left(bucket) < ALIKE);
                    let partitions = used_up.map(|((partition, _), _)| *partition);
                    return Some((partitions.min_by_key(|at| &self.names[*at])?, reading));
                }
            }
            next[stream] = (now + wait(rates[stream]), played + 1);
        }
    }
}

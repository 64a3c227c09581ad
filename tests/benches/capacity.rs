//! Capacity units of each action, and the partition that becomes hot first.
//!
//! Records each action one at a time and many at once (see [`scenarios::actions`]), prints the units by the
//! documented rules, and plays the recordings against the limits of partitions (see [`scenarios::simulation`]).
//! `IN_FLIGHT` sets the number of concurrent actions (32), `SECONDS` the time for which the recordings are played
//! (120), and `ACTIONS` the names of the actions to record, separated by `;` (all).

use groundswell::faults::Faults;
use scenarios::{
    actions::{Action, CALLS, MAIL, MESSAGES, Partition, Recording, Stage, TRANSACTION, Units, class_of},
    platform,
    simulation::{Limit, Mix, Partitions},
};

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Returns the number of repetitions of an action in the concurrent recording.
fn many(action: Action) -> usize {
    match action {
        Action::JoinPending | Action::Verify | Action::Reserve | Action::Redeem => 300,
        Action::Leaderboard | Action::List | Action::Erase => 200,
        Action::Import => 4000,
        Action::Export => 500,
        _ => 600,
    }
}

/// Mix of actions of a typical day, for each join.
const DAY: [(Action, f64); 8] = [
    (Action::Join, 0.7),
    (Action::JoinReferred, 0.3),
    (Action::Position, 5.0),
    (Action::Click, 1.0),
    (Action::Leaderboard, 1.0),
    (Action::Claim, 0.2),
    (Action::Redeem, 0.1),
    (Action::List, 0.01),
];

fn found(mix: &[(&Recording, f64)], partitions: Partitions) -> Option<Limit> {
    Mix::of(mix, partitions).limit(setting("SECONDS", 120) as f64)
}

fn limit(mix: &[(&Recording, f64)], partitions: Partitions) -> String {
    match found(mix, partitions) {
        None => "no limit".to_owned(),
        Some(Limit { a_second, partition, reading }) => {
            format!("{a_second:.0}/s by {} of {partition}", if reading { "reads" } else { "writes" })
        }
    }
}

/// Returns the recorded numbers of an action as literals for `tests/harness/prices.rs`.
fn literals(alone: &Recording, rush: &Recording) -> [String; 2] {
    let action = alone.action;
    let Units { reads, writes } = alone.units();
    let numbers = [
        ("requests", alone.requests()),
        ("trips", alone.round_trips()),
        ("invocations", alone.invocations()),
        ("calls", alone.count(&CALLS)),
        ("transactions", alone.count(&[TRANSACTION])),
        ("messages", alone.count(&MESSAGES)),
        ("mails", alone.count(&[MAIL])),
        ("reads", reads),
        ("writes", writes),
        ("bytes", alone.grows()),
    ];
    let numbers = numbers.map(|(name, value)| format!("{name}: {:?}", (value * 1000.0).round() / 1000.0));
    let limits = [
        ("alone", found(&[(alone, 1.0)], Partitions::Keys)),
        ("rush", found(&[(rush, 1.0)], Partitions::Keys)),
        ("items", found(&[(rush, 1.0)], Partitions::Items)),
    ];
    let limits = limits.map(|(name, limit)| {
        let limit = limit.map(|limit| (limit.a_second.round(), limit.partition));
        format!("{name}: {limit:?}")
    });
    [
        format!("Cost {{ action: Action::{action:?}, {} }},", numbers.join(", ")),
        format!("Heat {{ action: Action::{action:?}, {} }},", limits.join(", ")),
    ]
}

fn print(how: &str, recording: &Recording) {
    let Units { reads, writes } = recording.units();
    println!(
        "### {}, {how}: {} times\n{:.3} requests of {:.2} round trips, {:.3} invocations, {reads:.2} read units, {writes:.2} write units, \
         {:.0} bytes more, {:.2} ms of its own",
        recording.action.name(),
        recording.times,
        recording.requests(),
        recording.round_trips(),
        recording.invocations(),
        recording.grows(),
        recording.own_time().as_secs_f64() * 1000.0
    );
    let operations = recording.operations();
    let operations: Vec<_> =
        operations.iter().map(|(operation, count)| format!("{operation} {count:.3}")).collect();
    println!("calls: {}", operations.join(", "));
    let batches = recording.batches();
    let batches: Vec<_> = batches
        .iter()
        .map(|(function, (count, mean))| format!("{function} {count} times with {mean:.1} records"))
        .collect();
    println!("batches: {}", batches.join(", "));
    let mut partitions: Vec<(Partition, Units)> = recording.partitions().into_iter().collect();
    let heat = |units: &Units| units.writes.max(units.reads / 3.0);
    partitions.sort_by(|(_, a), (_, b)| heat(b).total_cmp(&heat(a)));
    for ((index, partition), Units { reads, writes }) in partitions.into_iter().take(6) {
        let index = index.map(|index| format!(" in {index}")).unwrap_or_default();
        println!("  {}{index}: {reads:.2} read, {writes:.2} write units", class_of(&partition));
    }
    println!("limit, a partition a key: {}", limit(&[(recording, 1.0)], Partitions::Keys));
    println!("limit, a partition an item: {}\n", limit(&[(recording, 1.0)], Partitions::Items));
}

#[tokio::main]
async fn main() {
    let wanted = std::env::var("ACTIONS").ok();
    let wanted = |action: Action| {
        wanted.as_ref().is_none_or(|wanted| wanted.split(';').any(|name| name == action.name()))
    };
    let data = tempfile::tempdir().expect("a directory");
    let stage = Stage::set(platform(data.path(), false, Faults::default()).await.expect("a platform")).await;
    let in_flight = setting("IN_FLIGHT", 32);
    let (mut rush, mut lines) = (Vec::new(), Vec::new());
    for action in Action::ALL.into_iter().filter(|action| wanted(*action)) {
        let alone = stage.alone(action, action.few()).await;
        print("one at a time", &alone);
        let recording = stage.at_once(action, many(action), in_flight).await;
        print("many at once", &recording);
        lines.push(literals(&alone, &recording));
        rush.push(recording);
    }
    for kind in 0..2 {
        println!("### for tests/harness/prices.rs");
        lines.iter().for_each(|line| println!("    {}", line[kind]));
    }
    let day: Vec<_> = DAY
        .iter()
        .filter_map(|(action, often)| {
            Some((rush.iter().find(|recording| recording.action == *action)?, *often))
        })
        .collect();
    if day.len() == DAY.len() {
        println!("### a day, in joins a second");
        println!("limit, a partition a key: {}", limit(&day, Partitions::Keys));
        println!("limit, a partition an item: {}", limit(&day, Partitions::Items));
    }
}

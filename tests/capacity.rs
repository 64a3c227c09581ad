//! Costs and hot partitions: `docs/cost.md` and `docs/scaling.md` agree with the recorded numbers.

use std::time::{Duration, Instant};

use groundswell::{
    capacity::Charge,
    faults::Faults,
    recorder::{Call, Record},
};
use scenarios::{
    actions::{Action, CALLS, MAIL, MESSAGES, Recording, Stage, TRANSACTION},
    platform,
    prices::{self, Cost, Heat},
    simulation::{Mix, Partitions},
};

/// Returns true if the measured value is at most 3% (and 0.05) above the documented one and at most 10% (and 0.1)
/// below it.
fn holds(measured: f64, documented: f64) -> bool {
    let size = documented.abs();
    (documented - 0.1 * size - 0.1..=documented + 0.03 * size + 0.05).contains(&measured)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_takes_the_documented_units_and_is_limited_by_the_documented_partition() {
    let data = tempfile::tempdir().unwrap();
    let Some(platform) = platform(data.path(), false, Faults::default()).await else { return };
    let stage = Stage::set(platform).await;
    let mut wrong = Vec::new();
    // The number of a campaign's messages in a batch is random, so that row is checked only against the
    // benchmark's output.
    for cost in prices::COSTS.iter().copied().filter(|cost| cost.action != Action::Message) {
        let Cost {
            action,
            requests,
            trips,
            invocations,
            calls,
            transactions,
            messages,
            mails,
            reads,
            writes,
            bytes,
        } = cost;
        let recording = stage.alone(action, action.few()).await;
        let units = recording.units();
        for (what, measured, documented) in [
            ("requests", recording.requests(), requests),
            ("round trips", recording.round_trips(), trips),
            ("invocations", recording.invocations(), invocations),
            ("calls", recording.count(&CALLS), calls),
            ("transactions", recording.count(&[TRANSACTION]), transactions),
            ("messages", recording.count(&MESSAGES), messages),
            ("mails", recording.count(&[MAIL]), mails),
            ("read units", units.reads, reads),
            ("write units", units.writes, writes),
            ("bytes", recording.grows(), bytes),
        ] {
            if !holds(measured, documented) {
                let name = action.name();
                wrong.push(format!("{name}: {measured:.3} {what}, documented are {documented:.3}"));
            }
        }
        let heat: Heat = prices::HEAT.iter().find(|heat| heat.action == action).copied().unwrap();
        let limit = Mix::of(&[(&recording, 1.0)], Partitions::Keys).limit(20.0);
        let measured = limit.map(|limit| (limit.a_second, limit.partition));
        let same = match (&measured, heat.alone) {
            (Some((measured, at)), Some((rate, partition))) => {
                at == partition && (0.8..1.25).contains(&(measured / rate))
            }
            (measured, documented) => measured.is_none() && documented.is_none(),
        };
        if !same {
            wrong.push(format!("{}: {measured:?}, documented is {:?}", action.name(), heat.alone));
        }
    }
    assert!(wrong.is_empty(), "not as documented (tests/harness/prices.rs):\n{}", wrong.join("\n"));
}

#[test]
fn the_tables_of_the_documents_are_current() {
    for (name, tables) in
        [("cost", prices::cost_tables().to_vec()), ("scaling", prices::scaling_tables().to_vec())]
    {
        let file = format!("{}/../docs/{name}.md", env!("CARGO_MANIFEST_DIR"));
        let document = std::fs::read_to_string(&file).unwrap();
        let current = prices::with_tables(&document, &tables);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, &current).unwrap();
        } else {
            assert!(document == current, "docs/{name}.md: run with UPDATE=1");
        }
    }
}

#[test]
fn a_partition_takes_1_000_write_and_3_000_read_units_a_second() {
    let limit = |charges: &[(&str, f64, f64)]| {
        let charge = |(partition, reads, writes): &(&str, f64, f64)| Charge {
            index: None,
            partition: (*partition).to_owned(),
            sort: String::new(),
            reads: *reads,
            writes: *writes,
            grows: 0,
        };
        let now = Instant::now();
        let call = Call {
            function: String::new(),
            operation: String::new(),
            charges: charges.iter().map(charge).collect(),
            invocation: None,
            sent_at: now,
            answered_at: now,
            took: Duration::ZERO,
        };
        let recording = Recording { action: Action::Join, times: 1, records: vec![Record::Call(call)] };
        Mix::of(&[(&recording, 1.0)], Partitions::Keys).limit(120.0)
    };
    for (charges, expected, partition) in [
        (vec![("WL#wl_1", 0.0, 1.0)], 1000.0, "`WL#waitlist`"),
        (vec![("WL#wl_1", 0.0, 4.0)], 250.0, "`WL#waitlist`"),
        (vec![("KEY#key_1", 2.0, 0.0)], 1500.0, "`KEY#key`"),
        // Two partitions at once: the one that becomes hot first decides.
        (vec![("KEY#key_1", 2.0, 0.0), ("WL#wl_1", 1.0, 1.0)], 1000.0, "`WL#waitlist`"),
        // Each person has a partition of their own.
        (vec![("SUB#sub_1", 50.0, 50.0), ("KEY#key_1", 1.0, 0.0)], 3000.0, "`KEY#key`"),
    ] {
        let limit = limit(&charges).unwrap();
        assert!((0.95..1.02).contains(&(limit.a_second / expected)), "{charges:?}: {limit:?}");
        assert_eq!(limit.partition, partition);
    }
    assert!(limit(&[("SUB#sub_1", 1.0, 1.0)]).is_none(), "nothing is shared");
}

//! What happens, counted by the quarter hour.
//!
//! The counters of an hour of a topic are one item, added to in the transactions that note the events: a stream record
//! that comes again counts nothing. So a series costs a read of as many small items as it has hours, whatever
//! happened in them.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    event::EventKind,
    id::AccountId,
    series::{Quarter, Series},
};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use table::{
    Commit, Item, Key, LIST_SHARDS, Pattern, Query, Range, Table, TableError, counters::counters_of, join,
    key_of, list_shard, purge,
};

use crate::{events::Event, patterns};

/// What is counted by the quarter hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure<'a> {
    pub name: &'a str,
    /// Whether it is counted for the whole account as well: it leads from a visit to a redemption.
    pub is_step: bool,
}

impl<'a> Measure<'a> {
    /// Counted where it happens.
    pub const fn of(name: &'a str) -> Self {
        Self { name, is_step: false }
    }

    /// Counted for the whole account as well.
    pub const fn step(name: &'a str) -> Self {
        Self { name, is_step: true }
    }
}

impl From<EventKind> for Measure<'static> {
    fn from(kind: EventKind) -> Self {
        Self { name: kind.name, is_step: kind.is_step }
    }
}

/// The counter of a source, and what says that it is one.
const SOURCE: &str = "source ";
/// Sources that an hour tells apart, and the bytes of their names.
const SOURCES: usize = 20;
const SOURCE_BYTES: usize = 400;
/// Hours read for one round of purging.
const PURGED_AT_ONCE: usize = 500;
/// All the others of that hour.
const OTHER: &str = "(other)";

/// The account's own topic: one of a few, because all that happens in it is counted there.
fn topic_of(account: &AccountId, shard: u8) -> String {
    join(&[account.as_str(), &shard.to_string()])
}

fn partition(topic: &str) -> String {
    format!("ROLLUP#{topic}")
}

fn hour(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H").to_string()
}

fn hour_key(topic: &str, quarter: Quarter) -> Key {
    Key { pk: partition(topic), sk: hour(quarter.start()) }
}

fn attribute(quarter: Quarter, name: &str) -> String {
    format!("{}{name}", quarter.number())
}

/// Additions to counters, those to one item together: a transaction touches an item once.
#[derive(Clone, Debug, Default)]
pub struct Sums(BTreeMap<Key, BTreeMap<String, i64>>);

impl Sums {
    pub fn add(&mut self, key: Key, name: impl Into<String>, by: i64) {
        *self.0.entry(key).or_default().entry(name.into()).or_default() += by;
    }

    /// Counts something in the quarter hour in which it happened.
    pub fn happened(
        &mut self,
        account: &AccountId,
        topic: &str,
        measure: Measure<'_>,
        at: Timestamp,
        by: i64,
    ) {
        let quarter = Quarter::of(at);
        self.add(hour_key(topic, quarter), attribute(quarter, measure.name), by);
        if measure.is_step {
            let shard = topic_of(account, list_shard(topic));
            self.add(hour_key(&shard, quarter), attribute(quarter, measure.name), by);
        }
    }

    /// Counts an event of this kind.
    pub fn event(&mut self, event: &Event, kind: EventKind) {
        self.happened(&event.account_id, &event.topic, kind.into(), event.at, 1);
    }

    fn items(&self) -> impl Iterator<Item = (&Key, Vec<(&str, i64)>)> {
        let items = self.0.iter().map(|(key, counters)| {
            let added = counters.iter().filter(|(_, by)| **by != 0).map(|(name, by)| (name.as_str(), *by));
            (key, added.collect::<Vec<_>>())
        });
        items.filter(|(_, added)| !added.is_empty())
    }

    pub fn write(&self, commit: Commit) -> Commit {
        self.items().fold(commit, |commit, (key, added)| commit.add("counters", key, &added))
    }
}

/// Tells sources apart, as many as an hour has room for.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<Key, BTreeSet<String>>);

impl Sources {
    /// The item that names those of an hour.
    pub fn key(topic: &str, at: Timestamp) -> Key {
        hour_key(topic, Quarter::of(at))
    }

    pub fn know(&mut self, key: Key, item: &Item) {
        let names = item.keys().filter_map(|name| name.get(1..)?.strip_prefix(SOURCE));
        self.0.insert(key, names.map(str::to_owned).collect());
    }

    /// The name under which a source is counted.
    pub fn name(&mut self, topic: &str, source: &str, at: Timestamp) -> String {
        let known = self.0.entry(Self::key(topic, at)).or_default();
        let bytes = known.iter().map(String::len).sum::<usize>() + source.len();
        if !known.contains(source) && (known.len() >= SOURCES || bytes > SOURCE_BYTES) {
            return format!("{SOURCE}{OTHER}");
        }
        known.insert(source.to_owned());
        format!("{SOURCE}{source}")
    }
}

/// Counters by name.
pub type Counts = BTreeMap<String, i64>;

/// What happened in each step of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    pub steps: Vec<Counts>,
}

impl Activity {
    fn add(&mut self, series: &Series, item: &Item) {
        let Some(hour) = key_of(item).and_then(|key| format!("{}:00:00Z", key.sk).parse().ok()) else {
            return;
        };
        for (name, by) in counters_of(item) {
            let (number, name) = name.split_at(name.len().min(1));
            let quarter = number.parse().ok().map(|number| Quarter::of_hour(hour, number));
            let step = quarter.and_then(|quarter| series.step(quarter));
            if let Some(counts) = step.and_then(|step| self.steps.get_mut(step)) {
                *counts.entry(name.to_owned()).or_default() += by;
            }
        }
    }

    /// All steps together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::new();
        for (name, by) in self.steps.iter().flatten() {
            *total.entry(name.clone()).or_default() += by;
        }
        total
    }
}

/// The sources among the counts, those of most first, and what each brought; what is beyond so many is one of them.
pub fn sources(counts: &Counts, most: usize) -> Vec<(&str, i64)> {
    let mut sources: Vec<(&str, i64)> = counts
        .iter()
        .filter_map(|(name, by)| Some((name.strip_prefix(SOURCE)?, *by)))
        .filter(|(source, _)| *source != OTHER)
        .collect();
    sources.sort_by_key(|(source, by)| (-by, *source));
    let rest: i64 = sources.drain(most.min(sources.len())..).map(|(_, by)| by).sum();
    let other = rest + counts.get(&format!("{SOURCE}{OTHER}")).copied().unwrap_or_default();
    sources.extend((other != 0).then_some((OTHER, other)));
    sources
}

/// What happened to, or in, something.
///
/// # Errors
/// When the table is out of reach.
pub async fn of_topic(table: &Table, topic: &str, series: &Series) -> Result<Activity, TableError> {
    happened(table, &patterns::ROLLUP, &[topic.to_owned()], series).await
}

/// What happened in a whole account, of those things that lead from a visit to a redemption.
///
/// # Errors
/// When the table is out of reach.
pub async fn of_account(table: &Table, account: &AccountId, series: &Series) -> Result<Activity, TableError> {
    let shards: Vec<_> = (0..LIST_SHARDS).map(|shard| topic_of(account, shard)).collect();
    happened(table, &patterns::FUNNEL, &shards, series).await
}

/// It follows what happens within a second anyway, so that it needn't be read consistently.
async fn happened(
    table: &Table,
    pattern: &'static Pattern,
    topics: &[String],
    series: &Series,
) -> Result<Activity, TableError> {
    let queries = topics.iter().map(|topic| {
        let range = Range::Between(hour(series.start()), hour(series.end()));
        table.query_items(pattern, Query { range, ..Query::partition(partition(topic)) })
    });
    let mut activity = Activity { steps: vec![Counts::new(); series.starts().len()] };
    for item in try_join_all(queries).await?.iter().flatten() {
        activity.add(series, item);
    }
    Ok(activity)
}

/// Removes what was counted of a topic that is deleted.
///
/// # Errors
/// When the table is out of reach.
pub async fn forget(table: &Table, topic: &str) -> Result<(), TableError> {
    let query = Query { limit: Some(PURGED_AT_ONCE), consistent: true, ..Query::partition(partition(topic)) };
    loop {
        let found = table.query_items(&patterns::ROLLUP_PURGE, query.clone()).await?;
        if found.is_empty() {
            return Ok(());
        }
        purge(table, &patterns::ROLLUP_PURGE, found.iter().filter_map(key_of).collect()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_hour_is_one_item_and_cancelled_counts_are_none() {
        let account = AccountId::new(at("2026-11-22T10:00:00Z"));
        let mut sums = Sums::default();
        for (time, by) in
            [("2026-11-22T10:05:00Z", 1), ("2026-11-22T10:50:00Z", 2), ("2026-11-22T11:00:00Z", 1)]
        {
            sums.happened(&account, "topic", Measure::of("given"), at(time), by);
        }
        sums.happened(&account, "topic", Measure::of("given"), at("2026-11-22T11:14:59Z"), -1);
        let items: Vec<_> = sums.items().map(|(key, added)| (key.sk.as_str(), added)).collect();
        assert_eq!(items, [("2026-11-22T10", vec![("0given", 1), ("3given", 2)])]);
    }

    #[test]
    fn what_leads_to_a_redemption_is_counted_for_the_account_too() {
        let account = AccountId::new(at("2026-11-22T10:00:00Z"));
        let mut sums = Sums::default();
        sums.happened(&account, "wl_x", Measure::step("entered"), at("2026-11-22T10:05:00Z"), 1);
        assert_eq!(sums.items().count(), 2);
        assert!(sums.items().any(|(key, _)| key.pk.starts_with(&format!("ROLLUP#{account}#"))));
    }

    #[test]
    fn of_many_sources_the_first_are_named() {
        let counts =
            [("source a", 1), ("source b", 3), ("source c", 2), ("source (other)", 9), ("joined", 15)];
        let counts = counts.map(|(name, by)| (name.to_owned(), by)).into();
        assert_eq!(sources(&counts, 2), [("b", 3), ("c", 2), ("(other)", 10)]);
        assert_eq!(sources(&counts, 9).len(), 4);
        assert_eq!(sources(&Counts::new(), 9), []);
    }

    #[test]
    fn an_hour_has_room_for_so_many_sources() {
        let now = at("2026-11-22T10:05:00Z");
        let mut sources = Sources::default();
        for number in 0..SOURCES {
            assert_eq!(sources.name("wl_x", &format!("s{number}"), now), format!("source s{number}"));
        }
        let mut long = Sources::default();
        for (letter, expected) in [("a", "a"), ("b", "b"), ("c", "(other)"), ("a", "a")] {
            let expected = if expected.len() == 1 { expected.repeat(150) } else { expected.to_owned() };
            assert_eq!(long.name("wl_x", &letter.repeat(150), now), format!("source {expected}"));
        }
        assert_eq!(sources.name("wl_x", "one more", now), "source (other)");
        assert_eq!(sources.name("wl_x", "s3", now), "source s3");
        assert_eq!(sources.name("wl_x", "one more", at("2026-11-22T11:00:00Z")), "source one more");
    }
}

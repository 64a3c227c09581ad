//! Roll-ups: sums per quarter hour.
//!
//! All counters of one topic in one hour are attributes of one item. The transactions that record the facts add to
//! them, so a replayed stream record counts nothing. Reading a series takes one small item per hour, however much
//! happened in that hour.

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

/// Measure that is counted per quarter hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure<'a> {
    pub name: &'a str,
    /// True for a step from a visit to a redemption. Steps are also counted for the whole account.
    pub is_step: bool,
}

impl<'a> Measure<'a> {
    /// Returns a measure that is counted for its topic only.
    pub const fn of(name: &'a str) -> Self {
        Self { name, is_step: false }
    }

    /// Returns a measure that is also counted for the whole account.
    pub const fn step(name: &'a str) -> Self {
        Self { name, is_step: true }
    }
}

impl From<EventKind> for Measure<'static> {
    fn from(kind: EventKind) -> Self {
        Self { name: kind.name, is_step: kind.is_step }
    }
}

/// Prefix of the counters of traffic sources.
const SOURCE: &str = "source ";
/// Maximum number of sources that an hour counts separately, and maximum total length of their names in bytes.
const SOURCES: usize = 20;
const SOURCE_BYTES: usize = 400;
/// Hours that one round of a deletion reads.
const PURGED_AT_ONCE: usize = 500;
/// Name under which all further sources of an hour are counted.
const OTHER: &str = "(other)";

/// Returns a topic of the account itself. The account has several, because every step in the account is counted in
/// one of them.
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

/// Additions to counters, grouped by item: a transaction writes an item only once.
#[derive(Clone, Debug, Default)]
pub struct Sums(BTreeMap<Key, BTreeMap<String, i64>>);

impl Sums {
    pub fn add(&mut self, key: Key, name: impl Into<String>, by: i64) {
        *self.0.entry(key).or_default().entry(name.into()).or_default() += by;
    }

    /// Adds to a measure in the quarter hour of `at`.
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

/// Names under which sources are counted. Each hour has room for a limited number of sources.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<Key, BTreeSet<String>>);

impl Sources {
    /// Returns the key of the item that holds the sources of the hour.
    pub fn key(topic: &str, at: Timestamp) -> Key {
        hour_key(topic, Quarter::of(at))
    }

    pub fn know(&mut self, key: Key, item: &Item) {
        let names = item.keys().filter_map(|name| name.get(1..)?.strip_prefix(SOURCE));
        self.0.insert(key, names.map(str::to_owned).collect());
    }

    /// Returns the name of the counter for a source: the source's own, or `(other)` if the hour has no room.
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

/// Counters of each step of a series.
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

    /// Returns the sums over all steps.
    pub fn total(&self) -> Counts {
        let mut total = Counts::new();
        for (name, by) in self.steps.iter().flatten() {
            *total.entry(name.clone()).or_default() += by;
        }
        total
    }
}

/// Returns the sources among the counters with their counts, largest first. Sources beyond the first `most` are
/// added up as `(other)`.
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

/// Reads the roll-ups of a topic.
///
/// # Errors
/// When the table is unavailable.
pub async fn of_topic(table: &Table, topic: &str, series: &Series) -> Result<Activity, TableError> {
    happened(table, &patterns::ROLLUP, &[topic.to_owned()], series).await
}

/// Reads the roll-ups of a whole account, which hold the steps from a visit to a redemption.
///
/// # Errors
/// When the table is unavailable.
pub async fn of_account(table: &Table, account: &AccountId, series: &Series) -> Result<Activity, TableError> {
    let shards: Vec<_> = (0..LIST_SHARDS).map(|shard| topic_of(account, shard)).collect();
    happened(table, &patterns::FUNNEL, &shards, series).await
}

/// Roll-ups lag the facts by about a second in any case, so the reads are not consistent.
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

/// Deletes the roll-ups of a deleted topic.
///
/// # Errors
/// When the table is unavailable.
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

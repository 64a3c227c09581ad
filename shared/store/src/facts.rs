//! What happened, noted and counted once.
//!
//! Each fact leaves an item whose id follows from the fact: an event, or a [`Tally`] when nobody has to be told. The
//! transaction that writes it counts it: a stream record that comes again counts nothing.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    code_pool::LowStockThresholds,
    event::EventKind,
    feature::FeatureTally,
    id::{AccountId, CustomerId, EventId, SubscriberId},
};
use jiff::Timestamp;

use crate::{
    Commit, CommitError, StoreError, Table,
    commit::{MAX_WRITES, leave_out},
    entities::{CodePoolStats, Event, Tally},
    keys::Key,
    patterns::Pattern,
    rollups::Sums,
};

/// How often others may have counted meanwhile.
const ATTEMPTS: u32 = 50;

/// Who did it, or to whom it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Customer(CustomerId),
    Subscriber(SubscriberId),
    Nobody,
}

impl Who {
    fn as_str(&self) -> &str {
        match self {
            Self::Customer(id) => id.as_str(),
            Self::Subscriber(id) => id.as_str(),
            Self::Nobody => "",
        }
    }
}

/// What a fact is called, and who hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everybody who asks for events. It is counted in its quarter hour.
    Event(EventKind),
    /// Nobody; it is counted in its quarter hour.
    Counted(&'static str),
    /// Nobody; it is counted only where it says itself.
    Quiet(&'static str),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Event(kind) => kind.name(),
            Self::Counted(name) | Self::Quiet(name) => name,
        }
    }
}

/// Something that happens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub kind: Kind,
    pub who: Who,
    pub object_id: Option<String>,
    pub data: Option<(&'static str, u64)>,
    pub at: Timestamp,
    /// Of what happens at the same moment, what comes first.
    pub rank: u8,
    /// Of what happens to the same again and again, which time it is.
    pub rev: u64,
    /// What it adds to the numbers.
    pub counts: Vec<(&'static str, i64)>,
    /// What else it counts for in its quarter hour.
    pub also: Vec<(&'static str, i64)>,
    /// What it adds to the counters of other items.
    pub elsewhere: Vec<(Key, String, i64)>,
}

impl Fact {
    /// A fact that happens once to this, and adds nothing to any numbers.
    pub fn new(kind: Kind, who: Who, at: Timestamp) -> Self {
        Self {
            kind,
            who,
            object_id: None,
            data: None,
            at,
            rank: 0,
            rev: 0,
            counts: Vec::new(),
            also: Vec::new(),
            elsewhere: Vec::new(),
        }
    }
}

/// Where facts are counted.
#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    /// Nowhere but in their quarter hours.
    None,
    /// Counters of the item with this key.
    Counters(Key),
    /// As they were read.
    Feature(FeatureTally),
    /// As they were read; who empties the pool below one of the thresholds says so.
    Pool(CodePoolStats, LowStockThresholds),
}

/// Whose facts they are.
pub(crate) struct Book<'a> {
    pub pattern: &'static Pattern,
    pub account: &'a AccountId,
    pub topic: &'a str,
}

impl Book<'_> {
    fn id(&self, fact: &Fact) -> EventId {
        let number = fact.data.map_or(fact.rev, |(_, number)| number).to_string();
        let object = fact.object_id.as_deref().unwrap_or_default();
        let identity = [self.topic, fact.kind.name(), fact.who.as_str(), object, &number];
        EventId::of_fact(fact.at, fact.rank, &identity)
    }

    fn event(&self, fact: &Fact, kind: EventKind) -> Event {
        let (customer_id, subscriber_id) = match fact.who.clone() {
            Who::Customer(id) => (Some(id), None),
            Who::Subscriber(id) => (None, Some(id)),
            Who::Nobody => (None, None),
        };
        Event {
            id: self.id(fact),
            customer_id,
            subscriber_id,
            object_id: fact.object_id.clone(),
            data: fact.data.into_iter().map(|(name, number)| (name.to_owned(), number)).collect(),
            ..Event::new(self.account, self.topic, kind, fact.at)
        }
    }

    /// Notes and counts those facts of which this has not been done before. `numbers` are read anew when others count
    /// at the same time; without any there is nothing to count for.
    ///
    /// # Errors
    /// When the table is out of reach, or others keep counting.
    pub(crate) async fn note<F>(
        &self,
        table: &Table,
        facts: &[Fact],
        numbers: impl Fn() -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<Option<Numbers>, StoreError>>,
    {
        for facts in transactions(facts) {
            let mut facts = facts.to_vec();
            let mut attempt = 1;
            loop {
                let Some(numbers) = numbers().await? else { return Ok(()) };
                if self.note_some(table, &mut facts, &numbers).await? {
                    break;
                }
                if attempt == ATTEMPTS {
                    let detail = "others keep counting".to_owned();
                    return Err(StoreError::Unavailable { operation: "count", detail });
                }
                crate::back_off(attempt.min(4)).await;
                attempt += 1;
            }
        }
        Ok(())
    }

    /// The same in one transaction; `false` when the numbers are not any more as they were read.
    async fn note_some(
        &self,
        table: &Table,
        facts: &mut Vec<Fact>,
        numbers: &Numbers,
    ) -> Result<bool, StoreError> {
        while !facts.is_empty() {
            let mut commit = Commit::new(self.pattern);
            let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
            let mut sums = Sums::default();
            // DynamoDB refuses what is twice in one transaction.
            let mut ids = BTreeSet::new();
            facts.retain(|fact| ids.insert(self.id(fact)));
            for fact in facts.iter() {
                let happened = |sums: &mut Sums, name, by| {
                    sums.happened(self.account, self.topic, name, fact.at, by);
                };
                commit = match fact.kind {
                    Kind::Event(kind) => commit.create("fact", &self.event(fact, kind)),
                    Kind::Counted(_) | Kind::Quiet(_) => {
                        commit.create("fact", &Tally { fact: self.id(fact), noted_at: Timestamp::now() })
                    }
                };
                if !matches!(fact.kind, Kind::Quiet(_)) {
                    happened(&mut sums, fact.kind.name(), 1);
                }
                for (name, by) in &fact.also {
                    happened(&mut sums, name, *by);
                }
                for (name, by) in &fact.counts {
                    *counts.entry(name).or_default() += by;
                }
                for (key, name, by) in &fact.elsewhere {
                    sums.add(key.clone(), name.clone(), *by);
                }
            }
            commit = self.counted(commit, &mut sums, numbers, &counts);
            match sums.write(commit).apply(table).await {
                Ok(()) => return Ok(true),
                Err(CommitError::Store(error)) => return Err(error),
                Err(error) if error.failed("numbers").is_some() => return Ok(false),
                Err(CommitError::Condition(failed)) => {
                    let known: Vec<_> = failed.iter().map(|failed| failed.position).collect();
                    leave_out(facts, &known);
                }
            }
        }
        Ok(true)
    }

    fn counted(
        &self,
        commit: Commit,
        sums: &mut Sums,
        numbers: &Numbers,
        counts: &BTreeMap<&str, i64>,
    ) -> Commit {
        let by = |name: &str| counts.get(name).copied().unwrap_or_default();
        match numbers {
            Numbers::Counters(key) => {
                for (name, by) in counts {
                    sums.add(key.clone(), *name, *by);
                }
                commit
            }
            Numbers::None => commit,
            _ if counts.values().all(|by| *by == 0) => commit,
            Numbers::Feature(tally) => {
                let after = FeatureTally {
                    votes: tally.votes + by("votes"),
                    comments: tally.comments + by("comments"),
                    rev: tally.rev + 1,
                    ..tally.clone()
                };
                commit.replace("numbers", &after, tally.rev)
            }
            Numbers::Pool(before, thresholds) => {
                let after = CodePoolStats {
                    claimed: before.claimed.saturating_add_signed(by("claimed")),
                    redeemed: before.redeemed.saturating_add_signed(by("redeemed")),
                    rev: before.rev + 1,
                    ..before.clone()
                };
                let low = thresholds.crossed(before.remaining(), after.remaining()).map(|threshold| {
                    let numbers = [("threshold", u64::from(threshold)), ("remaining", after.remaining())];
                    Event {
                        data: BTreeMap::from(numbers.map(|(name, number)| (name.to_owned(), number))),
                        ..Event::new(self.account, self.topic, EventKind::CodePoolLowStock, Timestamp::now())
                    }
                });
                let commit = commit.replace("numbers", &after, before.rev);
                low.fold(commit, |commit, event| {
                    sums.event(&event);
                    commit.create("low stock", &event)
                })
            }
        }
    }
}

/// As many facts at a time as fit a transaction, which also holds the numbers and what may have to be said of them.
fn transactions(facts: &[Fact]) -> impl Iterator<Item = &[Fact]> {
    // Also ten thresholds that are crossed, and the hour in which that is said.
    const NUMBERS: usize = 12;
    let mut rest = facts;
    std::iter::from_fn(move || {
        let (mut hours, mut others) = (BTreeSet::new(), BTreeSet::new());
        let fit = rest.iter().enumerate().take_while(|(before, fact)| {
            hours.insert(fact.at.as_second().div_euclid(3600));
            others.extend(fact.elsewhere.iter().map(|(key, _, _)| key));
            // An hour is counted for the topic and for the account.
            NUMBERS + before + 1 + 2 * hours.len() + others.len() <= MAX_WRITES
        });
        let (now, later) = rest.split_at(fit.count().max(1).min(rest.len()));
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

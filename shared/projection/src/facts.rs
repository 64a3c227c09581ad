//! What happened, noted and counted once.
//!
//! Each fact leaves an item whose id follows from the fact: an event, or a [`Tally`] when nobody has to be told. The
//! transaction that writes it counts it: a stream record that comes again counts nothing.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    event::{Datum, EventKind},
    id::{AccountId, CustomerId, EventId, SubscriberId},
};
use jiff::Timestamp;
use table::{Commit, CommitError, Key, MAX_WRITES, Pattern, Table, TableError, leave_out};

use crate::{
    events::{Event, Tally},
    rollups::{Measure, Sums},
};

/// How often others may have counted meanwhile.
const ATTEMPTS: u32 = 50;

/// The person who did something, or to whom it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    Customer(CustomerId),
    Subscriber(SubscriberId),
    Nobody,
}

impl Actor {
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
pub enum Kind {
    /// Everybody who asks for events. It is counted in its quarter hour.
    Event(EventKind),
    /// Nobody; it is counted in its quarter hour.
    Counted(Measure<'static>),
    /// Nobody; it is counted only where it says itself.
    Quiet(&'static str),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Event(kind) => kind.name,
            Self::Counted(measure) => measure.name,
            Self::Quiet(name) => name,
        }
    }
}

/// Something that happens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub kind: Kind,
    pub actor: Actor,
    pub object_id: Option<String>,
    pub data: Vec<(&'static str, Datum)>,
    pub at: Timestamp,
    /// Of what happens at the same moment, what comes first.
    pub rank: u8,
    /// Of what happens to the same again and again, which time it is.
    pub rev: u64,
    /// What it adds to the numbers.
    pub counts: Vec<(&'static str, i64)>,
    /// What else it counts for in its quarter hour.
    pub also: Vec<(Measure<'static>, i64)>,
    /// What it adds to the counters of other items.
    pub extra_counters: Vec<(Key, String, i64)>,
}

impl Fact {
    /// A fact that happens once to this, and adds nothing to any numbers.
    pub fn new(kind: Kind, actor: Actor, at: Timestamp) -> Self {
        Self {
            kind,
            actor,
            object_id: None,
            data: Vec::new(),
            at,
            rank: 0,
            rev: 0,
            counts: Vec::new(),
            also: Vec::new(),
            extra_counters: Vec::new(),
        }
    }
}

/// What facts add, by name.
#[derive(Clone, Debug, Default)]
pub struct Counts<'a>(BTreeMap<&'a str, i64>);

impl Counts<'_> {
    pub fn of(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Whether they add nothing.
    pub fn are_zero(&self) -> bool {
        self.0.values().all(|by| *by == 0)
    }
}

/// The label of the write whose failure says that the numbers are not any more as they were read.
pub const NUMBERS: &str = "numbers";
/// Writes that [`Numbers`] may add to a transaction, with the hour in which an event of theirs is counted.
const ROOM: usize = 12;

/// Where facts are counted besides their quarter hours. A commit that notes facts counts them there too.
pub trait Numbers: Send + Sync {
    /// Adds the write, under the label [`NUMBERS`] if it has a condition, and events that follow from it: in all as many
    /// writes as there is room for.
    fn count(&self, log: &FactLog<'_>, counts: &Counts<'_>, sums: &mut Sums, commit: Commit) -> Commit;
}

/// Nowhere.
impl Numbers for () {
    fn count(&self, _: &FactLog<'_>, _: &Counts<'_>, _: &mut Sums, commit: Commit) -> Commit {
        commit
    }
}

/// Counters of the item with this key.
impl Numbers for Key {
    fn count(&self, _: &FactLog<'_>, counts: &Counts<'_>, sums: &mut Sums, commit: Commit) -> Commit {
        for (name, by) in &counts.0 {
            sums.add(self.clone(), *name, *by);
        }
        commit
    }
}

/// Notes the facts of one topic of an account, each once.
pub struct FactLog<'a> {
    pub pattern: &'static Pattern,
    pub account: &'a AccountId,
    pub topic: &'a str,
}

impl FactLog<'_> {
    fn id(&self, fact: &Fact) -> EventId {
        let mut which: Vec<_> = fact.data.iter().map(|(_, datum)| datum.to_string()).collect();
        if which.is_empty() {
            which.push(fact.rev.to_string());
        }
        let object = fact.object_id.as_deref().unwrap_or_default();
        let mut identity = vec![self.topic, fact.kind.name(), fact.actor.as_str(), object];
        identity.extend(which.iter().map(String::as_str));
        EventId::of_fact(fact.at, fact.rank, &identity)
    }

    fn event(&self, fact: &Fact, kind: EventKind) -> Event {
        let (customer_id, subscriber_id) = match fact.actor.clone() {
            Actor::Customer(id) => (Some(id), None),
            Actor::Subscriber(id) => (None, Some(id)),
            Actor::Nobody => (None, None),
        };
        Event {
            id: self.id(fact),
            customer_id,
            subscriber_id,
            object_id: fact.object_id.clone(),
            data: fact.data.iter().map(|(name, datum)| ((*name).to_owned(), datum.clone())).collect(),
            ..Event::new(self.account, self.topic, kind, fact.at)
        }
    }

    /// Notes and counts those facts of which this has not been done before. `numbers` are read anew when others count
    /// at the same time; without any there is nothing to count for.
    ///
    /// # Errors
    /// When the table is out of reach, or others keep counting.
    pub async fn note<N, F>(
        &self,
        table: &Table,
        facts: &[Fact],
        numbers: impl Fn() -> F,
    ) -> Result<(), TableError>
    where
        N: Numbers,
        F: Future<Output = Result<Option<N>, TableError>>,
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
                    return Err(TableError::Unavailable { operation: "count", detail });
                }
                table::back_off(attempt.min(4)).await;
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
        numbers: &impl Numbers,
    ) -> Result<bool, TableError> {
        while !facts.is_empty() {
            let mut commit = Commit::new(self.pattern);
            let mut counts = Counts::default();
            let mut sums = Sums::default();
            // DynamoDB refuses what is twice in one transaction.
            let mut ids = BTreeSet::new();
            facts.retain(|fact| ids.insert(self.id(fact)));
            for fact in facts.iter() {
                let happened = |sums: &mut Sums, measure, by| {
                    sums.happened(self.account, self.topic, measure, fact.at, by);
                };
                commit = match fact.kind {
                    Kind::Event(kind) => commit.create("fact", &self.event(fact, kind)),
                    Kind::Counted(_) | Kind::Quiet(_) => {
                        commit.create("fact", &Tally { fact: self.id(fact), noted_at: Timestamp::now() })
                    }
                };
                match fact.kind {
                    Kind::Event(kind) => happened(&mut sums, kind.into(), 1),
                    Kind::Counted(measure) => happened(&mut sums, measure, 1),
                    Kind::Quiet(_) => {}
                }
                for (measure, by) in &fact.also {
                    happened(&mut sums, *measure, *by);
                }
                for (name, by) in &fact.counts {
                    *counts.0.entry(name).or_default() += by;
                }
                for (key, name, by) in &fact.extra_counters {
                    sums.add(key.clone(), name.clone(), *by);
                }
            }
            commit = numbers.count(self, &counts, &mut sums, commit);
            match sums.write(commit).apply(table).await {
                Ok(()) => return Ok(true),
                Err(CommitError::Table(error)) => return Err(error),
                Err(error) if error.failed(NUMBERS).is_some() => return Ok(false),
                Err(CommitError::Condition(failed)) => {
                    let known: Vec<_> = failed.iter().map(|failed| failed.position).collect();
                    leave_out(facts, &known);
                }
            }
        }
        Ok(true)
    }
}

/// As many facts at a time as fit a transaction, which also holds the numbers and what may have to be said of them.
fn transactions(facts: &[Fact]) -> impl Iterator<Item = &[Fact]> {
    let mut rest = facts;
    std::iter::from_fn(move || {
        let (mut hours, mut others) = (BTreeSet::new(), BTreeSet::new());
        let fit = rest.iter().enumerate().take_while(|(before, fact)| {
            hours.insert(fact.at.as_second().div_euclid(3600));
            others.extend(fact.extra_counters.iter().map(|(key, _, _)| key));
            // An hour is counted for the topic and for the account.
            ROOM + before + 1 + 2 * hours.len() + others.len() <= MAX_WRITES
        });
        let (now, later) = rest.split_at(fit.count().max(1).min(rest.len()));
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

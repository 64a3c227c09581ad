//! Facts: things that happened, recorded and counted once.
//!
//! Each fact is recorded as one item: an event, or a [`Tally`] if the fact is not published. The id of the item is
//! derived from the fact, and the transaction that creates the item also counts the fact. A replayed stream record
//! finds the item and counts nothing.

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

/// Attempts to count before giving up, because other writers change the same numbers.
const ATTEMPTS: u32 = 50;

/// Person who did something, or to whom something happened.
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

/// Name of a fact, and whether the fact is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes an event and counts it in the roll-up of its quarter hour.
    Event(EventKind),
    /// Writes a tally, no event, and counts it in the roll-up of its quarter hour.
    Counted(Measure<'static>),
    /// Writes a tally, no event, and has no roll-up of its own: only the fact's `counts`, `also` and
    /// `extra_counters` are counted.
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

/// Something that happened, recorded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub kind: Kind,
    pub actor: Actor,
    pub object_id: Option<String>,
    pub data: Vec<(&'static str, Datum)>,
    pub at: Timestamp,
    /// Order among events of the same millisecond: lower ranks sort first.
    pub rank: u8,
    /// Revision of the object; distinguishes repeats of the same fact. Ignored if the fact has `data`.
    pub rev: u64,
    /// Additions to the [`Numbers`], by name.
    pub counts: Vec<(&'static str, i64)>,
    /// Additions to further measures of the same quarter hour.
    pub also: Vec<(Measure<'static>, i64)>,
    /// Additions to counters of other items.
    pub extra_counters: Vec<(Key, String, i64)>,
}

impl Fact {
    /// Returns a fact without object, data and additions.
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

/// Sums of the facts' additions, by name.
#[derive(Clone, Debug, Default)]
pub struct Counts<'a>(BTreeMap<&'a str, i64>);

impl Counts<'_> {
    pub fn of(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// True if all sums are zero.
    pub fn are_zero(&self) -> bool {
        self.0.values().all(|by| *by == 0)
    }
}

/// Label of the write that fails if the numbers have changed since they were read.
pub const NUMBERS: &str = "numbers";
/// Writes reserved in each transaction for [`Numbers`], including the roll-up items of its events.
const ROOM: usize = 12;

/// Numbers that facts are counted in, besides the roll-ups. The same transaction records the facts and counts them
/// here.
pub trait Numbers: Send + Sync {
    /// Adds the writes to the commit, at most as many as are reserved. A conditional write has the label
    /// [`NUMBERS`]. May add events that follow from the new numbers.
    fn count(&self, log: &FactLog<'_>, counts: &Counts<'_>, sums: &mut Sums, commit: Commit) -> Commit;
}

/// No numbers.
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

/// Log of the facts of one topic of an account. Records each fact once.
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

    /// Records and counts the facts that are not recorded yet. `numbers` reads the current numbers and is called
    /// again when another writer has changed them; if it returns `None`, nothing is recorded.
    ///
    /// # Errors
    /// When the table is unavailable, or other writers keep changing the numbers.
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
                    let detail = "gave up after repeated write conflicts".to_owned();
                    return Err(TableError::Unavailable { operation: "count", detail });
                }
                table::back_off(attempt.min(4)).await;
                attempt += 1;
            }
        }
        Ok(())
    }

    /// Records and counts facts in one transaction, and repeats it without the facts that are recorded already.
    /// Returns `false` if the numbers have changed since they were read.
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
            // DynamoDB refuses a transaction that writes an item twice.
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

/// Splits the facts into slices that fit one transaction each, with the roll-ups, the extra counters and the
/// reserved writes.
fn transactions(facts: &[Fact]) -> impl Iterator<Item = &[Fact]> {
    let mut rest = facts;
    std::iter::from_fn(move || {
        let (mut hours, mut others) = (BTreeSet::new(), BTreeSet::new());
        let fit = rest.iter().enumerate().take_while(|(before, fact)| {
            hours.insert(fact.at.as_second().div_euclid(3600));
            others.extend(fact.extra_counters.iter().map(|(key, _, _)| key));
            // Each hour takes up to two roll-up items: the topic's and the account's.
            ROOM + before + 1 + 2 * hours.len() + others.len() <= MAX_WRITES
        });
        let (now, later) = rest.split_at(fit.count().max(1).min(rest.len()));
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

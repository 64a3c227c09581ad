//! What happened, noted and counted once.
//!
//! Each fact is an event whose id follows from the fact, and the transaction that writes it counts it: a stream
//! record that comes again counts nothing.

use std::collections::BTreeMap;

use domain::id::{AccountId, CustomerId, EventId};
use jiff::Timestamp;

use crate::{
    Commit, CommitError, StoreError, Table,
    commit::leave_out,
    entities::{Event, EventKind},
    keys::Key,
    patterns::Pattern,
};

/// Facts noted in one transaction, which also holds the numbers.
const AT_ONCE: usize = 90;

/// Something that happens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub kind: EventKind,
    pub customer_id: CustomerId,
    pub object_id: Option<String>,
    pub data: Option<(&'static str, u64)>,
    pub at: Timestamp,
    /// Of what happens at the same moment, what comes first.
    pub rank: u8,
    /// What it adds to the numbers.
    pub counts: Vec<(&'static str, i64)>,
}

/// Whose facts they are, and where they are counted.
pub(crate) struct Book<'a> {
    pub pattern: &'static Pattern,
    pub account: &'a AccountId,
    pub topic: &'a str,
    pub numbers: Key,
}

impl Book<'_> {
    fn event(&self, fact: &Fact) -> Event {
        let kind = fact.kind.name();
        let number = fact.data.map(|(_, number)| number).unwrap_or_default().to_string();
        let object = fact.object_id.as_deref().unwrap_or_default();
        let identity = [self.topic, kind, fact.customer_id.as_str(), object, &number];
        Event {
            id: EventId::of_fact(fact.at, fact.rank, &identity),
            customer_id: Some(fact.customer_id.clone()),
            object_id: fact.object_id.clone(),
            data: fact.data.into_iter().map(|(name, number)| (name.to_owned(), number)).collect(),
            ..Event::new(self.account, self.topic, fact.kind, fact.at)
        }
    }

    /// Notes and counts those facts of which this has not been done before.
    ///
    /// # Errors
    /// When the table is out of reach.
    pub(crate) async fn note(&self, table: &Table, facts: &[Fact]) -> Result<(), StoreError> {
        for facts in facts.chunks(AT_ONCE) {
            self.note_some(table, facts.to_vec()).await?;
        }
        Ok(())
    }

    async fn note_some(&self, table: &Table, mut facts: Vec<Fact>) -> Result<(), StoreError> {
        while !facts.is_empty() {
            let mut commit = Commit::new(self.pattern);
            let mut numbers: BTreeMap<&str, i64> = BTreeMap::new();
            for fact in &facts {
                commit = commit.create("event", &self.event(fact));
                for (name, by) in &fact.counts {
                    *numbers.entry(name).or_default() += by;
                }
            }
            let numbers: Vec<_> = numbers.into_iter().filter(|(_, by)| *by != 0).collect();
            if !numbers.is_empty() {
                commit = commit.add("numbers", &self.numbers, &numbers);
            }
            match commit.apply(table).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Store(error)) => return Err(error),
                Err(CommitError::Condition(failed)) => {
                    let known: Vec<_> = failed.iter().map(|failed| failed.position).collect();
                    leave_out(&mut facts, &known);
                }
            }
        }
        Ok(())
    }
}

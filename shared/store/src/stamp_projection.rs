//! What follows from stamps: events and numbers.
//!
//! Each fact is an event whose id follows from the fact, and the transaction that writes it counts it: a
//! record that comes again counts nothing.

use std::collections::BTreeMap;

use domain::{
    id::{CustomerId, EventId, ProgramId},
    stamp::{Card, CardReward, CardRewardStatus, Program, Stamp, StampStatus},
};
use jiff::Timestamp;

use crate::{
    Commit, CommitError, StoreError, Table,
    commit::leave_out,
    entities::{Event, EventKind, ProgramStats},
    patterns, programs,
};

/// Facts counted in one transaction, which also holds the numbers.
const FACTS_AT_ONCE: usize = 90;

/// Something that happens once to what a customer has of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    kind: EventKind,
    customer_id: CustomerId,
    object_id: Option<String>,
    data: Option<(&'static str, u64)>,
    at: Timestamp,
}

/// A card, stamp or reward as a stream record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Card { before: Option<Box<Card>>, after: Box<Card> },
    Stamp(Box<Stamp>),
    Reward(Box<CardReward>),
}

impl Change {
    pub fn program_id(&self) -> &ProgramId {
        match self {
            Self::Card { after, .. } => &after.program_id,
            Self::Stamp(stamp) => &stamp.program_id,
            Self::Reward(reward) => &reward.program_id,
        }
    }

    fn facts(&self, program: &Program) -> Vec<Fact> {
        match self {
            Self::Card { before: None, after } => {
                vec![Fact {
                    kind: EventKind::CustomerEnrolled,
                    customer_id: after.customer_id.clone(),
                    object_id: None,
                    data: None,
                    at: after.enrolled_at,
                }]
            }
            Self::Card { before: Some(before), after } => {
                let reached = program.settings.milestones.reached(before.most_visits, after.most_visits);
                let fact = |milestone: u32| Fact {
                    kind: EventKind::MilestoneReached,
                    customer_id: after.customer_id.clone(),
                    object_id: None,
                    data: Some(("visits", u64::from(milestone))),
                    at: after.updated_at,
                };
                reached.map(fact).collect()
            }
            Self::Stamp(stamp) => {
                let (kind, at) = match stamp.status {
                    StampStatus::Valid => (EventKind::StampGiven, stamp.recorded_at),
                    StampStatus::Voided => {
                        (EventKind::StampVoided, stamp.voided_at.unwrap_or(stamp.recorded_at))
                    }
                };
                vec![Fact {
                    kind,
                    customer_id: stamp.customer_id.clone(),
                    object_id: Some(stamp.id.as_str().to_owned()),
                    data: Some(("stamps", u64::from(stamp.count))),
                    at,
                }]
            }
            Self::Reward(reward) => {
                let (kind, at) = match reward.status {
                    CardRewardStatus::Issued => (EventKind::CardRewardIssued, reward.issued_at),
                    CardRewardStatus::Redeemed => {
                        (EventKind::CardRewardRedeemed, reward.redeemed_at.unwrap_or(reward.issued_at))
                    }
                    CardRewardStatus::Withdrawn => {
                        (EventKind::CardRewardWithdrawn, reward.withdrawn_at.unwrap_or(reward.issued_at))
                    }
                };
                vec![Fact {
                    kind,
                    customer_id: reward.customer_id.clone(),
                    object_id: Some(reward.id.as_str().to_owned()),
                    data: None,
                    at,
                }]
            }
        }
    }
}

impl Fact {
    /// What the fact adds to the program's numbers.
    fn counts(&self) -> Vec<(&'static str, i64)> {
        let stamps = self.data.and_then(|(_, stamps)| i64::try_from(stamps).ok()).unwrap_or_default();
        match self.kind {
            EventKind::CustomerEnrolled => vec![("customers", 1)],
            EventKind::StampGiven => vec![("visits", 1), ("stamps", stamps)],
            EventKind::StampVoided => vec![("visits", -1), ("stamps", -stamps)],
            EventKind::CardRewardIssued => vec![("rewards_issued", 1)],
            EventKind::CardRewardRedeemed => vec![("rewards_redeemed", 1)],
            EventKind::CardRewardWithdrawn => vec![("rewards_issued", -1)],
            _ => Vec::new(),
        }
    }

    fn event(&self, program: &Program) -> Event {
        let number = self.data.map(|(_, number)| number).unwrap_or_default().to_string();
        let object = self.object_id.as_deref().unwrap_or_default();
        // Of one visit: first the stamp, then what came of it.
        let rank = match self.kind {
            EventKind::CustomerEnrolled | EventKind::StampGiven => 0,
            EventKind::MilestoneReached => 1,
            _ => 2,
        };
        let identity = [program.id.as_str(), self.customer_id.as_str(), object, &number];
        Event {
            id: EventId::of_fact(self.at, rank, &identity),
            customer_id: Some(self.customer_id.clone()),
            object_id: self.object_id.clone(),
            data: self.data.into_iter().map(|(name, number)| (name.to_owned(), number)).collect(),
            ..Event::new(&program.account_id, program.id.as_str(), self.kind, self.at)
        }
    }
}

/// Notes and counts what changes of one program amount to, as far as that has not been done before.
///
/// # Errors
/// When the table is out of reach.
pub async fn count(table: &Table, program: &ProgramId, changes: &[Change]) -> Result<(), StoreError> {
    // Without a program there is nothing to count for.
    let Some(program) = programs::find(table, program).await? else { return Ok(()) };
    let facts: Vec<Fact> = changes.iter().flat_map(|change| change.facts(&program)).collect();
    for facts in facts.chunks(FACTS_AT_ONCE) {
        count_some(table, &program, facts.to_vec()).await?;
    }
    Ok(())
}

async fn count_some(table: &Table, program: &Program, mut facts: Vec<Fact>) -> Result<(), StoreError> {
    while !facts.is_empty() {
        let mut commit = Commit::new(&patterns::STAMPS_COUNT);
        let mut numbers: BTreeMap<&str, i64> = BTreeMap::new();
        for fact in &facts {
            commit = commit.create("event", &fact.event(program));
            for (name, by) in fact.counts() {
                *numbers.entry(name).or_default() += by;
            }
        }
        let numbers: Vec<_> = numbers.into_iter().filter(|(_, by)| *by != 0).collect();
        if !numbers.is_empty() {
            commit = commit.add("stats", &ProgramStats::key_of(&program.id), &numbers);
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

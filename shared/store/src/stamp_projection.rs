//! What follows from stamps: events and numbers.

use domain::{
    id::{CustomerId, ProgramId},
    stamp::{Card, CardReward, CardRewardStatus, Program, Stamp, StampStatus},
};

use crate::{
    StoreError, Table,
    entities::{EventKind, ProgramStats},
    facts::{Book, Fact},
    patterns, programs,
};

/// A card, stamp or reward as a stream record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Card { before: Option<Box<Card>>, after: Box<Card> },
    Stamp(Box<Stamp>),
    Reward(Box<CardReward>),
}

/// A customer who came as often as one of the program's milestones says, for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Milestone {
    pub customer_id: CustomerId,
    pub visits: u64,
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
            Self::Card { before: None, after } => vec![Fact {
                kind: EventKind::CustomerEnrolled,
                customer_id: after.customer_id.clone(),
                object_id: None,
                data: None,
                at: after.enrolled_at,
                rank: 0,
                counts: vec![("customers", 1)],
            }],
            Self::Card { before: Some(before), after } => {
                let reached = program.settings.milestones.reached(before.most_visits, after.most_visits);
                let fact = |milestone: u32| Fact {
                    kind: EventKind::MilestoneReached,
                    customer_id: after.customer_id.clone(),
                    object_id: None,
                    data: Some(("visits", u64::from(milestone))),
                    at: after.updated_at,
                    rank: 1,
                    counts: Vec::new(),
                };
                reached.map(fact).collect()
            }
            Self::Stamp(stamp) => {
                let count = i64::from(stamp.count);
                let (kind, at, counts) = match stamp.status {
                    StampStatus::Valid => {
                        (EventKind::StampGiven, stamp.recorded_at, vec![("visits", 1), ("stamps", count)])
                    }
                    StampStatus::Voided => (
                        EventKind::StampVoided,
                        stamp.voided_at.unwrap_or(stamp.recorded_at),
                        vec![("visits", -1), ("stamps", -count)],
                    ),
                };
                vec![Fact {
                    kind,
                    customer_id: stamp.customer_id.clone(),
                    object_id: Some(stamp.id.as_str().to_owned()),
                    data: Some(("stamps", u64::from(stamp.count))),
                    at,
                    rank: 0,
                    counts,
                }]
            }
            Self::Reward(reward) => {
                let issued = reward.issued_at;
                let (kind, at, counts) = match reward.status {
                    CardRewardStatus::Issued => (EventKind::CardRewardIssued, issued, ("rewards_issued", 1)),
                    CardRewardStatus::Redeemed => (
                        EventKind::CardRewardRedeemed,
                        reward.redeemed_at.unwrap_or(issued),
                        ("rewards_redeemed", 1),
                    ),
                    CardRewardStatus::Withdrawn => (
                        EventKind::CardRewardWithdrawn,
                        reward.withdrawn_at.unwrap_or(issued),
                        ("rewards_issued", -1),
                    ),
                };
                vec![Fact {
                    kind,
                    customer_id: reward.customer_id.clone(),
                    object_id: Some(reward.id.as_str().to_owned()),
                    data: None,
                    at,
                    rank: 2,
                    counts: vec![counts],
                }]
            }
        }
    }
}

/// What changes of one program amount to.
pub struct Plan {
    program: Program,
    facts: Vec<Fact>,
}

/// Works it out; `None` without such a program, where there is nothing to count for.
///
/// # Errors
/// When the table is out of reach.
pub async fn plan(
    table: &Table,
    program: &ProgramId,
    changes: &[Change],
) -> Result<Option<Plan>, StoreError> {
    let program = programs::find(table, program).await?;
    Ok(program.map(|program| {
        let facts = changes.iter().flat_map(|change| change.facts(&program)).collect();
        Plan { program, facts }
    }))
}

impl Plan {
    /// To be passed on before the plan is noted, so that a crash in between repeats rather than loses them.
    pub fn milestones(&self) -> impl Iterator<Item = Milestone> {
        let reached = self.facts.iter().filter(|fact| fact.kind == EventKind::MilestoneReached);
        reached.map(|fact| Milestone {
            customer_id: fact.customer_id.clone(),
            visits: fact.data.map(|(_, visits)| visits).unwrap_or_default(),
        })
    }

    /// Notes and counts it, as far as that has not been done before.
    ///
    /// # Errors
    /// When the table is out of reach.
    pub async fn note(&self, table: &Table) -> Result<(), StoreError> {
        let book = Book {
            pattern: &patterns::STAMPS_COUNT,
            account: &self.program.account_id,
            topic: self.program.id.as_str(),
            numbers: ProgramStats::key_of(&self.program.id),
        };
        book.note(table, &self.facts).await
    }
}

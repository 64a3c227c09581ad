//! Projection of cards, stamps and rewards: events and counters.

use std::collections::BTreeMap;

use domain::{
    event::Datum,
    id::{AccountId, ProgramId},
};
use jiff::{Timestamp, tz::TimeZone};
use projection::{
    Context, Record,
    facts::{Actor, Fact, FactLog, Kind},
    rollups::Measure,
    stream::FollowError,
};
use table::{Entity, Key, Table, TableError};

use crate::{
    entities::{ProgramStats, program_month_key},
    events, patterns,
    programs::{self, at_risk, came, seen},
    stamp::{Card, CardReward, CardRewardStatus, Month, Program, Stamp, StampStatus},
    tasks::{self, MilestoneReached, Notice},
};

/// Change of a card, a stamp or a reward, as a stream record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Card { before: Option<Box<Card>>, after: Box<Card> },
    CardRemoved { before: Box<Card>, written_at: Timestamp },
    Stamp(Box<Stamp>),
    Reward(Box<CardReward>),
}

/// Counter of stamps. Stamps of voided visits are subtracted.
pub const STAMPS: &str = "stamps";

impl Change {
    pub fn account_id(&self) -> &AccountId {
        match self {
            Self::Card { after, .. } => &after.account_id,
            Self::CardRemoved { before, .. } => &before.account_id,
            Self::Stamp(stamp) => &stamp.account_id,
            Self::Reward(reward) => &reward.account_id,
        }
    }

    pub fn program_id(&self) -> &ProgramId {
        match self {
            Self::Card { after, .. } => &after.program_id,
            Self::CardRemoved { before, .. } => &before.program_id,
            Self::Stamp(stamp) => &stamp.program_id,
            Self::Reward(reward) => &reward.program_id,
        }
    }

    fn facts(&self, program: &Program) -> Vec<Fact> {
        match self {
            Self::Card { before, after } => {
                let actor = || Actor::Customer(after.customer_id.clone());
                let enrolled = before.is_none().then(|| Fact {
                    counts: vec![("customers", 1)],
                    ..Fact::new(Kind::Event(events::CUSTOMER_ENROLLED), actor(), after.enrolled_at)
                });
                let most = before.as_ref().map_or(0, |before| before.most_visits);
                let reached = program.settings.milestones.reached(most, after.most_visits);
                let milestones = reached.map(|milestone| Fact {
                    data: vec![("visits", milestone.into())],
                    rank: 1,
                    ..Fact::new(Kind::Event(events::MILESTONE_REACHED), actor(), after.updated_at)
                });
                let was = before.as_deref().map(stands_for).unwrap_or_default();
                let moved = Fact {
                    rev: after.rev,
                    extra_counters: difference(was, stands_for(after)),
                    ..Fact::new(Kind::Quiet("card"), actor(), after.updated_at)
                };
                let moved = (!moved.extra_counters.is_empty()).then_some(moved);
                enrolled.into_iter().chain(milestones).chain(moved).collect()
            }
            // After a card is removed, only its visits stay counted. The days of the last visit and of the risk are
            // subtracted.
            Self::CardRemoved { before, written_at } => vec![Fact {
                rev: before.rev + 1,
                extra_counters: difference(watched(before).collect(), Counted::new()),
                ..Fact::new(Kind::Quiet("card"), Actor::Customer(before.customer_id.clone()), *written_at)
            }],
            Self::Stamp(stamp) => {
                let (kind, at, sign) = match stamp.status {
                    StampStatus::Valid => (events::STAMP_GIVEN, stamp.recorded_at, 1),
                    StampStatus::Voided => {
                        (events::STAMP_VOIDED, stamp.voided_at.unwrap_or(stamp.recorded_at), -1)
                    }
                };
                let stamps = (STAMPS, sign * i64::from(stamp.count));
                vec![Fact {
                    object_id: Some(stamp.id.as_str().to_owned()),
                    data: vec![("stamps", stamp.count.into())],
                    counts: vec![("visits", sign), stamps],
                    also: vec![(Measure::of(STAMPS), stamps.1)],
                    ..Fact::new(Kind::Event(kind), Actor::Customer(stamp.customer_id.clone()), at)
                }]
            }
            Self::Reward(reward) => {
                let issued = reward.issued_at;
                let (kind, at, counts) = match reward.status {
                    CardRewardStatus::Issued => (events::CARD_REWARD_ISSUED, issued, ("rewards_issued", 1)),
                    CardRewardStatus::Redeemed => (
                        events::CARD_REWARD_REDEEMED,
                        reward.redeemed_at.unwrap_or(issued),
                        ("rewards_redeemed", 1),
                    ),
                    CardRewardStatus::Withdrawn => (
                        events::CARD_REWARD_WITHDRAWN,
                        reward.withdrawn_at.unwrap_or(issued),
                        ("rewards_issued", -1),
                    ),
                };
                vec![Fact {
                    object_id: Some(reward.id.as_str().to_owned()),
                    rank: 2,
                    counts: vec![counts],
                    ..Fact::new(Kind::Event(kind), Actor::Customer(reward.customer_id.clone()), at)
                }]
            }
        }
    }
}

/// Facts that follow from changes of one program.
pub struct Plan {
    program: Program,
    facts: Vec<Fact>,
}

/// Derives the facts from changes. Returns `None` if there is no such program, which then has no counters.
///
/// # Errors
/// When the table is unavailable.
pub async fn plan(
    table: &Table,
    program: &ProgramId,
    changes: &[Change],
) -> Result<Option<Plan>, TableError> {
    let program = programs::find(table, program).await?;
    Ok(program.map(|program| {
        let facts = changes.iter().flat_map(|change| change.facts(&program)).collect();
        Plan { program, facts }
    }))
}

impl Plan {
    /// Returns the milestones that were reached. The caller passes them on before it calls [`Plan::note`], so that
    /// a crash in between repeats milestones rather than loses them.
    pub fn milestones(&self) -> impl Iterator<Item = MilestoneReached> {
        let reached = self.facts.iter().filter(|fact| fact.kind == Kind::Event(events::MILESTONE_REACHED));
        reached
            .filter_map(|fact| match (&fact.actor, fact.data.as_slice()) {
                (Actor::Customer(customer), [(_, Datum::Number(visits))]) => Some((customer, *visits)),
                _ => None,
            })
            .map(|(customer, visits)| MilestoneReached {
                program_id: self.program.id.clone(),
                customer_id: customer.clone(),
                visits,
            })
    }

    /// Records and counts the facts, each once.
    ///
    /// # Errors
    /// When the table is unavailable.
    pub async fn note(&self, table: &Table) -> Result<(), TableError> {
        let log = FactLog {
            pattern: &patterns::STAMPS_COUNT,
            account: &self.program.account_id,
            topic: self.program.id.as_str(),
        };
        let key = ProgramStats::key_of(&self.program.id);
        log.note(table, &self.facts, || async { Ok(Some(key.clone())) }).await
    }
}

/// Counters of a program's months, with the amount that is added to each.
type Counted = BTreeMap<(Key, String), i64>;

/// Returns what a card contributes to the counters of its program: the months in which the customer came, counted
/// from the month of the first visit; the day of the last visit; and the day from which the customer is at risk.
fn stands_for(card: &Card) -> Counted {
    let first = card.first_visit_at.map(Month::of);
    let came = first.into_iter().flat_map(|first| {
        let key = program_month_key(&card.program_id, first);
        card.visits_by_month.keys().map(move |month| ((key.clone(), came(month.since(first))), 1))
    });
    came.chain(watched(card)).collect()
}

fn watched(card: &Card) -> impl Iterator<Item = ((Key, String), i64)> {
    let on = |name: fn(i8) -> String, at: Timestamp| {
        let key = program_month_key(&card.program_id, Month::of(at));
        ((key, name(at.to_zoned(TimeZone::UTC).day())), 1)
    };
    card.last_visit_at.map(|at| on(seen, at)).into_iter().chain([on(at_risk, card.at_risk_from)])
}

fn difference(before: Counted, after: Counted) -> Vec<(Key, String, i64)> {
    let mut difference = after;
    for (counter, by) in before {
        *difference.entry(counter).or_default() -= by;
    }
    let added = difference.into_iter().filter(|(_, by)| *by != 0);
    added.map(|((key, name), by)| (key, name, by)).collect()
}

impl projection::Change for Change {
    const READS: &'static [&'static str] = &[Card::TYPE, Stamp::TYPE, CardReward::TYPE];
    const SENDS_TO: &'static [&'static str] = &[tasks::QUEUE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        if record.is::<Card>() {
            let before = record.before()?;
            return Ok(match (before, record.after()?) {
                (before, Some(after)) => Some(Self::Card { before, after }),
                (Some(before), None) => Some(Self::CardRemoved { before, written_at: record.written_at }),
                (None, None) => None,
            });
        }
        if record.is::<Stamp>() {
            return Ok(record.after()?.map(Self::Stamp));
        }
        Ok(record.after()?.map(Self::Reward))
    }

    fn lane(&self) -> String {
        self.account_id().to_string()
    }

    fn group(&self) -> String {
        self.program_id().to_string()
    }

    async fn follow(context: &Context, changes: &[Self]) -> Result<(), FollowError> {
        let Some(program) = changes.first().map(Self::program_id) else { return Ok(()) };
        let Some(plan) = plan(&context.table, program, changes).await? else { return Ok(()) };
        let reached = plan.milestones().map(|reached| (None, Notice::Milestone(reached)));
        context.send_all(tasks::QUEUE, reached.collect()).await?;
        Ok(plan.note(&context.table).await?)
    }
}

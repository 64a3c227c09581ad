//! Digital stamp cards: programs, customers, stamps, rewards.
//!
//! A card's state follows from its ledger: the stamps that were not voided, less those that its rewards were
//! given for.

use jiff::{SignedDuration, Timestamp, civil::Date};

use crate::{
    Invalid, bounded_number,
    email::Email,
    id::{AccountId, CardRewardId, CustomerId, ProgramId, StampId},
    phone::Phone,
    subscriber::Consent,
    text::{AllowedOrigins, Line, Name, TimeZoneName},
};

bounded_number! {
    /// Stamps that fill a card, 1–100.
    StampsRequired: u32 = 1..=100;
    /// Seconds that have to pass between two visits, 0–31 days.
    CooldownSeconds: u32 = 0..=2_678_400;
    /// Days without a visit after which a customer is at risk, 1–730.
    InactivityDays: u32 = 1..=730;
    /// Days for which a reward can be redeemed, 1–3,650.
    RewardDays: u32 = 1..=3650;
    /// Stamps given at once, 1–20.
    StampCount: u32 = 1..=20;
}

impl StampCount {
    pub const ONE: Self = Self(1);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgramStatus {
    Active,
    /// Takes no stamps and nobody new; rewards can be redeemed.
    Paused,
}

/// Numbers of visits at which to say so; at most 20, each 1–100,000.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct Milestones(Vec<u32>);

impl Milestones {
    /// Those that are reached by going from so many visits to so many.
    pub fn reached(&self, before: u32, after: u32) -> impl Iterator<Item = u32> {
        self.0.iter().copied().filter(move |milestone| before < *milestone && *milestone <= after)
    }
}

impl TryFrom<Vec<u32>> for Milestones {
    type Error = Invalid;
    fn try_from(mut milestones: Vec<u32>) -> Result<Self, Invalid> {
        milestones.sort_unstable();
        milestones.dedup();
        if milestones.len() > 20 {
            return Err(Invalid::new("has more than 20 milestones"));
        }
        if milestones.iter().any(|milestone| !(1..=100_000).contains(milestone)) {
            return Err(Invalid::new("has a milestone that is not 1–100,000"));
        }
        Ok(Self(milestones))
    }
}

impl From<Milestones> for Vec<u32> {
    fn from(milestones: Milestones) -> Self {
        milestones.0
    }
}

/// Everything that the owner of a program decides about it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramSettings {
    pub name: Name,
    #[serde(default = "active")]
    pub status: ProgramStatus,
    #[serde(default = "ten")]
    pub stamps_required: StampsRequired,
    /// What a full card is good for, e.g. "One coffee".
    pub reward: Line,
    #[serde(default)]
    pub reward_valid_days: Option<RewardDays>,
    #[serde(default = "no_cooldown")]
    pub cooldown_seconds: CooldownSeconds,
    #[serde(default = "thirty_days")]
    pub inactivity_days: InactivityDays,
    #[serde(default)]
    pub milestones: Milestones,
    /// Pages on which customers may enrol; all, when there is none.
    #[serde(default)]
    pub allowed_origins: AllowedOrigins,
}

fn active() -> ProgramStatus {
    ProgramStatus::Active
}

fn ten() -> StampsRequired {
    StampsRequired(10)
}

fn no_cooldown() -> CooldownSeconds {
    CooldownSeconds(0)
}

fn thirty_days() -> InactivityDays {
    InactivityDays(30)
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Program {
    pub id: ProgramId,
    pub account_id: AccountId,
    pub settings: ProgramSettings,
    /// Being deleted: it takes nothing and gives nothing.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Program {
    pub fn new(account: AccountId, settings: ProgramSettings, now: Timestamp) -> Self {
        Self {
            id: ProgramId::new(now),
            account_id: account,
            settings,
            deleting: false,
            created_at: now,
            updated_at: now,
            rev: 1,
        }
    }

    /// The next revision, with other settings.
    #[must_use]
    pub fn with_settings(&self, settings: ProgramSettings, now: Timestamp) -> Self {
        Self { settings, updated_at: now, rev: self.rev + 1, ..self.clone() }
    }
}

/// Somebody who collects stamps, once for all programs of an account.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Customer {
    pub id: CustomerId,
    pub account_id: AccountId,
    pub phone: Phone,
    pub email: Option<Email>,
    pub name: Option<Name>,
    pub birthday: Option<Date>,
    pub time_zone: Option<TimeZoneName>,
    pub consent: Consent,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StampStatus {
    Valid,
    Voided,
}

/// Stamps of one visit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    pub id: StampId,
    pub account_id: AccountId,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub count: u32,
    pub status: StampStatus,
    pub taken_at: Timestamp,
    pub recorded_at: Timestamp,
    /// The key or the member that gave them.
    pub given_by: String,
    pub voided_at: Option<Timestamp>,
    pub rev: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CardRewardStatus {
    Issued,
    /// For good.
    Redeemed,
    /// Taken back, because stamps that it was given for were voided.
    Withdrawn,
}

/// What a full card was good for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CardReward {
    pub id: CardRewardId,
    pub account_id: AccountId,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub reward: Line,
    /// Stamps that it was given for.
    pub stamps: u32,
    pub status: CardRewardStatus,
    pub issued_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub redeemed_at: Option<Timestamp>,
    pub withdrawn_at: Option<Timestamp>,
    pub rev: u64,
}

/// A customer's card of one program.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Card {
    pub account_id: AccountId,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    /// On the card that is being filled.
    pub stamps: u32,
    /// Ever given and not voided.
    pub total: u32,
    pub visits: u32,
    /// The most visits that there ever were: a milestone is reached once, whatever is voided.
    pub most_visits: u32,
    pub first_visit_at: Option<Timestamp>,
    pub last_visit_at: Option<Timestamp>,
    pub enrolled_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

/// What voiding stamps does to rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    None,
    /// So many of the newest rewards that were not redeemed have to go.
    Rewards(usize),
    /// The stamps were spent: what they were given for is redeemed.
    Spent,
}

impl Card {
    /// An empty card.
    pub fn new(account: AccountId, program: ProgramId, customer: CustomerId, now: Timestamp) -> Self {
        Self {
            account_id: account,
            program_id: program,
            customer_id: customer,
            stamps: 0,
            total: 0,
            visits: 0,
            most_visits: 0,
            first_visit_at: None,
            last_visit_at: None,
            enrolled_at: now,
            updated_at: now,
            rev: 1,
        }
    }

    /// The card with the stamps of a visit; how many cards that fills.
    #[must_use]
    pub fn stamped(&self, count: StampCount, taken_at: Timestamp, required: StampsRequired) -> (Self, u32) {
        let stamps = self.stamps + count.get();
        let visits = self.visits + 1;
        let filled = stamps / required.get();
        let card = Self {
            stamps: stamps - filled * required.get(),
            total: self.total + count.get(),
            visits,
            most_visits: self.most_visits.max(visits),
            first_visit_at: Some(self.first_visit_at.map_or(taken_at, |first| first.min(taken_at))),
            last_visit_at: Some(self.last_visit_at.map_or(taken_at, |last| last.max(taken_at))),
            rev: self.rev + 1,
            ..self.clone()
        };
        (card, filled)
    }

    /// The card without some stamps, given what the unredeemed rewards, newest first, were given for.
    /// `visits` are those that are left, by their times.
    #[must_use]
    pub fn voided(
        &self,
        count: u32,
        unredeemed: &[u32],
        first: Option<Timestamp>,
        last: Option<Timestamp>,
    ) -> (Self, Withdrawal) {
        let mut stamps = i64::from(self.stamps) - i64::from(count);
        let mut withdrawn = 0;
        while stamps < 0 {
            let Some(price) = unredeemed.get(withdrawn) else { return (self.clone(), Withdrawal::Spent) };
            stamps += i64::from(*price);
            withdrawn += 1;
        }
        let card = Self {
            stamps: u32::try_from(stamps).unwrap_or_default(),
            total: self.total.saturating_sub(count),
            visits: self.visits.saturating_sub(1),
            first_visit_at: first,
            last_visit_at: last,
            rev: self.rev + 1,
            ..self.clone()
        };
        (card, if withdrawn == 0 { Withdrawal::None } else { Withdrawal::Rewards(withdrawn) })
    }

    /// Mean time between visits; `None` before the second.
    pub fn visit_interval(&self) -> Option<SignedDuration> {
        let (first, last) = (self.first_visit_at?, self.last_visit_at?);
        let gaps = i32::try_from(self.visits.checked_sub(1)?).ok().filter(|gaps| *gaps > 0)?;
        Some(first.duration_until(last) / gaps)
    }

    /// When the customer will have stayed away for too long: the program's time without a visit, or
    /// three of the customer's own intervals if that is sooner, but a week at least.
    pub fn at_risk_from(&self, inactivity: InactivityDays) -> Timestamp {
        const DAY: SignedDuration = SignedDuration::from_hours(24);
        let since = self.last_visit_at.unwrap_or(self.enrolled_at);
        let allowed = DAY * i32::try_from(inactivity.get()).unwrap_or(i32::MAX);
        let own = self.visit_interval().map_or(allowed, |interval| (interval * 3).max(DAY * 7));
        since + allowed.min(own)
    }
}

/// Whether a visit is too close to another one, and when the next is possible.
///
/// A visit blocks the time before it too: of two visits that are too close, the one that is known
/// stays, whichever came first.
pub fn next_allowed(
    taken_at: Timestamp,
    others: impl IntoIterator<Item = Timestamp>,
    cooldown: CooldownSeconds,
) -> Option<Timestamp> {
    let cooldown = SignedDuration::from_secs(i64::from(cooldown.get()));
    let near = others.into_iter().filter(|other| taken_at.duration_until(*other).abs() < cooldown);
    near.max().map(|other| other + cooldown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn empty() -> Card {
        Card::new(AccountId::new(at(0)), ProgramId::new(at(0)), CustomerId::new(at(0)), at(0))
    }

    #[test]
    fn overflow_goes_to_the_next_card() {
        let (card, filled) = empty().stamped(StampCount(7), at(1), StampsRequired(10));
        assert_eq!((card.stamps, filled), (7, 0));
        let (card, filled) = card.stamped(StampCount(15), at(2), StampsRequired(10));
        assert_eq!((card.stamps, card.total, card.visits, filled), (2, 22, 2, 2));
    }

    #[test]
    fn voiding_takes_back_what_was_not_redeemed_and_nothing_else() {
        let (card, _) = empty().stamped(StampCount(12), at(1), StampsRequired(10));
        assert_eq!(card.voided(2, &[10], None, None).1, Withdrawal::None);
        let (without, withdrawal) = card.voided(12, &[10], None, None);
        assert_eq!((without.stamps, without.total, withdrawal), (0, 0, Withdrawal::Rewards(1)));
        assert_eq!(card.voided(12, &[], None, None), (card.clone(), Withdrawal::Spent));
    }

    #[test]
    fn a_visit_blocks_the_time_around_it() {
        let hour = CooldownSeconds(3600);
        assert_eq!(next_allowed(at(3600), [at(0)], hour), None);
        assert_eq!(next_allowed(at(3599), [at(0)], hour), Some(at(3600)));
        assert_eq!(next_allowed(at(0), [at(3599)], hour), Some(at(7199)), "taken before, known later");
        assert_eq!(next_allowed(at(0), [at(0)], CooldownSeconds(0)), None);
    }

    #[test]
    fn who_comes_often_is_missed_sooner() {
        const DAY: i64 = 86_400;
        let days =
            |card: &Card| (card.at_risk_from(InactivityDays(60)).as_second() - at(0).as_second()) / DAY;
        let visit = |card: Card, day: i64| card.stamped(StampCount(1), at(day * DAY), StampsRequired(10)).0;
        let once = visit(empty(), 0);
        assert_eq!((once.visit_interval(), days(&once)), (None, 60));
        let weekly = visit(visit(once.clone(), 7), 14);
        assert_eq!(days(&weekly), 14 + 21, "three weeks after the last of weekly visits");
        let daily = visit(once, 1);
        assert_eq!(days(&daily), 1 + 7, "a week at least");
    }

    proptest! {
        /// Whatever is stamped and voided in whatever order: the card is what the ledger says.
        #[test]
        fn the_card_is_what_the_ledger_says(steps in prop::collection::vec((1..=20u32, 1..=30u32, 0..10u8, any::<bool>()), 1..60)) {
            let mut card = empty();
            let mut stamps: Vec<u32> = Vec::new();
            // What each reward was given for, and whether it was redeemed; oldest first.
            let mut rewards: Vec<(u32, bool)> = Vec::new();
            for (second, (count, required, dice, redeem)) in (1..).zip(steps) {
                if dice < 7 || stamps.is_empty() {
                    let (after, filled) = card.stamped(StampCount(count), at(second), StampsRequired(required));
                    card = after;
                    stamps.push(count);
                    rewards.extend((0..filled).map(|_| (required, redeem)));
                } else {
                    let chosen = usize::from(dice) % stamps.len();
                    let unredeemed: Vec<u32> =
                        rewards.iter().rev().filter(|(_, redeemed)| !redeemed).map(|(price, _)| *price).collect();
                    let (after, withdrawal) = card.voided(stamps[chosen], &unredeemed, None, None);
                    let withdrawn = match withdrawal {
                        Withdrawal::None => 0,
                        Withdrawal::Rewards(count) => count,
                        Withdrawal::Spent => {
                            prop_assert_eq!(&after, &card);
                            continue;
                        }
                    };
                    card = after;
                    stamps.remove(chosen);
                    for _ in 0..withdrawn {
                        let newest = rewards.iter().rposition(|(_, redeemed)| !redeemed).unwrap();
                        rewards.remove(newest);
                    }
                }
                let total: u32 = stamps.iter().sum();
                let spent: u32 = rewards.iter().map(|(price, _)| price).sum();
                prop_assert_eq!((card.total, card.stamps), (total, total - spent));
                prop_assert_eq!(card.visits as usize, stamps.len());
            }
        }
    }
}

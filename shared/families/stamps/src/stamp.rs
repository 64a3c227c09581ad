//! Digital stamp cards: programs, cards, stamps and rewards.
//!
//! The state of a card follows from its ledger: the stamps that were not voided, less the stamps for which its
//! rewards were given.

use std::collections::BTreeMap;

use crate::id::{CardRewardId, StampId};
use domain::{
    Invalid, bounded_number,
    country::Countries,
    id::{AccountId, CustomerId, ProgramId},
    text::{AllowedOrigins, Line, Name},
};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

bounded_number! {
    /// Number of stamps that fill a card, 1–100.
    StampsRequired: u32 = 1..=100;
    /// Minimum time between two visits, in seconds, 0–2,678,400 (31 days).
    CooldownSeconds: u32 = 0..=2_678_400;
    /// Days without a visit after which a customer is at risk, 1–730. For a customer with at least two visits, the
    /// limit is three mean intervals between visits, but at least seven days, if that is shorter.
    InactivityDays: u32 = 1..=730;
    /// Days for which a reward can be redeemed, 1–3,650.
    RewardDays: u32 = 1..=3650;
    /// Number of stamps given at once, 1–20.
    StampCount: u32 = 1..=20;
}

impl StampCount {
    pub const ONE: Self = Self(1);
}

/// State of a stamp program.
///
/// - `active`: enrols customers and gives stamps.
/// - `paused`: accepts no enrolments and no stamps, except stamps that a till took before the pause. Rewards can be
///   redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgramStatus {
    Active,
    /// Accepts no enrolments and no stamps, except stamps that a till took before the pause. Rewards can be
    /// redeemed.
    Paused,
}

/// Callers that may enrol customers in a program.
///
/// - `anyone`: web pages with a publishable key may enrol too. The data that a web page gives about a customer is
///   provisional.
/// - `server_only`: only secret keys and members may enrol.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EnrolmentPolicy {
    /// Web pages with a publishable key may enrol too. The data that a web page gives about a customer is
    /// provisional.
    #[default]
    Anyone,
    /// Only secret keys and members may enrol.
    ServerOnly,
}

/// Visit milestones: numbers of visits at which the event `milestone.reached` is published. At most 20 milestones,
/// each 1–100,000. Duplicates are removed, and the milestones are sorted in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct Milestones(Vec<u32>);

impl Milestones {
    /// Returns the milestones that are reached when the number of visits rises from `before` to `after`.
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

/// Settings of a stamp program.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramSettings {
    pub name: Name,
    #[serde(default = "active")]
    pub status: ProgramStatus,
    #[serde(default = "ten")]
    pub stamps_required: StampsRequired,
    /// Reward for a full card, e.g. "One coffee".
    pub reward: Line,
    #[serde(default)]
    pub reward_valid_days: Option<RewardDays>,
    #[serde(default = "no_cooldown")]
    pub cooldown_seconds: CooldownSeconds,
    #[serde(default = "thirty_days")]
    pub inactivity_days: InactivityDays,
    #[serde(default)]
    pub milestones: Milestones,
    /// Origins whose web pages may enrol customers. An empty list allows every origin.
    #[serde(default)]
    pub allowed_origins: AllowedOrigins,
    #[serde(default)]
    pub enrollment: EnrolmentPolicy,
    /// Countries whose phone numbers the program enrols and sends messages to. An empty list allows every country.
    #[serde(default)]
    pub countries: Countries,
}

impl ProgramSettings {
    pub fn is_paused(&self) -> bool {
        self.status == ProgramStatus::Paused
    }
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
    /// Time at which the program was paused; `None` if it is active.
    pub paused_at: Option<Timestamp>,
    /// True while the program is being deleted. Such a program accepts no enrolments and no stamps.
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
            paused_at: settings.is_paused().then_some(now),
            settings,
            deleting: false,
            created_at: now,
            updated_at: now,
            rev: 1,
        }
    }

    /// Returns the next revision of the program, with other settings.
    #[must_use]
    pub fn with_settings(&self, settings: ProgramSettings, now: Timestamp) -> Self {
        let paused_at = settings.is_paused().then(|| self.paused_at.unwrap_or(now));
        Self { settings, paused_at, updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// Returns true if the program accepts stamps that were taken at this time.
    pub fn takes(&self, taken_at: Timestamp) -> bool {
        self.paused_at.is_none_or(|paused| taken_at < paused)
    }
}

/// State of a stamp: `valid`, or `voided` if it was taken back.
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
    /// Id of the API key or the member that gave the stamps.
    pub given_by: String,
    pub voided_at: Option<Timestamp>,
    pub rev: u64,
}

/// State of a card reward.
///
/// - `issued`: can be redeemed until it expires.
/// - `redeemed`: final; a redemption cannot be undone.
/// - `withdrawn`: taken back, because stamps for which the reward was given were voided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CardRewardStatus {
    Issued,
    /// Final: a redemption cannot be undone.
    Redeemed,
    /// Taken back, because stamps for which the reward was given were voided.
    Withdrawn,
}

/// Reward for a full card.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CardReward {
    pub id: CardRewardId,
    pub account_id: AccountId,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub reward: Line,
    /// Number of stamps for which the reward was given.
    pub stamps: u32,
    pub status: CardRewardStatus,
    pub issued_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub redeemed_at: Option<Timestamp>,
    pub withdrawn_at: Option<Timestamp>,
    pub rev: u64,
}

impl CardReward {
    /// Returns true if the reward can be redeemed at this time.
    pub fn is_redeemable(&self, now: Timestamp) -> bool {
        self.status == CardRewardStatus::Issued && self.expires_at.is_none_or(|at| at > now)
    }
}

/// Maximum number of cards that one visit fills. Each filled card is a write in the transaction of the visit, which
/// holds at most 100 writes. The remaining stamps count at the next visit.
const MOST_FILLED: u32 = 90;

/// Card of one customer in one program.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Card {
    pub account_id: AccountId,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    /// Stamps on the card that is being filled.
    pub stamps: u32,
    /// Stamps ever given and not voided.
    pub total: u32,
    pub visits: u32,
    pub visits_by_month: BTreeMap<Month, u32>,
    /// Highest number of visits so far. Voided stamps do not lower it, so each milestone is reached once.
    pub most_visits: u32,
    pub first_visit_at: Option<Timestamp>,
    pub last_visit_at: Option<Timestamp>,
    /// Time from which the customer is at risk, calculated with the settings at the last change of the card; a
    /// midnight in UTC.
    pub at_risk_from: Timestamp,
    /// True if only a web page gave this card. A campaign sends no message for a provisional card. The first visit
    /// confirms the card; so does an enrolment by a server or a member, and so does a consent that confirms the one
    /// given with the card.
    #[serde(default)]
    pub provisional: bool,
    pub enrolled_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

/// Effect of voided stamps on rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    None,
    /// Number of rewards to withdraw, the newest unredeemed ones.
    Rewards(usize),
    /// The stamps were spent on rewards that cannot be withdrawn, so they cannot be voided.
    Spent,
}

impl Card {
    /// Returns an empty card.
    pub fn new(program: &Program, customer: CustomerId, now: Timestamp) -> Self {
        Self {
            account_id: program.account_id.clone(),
            program_id: program.id.clone(),
            customer_id: customer,
            stamps: 0,
            total: 0,
            visits: 0,
            visits_by_month: BTreeMap::new(),
            most_visits: 0,
            first_visit_at: None,
            last_visit_at: None,
            at_risk_from: now,
            provisional: false,
            enrolled_at: now,
            updated_at: now,
            rev: 1,
        }
        .watched(program.settings.inactivity_days)
    }

    /// Returns the card with the stamps of a visit, and the number of cards that these stamps fill.
    #[must_use]
    pub fn stamped(&self, count: StampCount, taken_at: Timestamp, settings: &ProgramSettings) -> (Self, u32) {
        let required = settings.stamps_required.get();
        let stamps = self.stamps + count.get();
        let visits = self.visits + 1;
        let filled = (stamps / required).min(MOST_FILLED);
        let mut visits_by_month = self.visits_by_month.clone();
        *visits_by_month.entry(Month::of(taken_at)).or_default() += 1;
        let card = Self {
            stamps: stamps - filled * required,
            total: self.total + count.get(),
            visits,
            visits_by_month,
            most_visits: self.most_visits.max(visits),
            first_visit_at: Some(self.first_visit_at.map_or(taken_at, |first| first.min(taken_at))),
            last_visit_at: Some(self.last_visit_at.map_or(taken_at, |last| last.max(taken_at))),
            provisional: false,
            rev: self.rev + 1,
            ..self.clone()
        };
        (card.watched(settings.inactivity_days), filled)
    }

    /// Returns the card without the stamps of a visit, and the effect on rewards. `left` are the times of the
    /// remaining visits. `unredeemed` are the numbers of stamps for which the unredeemed rewards were given, newest
    /// first.
    #[must_use]
    pub fn voided(
        &self,
        stamp: &Stamp,
        left: &[Timestamp],
        unredeemed: &[u32],
        settings: &ProgramSettings,
    ) -> (Self, Withdrawal) {
        let mut stamps = i64::from(self.stamps) - i64::from(stamp.count);
        let mut withdrawn = 0;
        while stamps < 0 {
            let Some(price) = unredeemed.get(withdrawn) else { return (self.clone(), Withdrawal::Spent) };
            stamps += i64::from(*price);
            withdrawn += 1;
        }
        let mut visits_by_month = self.visits_by_month.clone();
        let month = Month::of(stamp.taken_at);
        match visits_by_month.get_mut(&month) {
            Some(visits) if *visits > 1 => *visits -= 1,
            _ => drop(visits_by_month.remove(&month)),
        }
        let card = Self {
            stamps: u32::try_from(stamps).unwrap_or_default(),
            total: self.total.saturating_sub(stamp.count),
            visits: self.visits.saturating_sub(1),
            visits_by_month,
            first_visit_at: left.iter().min().copied(),
            last_visit_at: left.iter().max().copied(),
            rev: self.rev + 1,
            ..self.clone()
        };
        let card = card.watched(settings.inactivity_days);
        (card, if withdrawn == 0 { Withdrawal::None } else { Withdrawal::Rewards(withdrawn) })
    }

    /// Returns the mean time between visits; `None` before the second visit.
    pub fn visit_interval(&self) -> Option<SignedDuration> {
        let (first, last) = (self.first_visit_at?, self.last_visit_at?);
        let gaps = i32::try_from(self.visits.checked_sub(1)?).ok().filter(|gaps| *gaps > 0)?;
        Some(first.duration_until(last) / gaps)
    }

    /// Returns the card with its at-risk time calculated from this setting.
    #[must_use]
    pub fn watched(self, inactivity: InactivityDays) -> Self {
        Self { at_risk_from: midnight(self.too_long(inactivity)), ..self }
    }

    /// Returns the time from which the customer is at risk: `inactivity` days after the last visit. For a customer
    /// with at least two visits, the limit is three mean intervals between visits, but at least seven days, if that
    /// is shorter. Before the first visit, the time counts from the enrolment.
    fn too_long(&self, inactivity: InactivityDays) -> Timestamp {
        const DAY: SignedDuration = SignedDuration::from_hours(24);
        let since = self.last_visit_at.unwrap_or(self.enrolled_at);
        let allowed = DAY * i32::try_from(inactivity.get()).unwrap_or(i32::MAX);
        let own = self.visit_interval().map_or(allowed, |interval| (interval * 3).max(DAY * 7));
        since + allowed.min(own)
    }
}

/// Returns the first midnight in UTC at or after this time.
fn midnight(at: Timestamp) -> Timestamp {
    const DAY: i64 = 86_400;
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second((second + DAY - 1).div_euclid(DAY) * DAY).unwrap_or(at)
}

/// Month in UTC, as text such as `2026-11`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "2026-11")]
pub struct Month(i32);

impl Month {
    pub fn of(at: Timestamp) -> Self {
        let date = at.to_zoned(TimeZone::UTC).date();
        Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    /// Returns the month that many months later, or earlier if the number is negative.
    #[must_use]
    pub fn plus(self, months: i32) -> Self {
        Self(self.0 + months)
    }

    /// Returns a day of the month; `None` if the month has no such day.
    pub fn day(self, day: i8) -> Option<Date> {
        let year = i16::try_from(self.0.div_euclid(12)).ok()?;
        let month = i8::try_from(self.0.rem_euclid(12) + 1).ok()?;
        Date::new(year, month, day).ok()
    }

    /// Returns the number of months since another month.
    pub fn since(self, other: Self) -> i32 {
        self.0 - other.0
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

impl TryFrom<String> for Month {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let first: Result<Date, _> = format!("{text}-01").parse();
        let first = first.map_err(|_| Invalid::new("is not a month such as 2026-11"))?;
        Ok(Self(i32::from(first.year()) * 12 + i32::from(first.month()) - 1))
    }
}

/// Returns when the next visit is possible, if a visit is too close to another one; `None` if it is not.
///
/// A visit also blocks the time before it. Of two visits that are too close, the one that is recorded stays,
/// whichever came first.
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

    fn settings(required: u32, inactivity: u32) -> ProgramSettings {
        let settings = serde_json::json!({
            "name": "Coffee", "reward": "One coffee", "stamps_required": required, "inactivity_days": inactivity,
        });
        serde_json::from_value(settings).unwrap()
    }

    fn empty() -> Card {
        let program = Program::new(AccountId::new(at(0)), settings(10, 60), at(0));
        Card::new(&program, CustomerId::new(at(0)), at(0))
    }

    fn visit(card: &Card, count: u32, taken_at: Timestamp) -> Stamp {
        Stamp {
            id: StampId::new(&card.customer_id, taken_at),
            account_id: card.account_id.clone(),
            program_id: card.program_id.clone(),
            customer_id: card.customer_id.clone(),
            count,
            status: StampStatus::Valid,
            taken_at,
            recorded_at: taken_at,
            given_by: "key".to_owned(),
            voided_at: None,
            rev: 1,
        }
    }

    #[test]
    fn overflow_goes_to_the_next_card() {
        let (card, filled) = empty().stamped(StampCount(7), at(1), &settings(10, 60));
        assert_eq!((card.stamps, filled), (7, 0));
        let (card, filled) = card.stamped(StampCount(15), at(2), &settings(10, 60));
        assert_eq!((card.stamps, card.total, card.visits, filled), (2, 22, 2, 2));
    }

    #[test]
    fn voiding_takes_back_what_was_not_redeemed_and_nothing_else() {
        let (card, _) = empty().stamped(StampCount(12), at(1), &settings(10, 60));
        let voided =
            |count, prices: &[u32]| card.voided(&visit(&card, count, at(1)), &[], prices, &settings(10, 60));
        assert_eq!(voided(2, &[10]).1, Withdrawal::None);
        let (without, withdrawal) = voided(12, &[10]);
        assert_eq!((without.stamps, without.total, withdrawal), (0, 0, Withdrawal::Rewards(1)));
        assert!(without.visits_by_month.is_empty());
        assert_eq!(voided(12, &[]), (card.clone(), Withdrawal::Spent));
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
        let first: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let day = |day: i64| first + SignedDuration::from_hours(24 * day);
        let days = |card: &Card| first.duration_until(card.at_risk_from).as_secs() / DAY;
        let visit = |card: Card, on: i64| card.stamped(StampCount(1), day(on), &settings(10, 60)).0;
        let once = visit(empty(), 0);
        assert_eq!((once.visit_interval(), days(&once)), (None, 60));
        assert_eq!(days(&once.clone().watched(InactivityDays(14))), 14);
        let weekly = visit(visit(once.clone(), 7), 14);
        assert_eq!(days(&weekly), 14 + 21, "three weeks after the last of weekly visits");
        let daily = visit(once, 1);
        assert_eq!(days(&daily), 1 + 7, "a week at least");
        let noon = first + SignedDuration::from_hours(12);
        assert_eq!(days(&empty().stamped(StampCount(1), noon, &settings(10, 60)).0), 61, "from midnight on");
    }

    proptest! {
        /// The card equals its ledger after any sequence of stamps and voids.
        #[test]
        fn the_card_is_what_the_ledger_says(steps in prop::collection::vec((1..=20u32, 1..=30u32, 0..10u8, any::<bool>()), 1..60)) {
            let mut card = empty();
            let mut stamps: Vec<(u32, Timestamp)> = Vec::new();
            // Stamps for which each reward was given, and whether the reward was redeemed; oldest first.
            let mut rewards: Vec<(u32, bool)> = Vec::new();
            for (day, (count, required, dice, redeem)) in (1..).zip(steps) {
                if dice < 7 || stamps.is_empty() {
                    let taken_at = at(day * 86_400);
                    let (after, filled) = card.stamped(StampCount(count), taken_at, &settings(required, 60));
                    card = after;
                    stamps.push((count, taken_at));
                    rewards.extend((0..filled).map(|_| (required, redeem)));
                } else {
                    let chosen = usize::from(dice) % stamps.len();
                    let unredeemed: Vec<u32> =
                        rewards.iter().rev().filter(|(_, redeemed)| !redeemed).map(|(price, _)| *price).collect();
                    let mut left: Vec<_> = stamps.iter().map(|(_, at)| *at).collect();
                    left.remove(chosen);
                    let (count, taken_at) = stamps[chosen];
                    let (after, withdrawal) =
                        card.voided(&visit(&card, count, taken_at), &left, &unredeemed, &settings(required, 60));
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
                let total: u32 = stamps.iter().map(|(count, _)| count).sum();
                let spent: u32 = rewards.iter().map(|(price, _)| price).sum();
                prop_assert_eq!((card.total, card.stamps), (total, total - spent));
                prop_assert_eq!(card.visits as usize, stamps.len());
                let mut by_month = BTreeMap::new();
                for (_, at) in &stamps {
                    *by_month.entry(Month::of(*at)).or_default() += 1;
                }
                prop_assert_eq!(&card.visits_by_month, &by_month);
            }
        }
    }
}

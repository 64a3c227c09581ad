//! Request and response bodies of the stamp family. The settings of a program are [`ProgramSettings`].

use api::ConsentInput;
use domain::{
    consent::Consent,
    email::Email,
    id::{CustomerId, ProgramId},
    phone::Phone,
    text::{Line, Name, TimeZoneName, Word},
};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use stamps::{
    Given,
    customer::{Customer, Provisional, Said},
    entities::ProgramStats,
    id::{CardRewardId, StampId},
    stamp::{Card, CardReward, CardRewardStatus, Program, ProgramSettings, Stamp, StampCount, StampStatus},
};
use utoipa::{IntoParams, ToSchema};

/// Stamp-card program with its settings.
#[derive(Serialize, ToSchema)]
pub struct ProgramView {
    pub id: ProgramId,
    #[serde(flatten)]
    pub settings: ProgramSettings,
    /// True while the program is being deleted. The program then accepts no customers and no stamps.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<Program> for ProgramView {
    fn from(program: Program) -> Self {
        let Program { id, settings, deleting, created_at, updated_at, .. } = program;
        Self { id, settings, deleting, created_at, updated_at }
    }
}

/// Enrolment of a customer in a program.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    pub program_id: ProgramId,
    pub phone: Phone,
    pub name: Option<Name>,
    #[schema(value_type = Option<String>, format = "email", max_length = 254)]
    pub email: Option<Email>,
    pub birthday: Option<Date>,
    pub time_zone: Option<TimeZoneName>,
    /// Consent to campaign messages.
    pub consent: ConsentInput,
}

impl EnrolmentRequest {
    pub fn said(&self, now: Timestamp) -> Said {
        Said {
            email: self.email.clone(),
            name: self.name.clone(),
            birthday: self.birthday,
            time_zone: self.time_zone.clone(),
            consent: self.consent.at(now),
        }
    }
}

/// Numbers of a program since its creation. The numbers lag behind a change by up to one second.
#[derive(Serialize, ToSchema)]
pub struct ProgramCounts {
    /// Customers ever enrolled, including erased customers.
    pub customers: u64,
    /// Visits that were not voided.
    pub visits: u64,
    /// Stamps that were not voided.
    pub stamps: u64,
    /// Rewards that were issued and not withdrawn.
    pub rewards_issued: u64,
    pub rewards_redeemed: u64,
}

impl From<ProgramStats> for ProgramCounts {
    fn from(stats: ProgramStats) -> Self {
        let ProgramStats { customers, visits, stamps, rewards_issued, rewards_redeemed } = stats;
        Self { customers, visits, stamps, rewards_issued, rewards_redeemed }
    }
}

/// Stamp-card program with its numbers.
#[derive(Serialize, ToSchema)]
pub struct ProgramWithCounts {
    #[serde(flatten)]
    pub program: ProgramView,
    pub counts: ProgramCounts,
}

/// Answer to an enrolment with a publishable key, the same for new and known customers.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct EnrolmentAccepted {
    status: String,
}

impl EnrolmentAccepted {
    pub fn new() -> Self {
        Self { status: "enrolled".to_owned() }
    }
}

/// Customer and program of an enrolment.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct EnrolledView {
    pub customer_id: CustomerId,
    pub program_id: ProgramId,
}

/// Data of a customer that the account can change.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerSettings {
    pub phone: Phone,
    #[serde(default)]
    pub name: Option<Name>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "email", max_length = 254)]
    pub email: Option<Email>,
    #[serde(default)]
    pub birthday: Option<Date>,
    #[serde(default)]
    pub time_zone: Option<TimeZoneName>,
    pub consent: ConsentInput,
}

impl CustomerSettings {
    pub fn of(customer: &Customer) -> Self {
        Self {
            phone: customer.phone.clone(),
            name: customer.name.clone(),
            email: customer.email.clone(),
            birthday: customer.birthday,
            time_zone: customer.time_zone.clone(),
            consent: ConsentInput::of(&customer.consent),
        }
    }

    /// Returns the customer with these settings. The fields that `patch` names are confirmed by it: their provisional
    /// values are dropped.
    pub fn applied_to(self, customer: &Customer, patch: &serde_json::Value, now: Timestamp) -> Customer {
        let Self { phone, name, email, birthday, time_zone, consent } = self;
        let unchanged = ConsentInput::of(&customer.consent) == consent;
        Customer {
            phone,
            name,
            email,
            birthday,
            time_zone,
            consent: if unchanged { customer.consent.clone() } else { consent.at(now) },
            provisional: customer
                .provisional
                .clone()
                .and_then(|provisional| provisional.without(|field| patch.get(field).is_some())),
            updated_at: now,
            rev: customer.rev + 1,
            ..customer.clone()
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CustomerFilter {
    pub program_id: ProgramId,
    /// Phone number of a customer. The list then contains only the customer with this number, in any of its forms.
    pub phone: Option<Phone>,
    /// Cursor of the page: `next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Number of entries in a page, 1–100. The default is 20.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CardQuery {
    pub program_id: ProgramId,
}

/// Customer of a program with the card of the program.
#[derive(Serialize, ToSchema)]
pub struct CustomerWithCard {
    #[serde(flatten)]
    pub customer: CustomerView,
    pub card: CardView,
}

/// Unconfirmed data of a customer, from a page with a publishable key. These data are used for nothing until a secret
/// key, a member or the customer confirms them.
#[derive(Serialize, ToSchema)]
pub struct ProvisionalView {
    #[schema(required)]
    pub email: Option<String>,
    #[schema(required)]
    pub name: Option<Name>,
    #[schema(required)]
    pub birthday: Option<Date>,
    #[schema(required)]
    pub time_zone: Option<TimeZoneName>,
    /// Unconfirmed consent; `null` after the customer or the account has given or refused consent.
    #[schema(required)]
    pub consent: Option<Consent>,
}

impl From<Provisional> for ProvisionalView {
    fn from(provisional: Provisional) -> Self {
        let Provisional { email, name, birthday, time_zone, consent, program_id: _ } = provisional;
        Self { email: email.map(String::from), name, birthday, time_zone, consent }
    }
}

/// Customer. All data except `provisional` are confirmed.
#[derive(Serialize, ToSchema)]
pub struct CustomerView {
    pub id: CustomerId,
    pub phone: Phone,
    #[schema(required)]
    pub email: Option<String>,
    #[schema(required)]
    pub name: Option<Name>,
    #[schema(required)]
    pub birthday: Option<Date>,
    #[schema(required)]
    pub time_zone: Option<TimeZoneName>,
    pub consent: Consent,
    /// Unconfirmed data; `null` if no data wait for a confirmation.
    #[schema(required)]
    pub provisional: Option<ProvisionalView>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<Customer> for CustomerView {
    fn from(customer: Customer) -> Self {
        let Customer {
            id,
            phone,
            email,
            name,
            birthday,
            time_zone,
            consent,
            provisional,
            created_at,
            updated_at,
            ..
        } = customer;
        let (email, provisional) = (email.map(String::from), provisional.map(ProvisionalView::from));
        Self { id, phone, email, name, birthday, time_zone, consent, provisional, created_at, updated_at }
    }
}

/// Stamp card of a customer in a program.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct CardView {
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    /// Stamps on the current card.
    pub stamps: u32,
    /// Stamps that fill the card and earn a reward.
    pub stamps_required: u32,
    /// All stamps ever given to the customer in the program, without voided stamps.
    pub total: u32,
    /// Visits that were not voided.
    pub visits: u32,
    #[schema(required)]
    pub last_visit_at: Option<Timestamp>,
    /// Mean time between two visits in seconds; `null` before the second visit.
    #[schema(required)]
    pub visit_interval_seconds: Option<u64>,
    /// True if `at_risk_from` has passed without a further visit.
    pub at_risk: bool,
    /// Time from which the customer is at risk: `inactivity_days` after the last visit or the enrolment, or sooner,
    /// after three of the customer's mean visit intervals, but not before a week. Rounded up to midnight in UTC.
    pub at_risk_from: Timestamp,
    pub enrolled_at: Timestamp,
}

impl CardView {
    pub fn of(card: &Card, program: &Program, now: Timestamp) -> Self {
        // The program's settings may have changed since the card did.
        let Card { at_risk_from, .. } = card.clone().watched(program.settings.inactivity_days);
        let interval = card.visit_interval().and_then(|interval| u64::try_from(interval.as_secs()).ok());
        Self {
            program_id: card.program_id.clone(),
            customer_id: card.customer_id.clone(),
            stamps: card.stamps,
            stamps_required: program.settings.stamps_required.get(),
            total: card.total,
            visits: card.visits,
            last_visit_at: card.last_visit_at,
            visit_interval_seconds: interval,
            at_risk: at_risk_from <= now,
            at_risk_from,
            enrolled_at: card.enrolled_at,
        }
    }
}

/// Stamp card with a token for the QR code that the customer shows at the till.
#[derive(Serialize, ToSchema)]
pub struct ShownCardView {
    #[serde(flatten)]
    pub card: CardView,
    /// Content of the QR code. A token is valid for one visit, until `token_expires_at`.
    pub token: String,
    pub token_expires_at: Timestamp,
}

/// Visit of a customer: either a `token`, or `program_id` and `customer_id`.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StampRequest {
    /// Content of the customer's QR code. The token names the program and the customer.
    pub token: Option<String>,
    /// Program of the card; only without a `token`.
    pub program_id: Option<ProgramId>,
    /// Customer of the card; only without a `token`.
    pub customer_id: Option<CustomerId>,
    /// Number of stamps, 1–20. The default is 1.
    #[serde(default = "one")]
    pub count: StampCount,
}

fn one() -> StampCount {
    StampCount::ONE
}

/// Stamps of one visit.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct StampView {
    pub id: StampId,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub count: u32,
    pub status: StampStatus,
    /// Time of the visit.
    pub taken_at: Timestamp,
    /// Time at which the API received the visit.
    pub recorded_at: Timestamp,
    #[schema(required)]
    pub voided_at: Option<Timestamp>,
}

impl From<Stamp> for StampView {
    fn from(stamp: Stamp) -> Self {
        let Stamp { id, program_id, customer_id, count, status, taken_at, recorded_at, voided_at, .. } =
            stamp;
        Self { id, program_id, customer_id, count, status, taken_at, recorded_at, voided_at }
    }
}

/// State of a card reward. `withdrawn`: taken back because stamps that earned it were voided. `expired`: not redeemed
/// in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardState {
    Issued,
    Redeemed,
    Withdrawn,
    /// The reward was not redeemed in time.
    Expired,
}

/// Reward of a full card.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct CardRewardView {
    pub id: CardRewardId,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub reward: Line,
    pub status: RewardState,
    pub issued_at: Timestamp,
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    #[schema(required)]
    pub redeemed_at: Option<Timestamp>,
}

impl CardRewardView {
    pub fn of(reward: CardReward, now: Timestamp) -> Self {
        let CardReward {
            id,
            program_id,
            customer_id,
            reward,
            status,
            issued_at,
            expires_at,
            redeemed_at,
            ..
        } = reward;
        let status = match status {
            CardRewardStatus::Redeemed => RewardState::Redeemed,
            CardRewardStatus::Withdrawn => RewardState::Withdrawn,
            CardRewardStatus::Issued if expires_at.is_some_and(|at| at <= now) => RewardState::Expired,
            CardRewardStatus::Issued => RewardState::Issued,
        };
        Self { id, program_id, customer_id, reward, status, issued_at, expires_at, redeemed_at }
    }
}

/// Recorded visit, with the customer's card after it.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct GivenView {
    #[serde(flatten)]
    pub stamp: StampView,
    pub card: CardView,
    /// Rewards that the visit earned.
    pub rewards: Vec<CardRewardView>,
}

impl GivenView {
    pub fn of(given: &Given, program: &Program) -> Self {
        let now = given.stamp.recorded_at;
        Self {
            stamp: given.stamp.clone().into(),
            card: CardView::of(&given.card, program, now),
            rewards: given.rewards.iter().cloned().map(|reward| CardRewardView::of(reward, now)).collect(),
        }
    }
}

/// Visit that a till recorded while it was offline.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfflineStamp {
    /// The till's own identifier of the visit: unique for the customer, and the same in every retry.
    pub till_id: Word,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    /// Time of the visit: at most 30 days ago, and at most 5 minutes in the future.
    pub taken_at: Timestamp,
    /// Number of stamps, 1–20. The default is 1.
    #[serde(default = "one")]
    pub count: StampCount,
}

/// Visits that a till recorded while it was offline.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    #[schema(min_items = 1, max_items = 100)]
    pub stamps: Vec<OfflineStamp>,
}

/// Outcome of one offline visit.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum SyncOutcome {
    Added {
        stamp_id: StampId,
    },
    /// The visit was recorded before.
    Duplicate {
        stamp_id: StampId,
    },
    /// The visit can't be recorded.
    Refused {
        /// Type of the problem: the URL of its page.
        problem: String,
        detail: Option<String>,
    },
}

impl SyncOutcome {
    pub fn refused(kind: api::ProblemKind, detail: Option<String>) -> Self {
        Self::Refused { problem: kind.uri(), detail }
    }
}

/// Offline visit with its outcome.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SyncedStamp {
    pub till_id: Word,
    #[serde(flatten)]
    pub outcome: SyncOutcome,
}

/// Outcomes of the visits, in the order of the request.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct SyncView {
    pub data: Vec<SyncedStamp>,
}

//! What the stamp family takes and gives. What a program takes is [`ProgramSettings`].

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

#[derive(Serialize, ToSchema)]
pub struct ProgramView {
    pub id: ProgramId,
    #[serde(flatten)]
    pub settings: ProgramSettings,
    /// Being deleted: it takes nothing and gives nothing.
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
    /// Whether messages may be sent that aren't asked for.
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

/// What ever happened in a program; up to a second behind.
#[derive(Serialize, ToSchema)]
pub struct ProgramCounts {
    pub customers: u64,
    /// Not voided, as are stamps.
    pub visits: u64,
    pub stamps: u64,
    pub rewards_issued: u64,
    pub rewards_redeemed: u64,
}

impl From<ProgramStats> for ProgramCounts {
    fn from(stats: ProgramStats) -> Self {
        let ProgramStats { customers, visits, stamps, rewards_issued, rewards_redeemed } = stats;
        Self { customers, visits, stamps, rewards_issued, rewards_redeemed }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ProgramWithCounts {
    #[serde(flatten)]
    pub program: ProgramView,
    pub counts: ProgramCounts,
}

/// What a page is told, whoever enrolled.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct EnrolmentAccepted {
    status: String,
}

impl EnrolmentAccepted {
    pub fn new() -> Self {
        Self { status: "enrolled".to_owned() }
    }
}

/// Who collects.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct EnrolledView {
    pub customer_id: CustomerId,
    pub program_id: ProgramId,
}

/// What an account may change of a customer.
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

    /// The customer with these settings, of which the patch names those that it decides: of them nothing stays
    /// provisional.
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
    /// The customer with this number in whichever form, if there is one.
    pub phone: Option<Phone>,
    /// Where to go on: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Entries in a page, 1–100; 20 when left out.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CardQuery {
    pub program_id: ProgramId,
}

/// A customer of a program.
#[derive(Serialize, ToSchema)]
pub struct CustomerWithCard {
    #[serde(flatten)]
    pub customer: CustomerView,
    pub card: CardView,
}

/// Data of a customer that only a page gave; used for nothing until they are confirmed.
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
    /// `null` once the customer or the account has decided.
    #[schema(required)]
    pub consent: Option<Consent>,
}

impl From<Provisional> for ProvisionalView {
    fn from(provisional: Provisional) -> Self {
        let Provisional { email, name, birthday, time_zone, consent, program_id: _ } = provisional;
        Self { email: email.map(String::from), name, birthday, time_zone, consent }
    }
}

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
    /// `null` when nothing waits for a confirmation.
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

/// A card, as it is now.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct CardView {
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    /// On the card that is being filled.
    pub stamps: u32,
    pub stamps_required: u32,
    /// Ever given and not voided.
    pub total: u32,
    pub visits: u32,
    #[schema(required)]
    pub last_visit_at: Option<Timestamp>,
    /// Mean time between visits; `null` before the second.
    #[schema(required)]
    pub visit_interval_seconds: Option<u64>,
    /// Has stayed away for too long.
    pub at_risk: bool,
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

/// A card with a code that its customer shows at a till.
#[derive(Serialize, ToSchema)]
pub struct ShownCardView {
    #[serde(flatten)]
    pub card: CardView,
    /// What a QR code for the till contains; good for one stamp.
    pub token: String,
    pub token_expires_at: Timestamp,
}

#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StampRequest {
    /// What the customer's QR code contains. It says program and customer.
    pub token: Option<String>,
    /// Without a token.
    pub program_id: Option<ProgramId>,
    /// Without a token.
    pub customer_id: Option<CustomerId>,
    /// 1 when left out.
    #[serde(default = "one")]
    pub count: StampCount,
}

fn one() -> StampCount {
    StampCount::ONE
}

#[derive(Serialize, Deserialize, ToSchema)]
pub struct StampView {
    pub id: StampId,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub count: u32,
    pub status: StampStatus,
    pub taken_at: Timestamp,
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

/// A reward as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardState {
    Issued,
    Redeemed,
    Withdrawn,
    /// Nobody redeemed it in time.
    Expired,
}

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

/// A visit, and what came of it.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct GivenView {
    #[serde(flatten)]
    pub stamp: StampView,
    pub card: CardView,
    /// Those that the visit earned.
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

/// A stamp that a till gave while it was offline.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfflineStamp {
    /// The till's own number of it, the same each time that it is sent.
    pub till_id: Word,
    pub program_id: ProgramId,
    pub customer_id: CustomerId,
    pub taken_at: Timestamp,
    #[serde(default = "one")]
    pub count: StampCount,
}

#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    #[schema(min_items = 1, max_items = 100)]
    pub stamps: Vec<OfflineStamp>,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum SyncOutcome {
    Added {
        stamp_id: StampId,
    },
    /// It was taken in before.
    Duplicate {
        stamp_id: StampId,
    },
    Refused {
        /// The problem's page.
        problem: String,
        detail: Option<String>,
    },
}

impl SyncOutcome {
    pub fn refused(kind: api::ProblemKind, detail: Option<String>) -> Self {
        Self::Refused { problem: kind.uri(), detail }
    }
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SyncedStamp {
    pub till_id: Word,
    #[serde(flatten)]
    pub outcome: SyncOutcome,
}

/// In the order of the request.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct SyncView {
    pub data: Vec<SyncedStamp>,
}

//! What the family answers.

use campaigns::entities::CampaignStats;
use codes::entities::CodePoolStats;
use projection::rollups::{self, Counts};
use serde::Serialize;
use stamps::stamp::Month;
use utoipa::ToSchema;
use waitlists::{
    WaitlistCounts,
    counted::{CLICKED, ENTERED, REFERRED},
};

use crate::range::Timeline;

/// What is counted of a family: the names of its numbers, and of which events or other matters they are the count.
macro_rules! happened {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident = $counter:expr;)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, Serialize, ToSchema)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: i64,)*
        }

        impl From<Counts> for $name {
            fn from(counts: Counts) -> Self {
                Self { $($field: counts.get($counter).copied().unwrap_or_default(),)* }
            }
        }
    )*};
}

happened! {
    /// On a waitlist.
    WaitlistActivity {
        /// Visits through referral links.
        clicked = CLICKED;
        joined = waitlists::events::SUBSCRIBER_JOINED.name;
        /// Of those who joined, those who followed a referral link.
        referred = REFERRED;
        /// Confirmed addresses.
        verified = waitlists::events::SUBSCRIBER_VERIFIED.name;
        /// Got into line: by confirming the address, or at once where that isn't asked for.
        entered = ENTERED;
        invited = waitlists::events::SUBSCRIBER_INVITED.name;
        converted = waitlists::events::SUBSCRIBER_CONVERTED.name;
        unsubscribed = waitlists::events::SUBSCRIBER_UNSUBSCRIBED.name;
        /// Unsubscribed before, and confirmed to want mail again.
        resubscribed = waitlists::events::SUBSCRIBER_RESUBSCRIBED.name;
        erased = waitlists::events::SUBSCRIBER_ERASED.name;
        credited = waitlists::events::REFERRAL_CREDITED.name;
    }
    /// To a feature.
    FeatureActivity {
        voted = features::events::FEATURE_VOTED.name;
        unvoted = features::events::FEATURE_UNVOTED.name;
        commented = features::events::COMMENT_POSTED.name;
        approved = features::events::COMMENT_APPROVED.name;
        rejected = features::events::COMMENT_REJECTED.name;
        /// Comments that are gone with their authors.
        erased = features::events::COMMENT_ERASED.name;
    }
    /// To the referrals of a waitlist.
    ReferralActivity {
        /// Visits through referral links.
        clicked = CLICKED;
        /// Joined through one.
        referred = REFERRED;
        credited = waitlists::events::REFERRAL_CREDITED.name;
        revoked = waitlists::events::REFERRAL_REVOKED.name;
        restored = waitlists::events::REFERRAL_RESTORED.name;
        rewards_issued = waitlists::events::REWARD_ISSUED.name;
        rewards_revoked = waitlists::events::REWARD_REVOKED.name;
    }
    /// In a code pool.
    CodePoolActivity {
        claimed = codes::events::CODE_CLAIMED.name;
        redeemed = codes::events::CODE_REDEEMED.name;
        imports_completed = codes::events::IMPORT_COMPLETED.name;
        imports_failed = codes::events::IMPORT_FAILED.name;
        /// Thresholds of low stock that were crossed.
        low_stock = codes::events::CODE_POOL_LOW_STOCK.name;
    }
    /// In a stamp program.
    ProgramActivity {
        enrolled = stamps::events::CUSTOMER_ENROLLED.name;
        /// Visits that were stamped, by the time at which they came to be known.
        visits = stamps::events::STAMP_GIVEN.name;
        voided = stamps::events::STAMP_VOIDED.name;
        /// Stamps, less those of voided visits.
        stamps = stamps::projection::STAMPS;
        milestones = stamps::events::MILESTONE_REACHED.name;
        rewards_issued = stamps::events::CARD_REWARD_ISSUED.name;
        rewards_redeemed = stamps::events::CARD_REWARD_REDEEMED.name;
        rewards_withdrawn = stamps::events::CARD_REWARD_WITHDRAWN.name;
    }
    /// To the messages of a campaign.
    CampaignActivity {
        queued = campaigns::events::MESSAGE_QUEUED.name;
        refused = campaigns::events::MESSAGE_REFUSED.name;
        /// Each time that the provider took one: one that was sent in vain is sent again.
        sent = campaigns::events::MESSAGE_SENT.name;
        /// Sent in vain and to be sent again, or given up and heard of.
        reopened = campaigns::events::MESSAGE_REOPENED.name;
        failed = campaigns::events::MESSAGE_FAILED.name;
        delivered = campaigns::events::MESSAGE_DELIVERED.name;
        read = campaigns::events::MESSAGE_READ.name;
        /// Discount codes of its messages.
        redeemed = campaigns::events::MESSAGE_REDEEMED.name;
    }
    /// Of what leads from a visit to a redemption.
    FunnelActivity {
        /// Visits through referral links.
        click = CLICKED;
        join = waitlists::events::SUBSCRIBER_JOINED.name;
        /// Got into line: by confirming the address, or at once where that isn't asked for.
        verify = ENTERED;
        /// Referrals that were credited.
        refer = waitlists::events::REFERRAL_CREDITED.name;
        codes_redeemed = codes::events::CODE_REDEEMED.name;
        rewards_redeemed = stamps::events::CARD_REWARD_REDEEMED.name;
    }
}

/// So much for each of another number, to four decimals; `None` of none.
pub fn rate(part: impl TryInto<i64>, whole: impl TryInto<i64>) -> Option<f64> {
    let (part, whole) = (part.try_into().ok()?, whole.try_into().ok()?);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let rate = |part: i64, whole: i64| part as f64 / whole as f64;
    (whole > 0).then(|| (rate(part, whole) * 10_000.0).round() / 10_000.0)
}

/// How a waitlist stands.
#[derive(Serialize, ToSchema)]
pub struct WaitlistNow {
    pub pending: u64,
    pub active: u64,
    pub invited: u64,
    pub converted: u64,
    /// Credited referrals.
    pub referrals: u64,
}

impl From<WaitlistCounts> for WaitlistNow {
    fn from(counts: WaitlistCounts) -> Self {
        let WaitlistCounts { pending, active, invited, converted, referrals, .. } = counts;
        Self { pending, active, invited, converted, referrals }
    }
}

/// Where subscribers came from.
#[derive(Serialize, ToSchema)]
pub struct SourceView {
    /// As it was given on joining; `(other)` for those beyond 50, and those of hours with more than 20.
    pub source: String,
    pub joined: i64,
}

/// Sources that are named in an answer.
const SOURCES: usize = 50;

pub fn sources(totals: &Counts) -> Vec<SourceView> {
    let view = |(source, joined): (&str, i64)| SourceView { source: source.to_owned(), joined };
    rollups::sources(totals, SOURCES).into_iter().map(view).collect()
}

#[derive(Serialize, ToSchema)]
pub struct WaitlistAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<WaitlistActivity>,
    pub now: WaitlistNow,
    /// Of those who joined in the range, the share who followed a referral link.
    #[schema(required)]
    pub referral_share: Option<f64>,
    /// Credited referrals for each subscriber who is not pending, now.
    #[schema(required)]
    pub viral_coefficient: Option<f64>,
    /// In the range, those that brought most first.
    pub sources: Vec<SourceView>,
}

/// How a feature stands.
#[derive(Serialize, ToSchema)]
pub struct FeatureNow {
    pub votes: i64,
    /// Approved ones.
    pub comments: i64,
    /// The share of the waitlist's members who want it, in percent, as far as the votes prove it: the lower bound of
    /// Wilson's 95 % interval.
    pub demand_index: f64,
}

#[derive(Serialize, ToSchema)]
pub struct FeatureAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<FeatureActivity>,
    pub now: FeatureNow,
}

#[derive(Serialize, ToSchema)]
pub struct ReferralAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<ReferralActivity>,
    /// Of the visits in the range, the share after which somebody joined.
    #[schema(required)]
    pub conversion: Option<f64>,
    pub now: ReferralsNow,
}

/// How the referrals of a waitlist stand.
#[derive(Serialize, ToSchema)]
pub struct ReferralsNow {
    pub credited: u64,
}

/// How a code pool stands.
#[derive(Serialize, ToSchema)]
pub struct CodePoolNow {
    pub imported: u64,
    pub claimed: u64,
    pub redeemed: u64,
    /// Not claimed; among them those that are reserved or expired.
    pub remaining: u64,
}

impl From<CodePoolStats> for CodePoolNow {
    fn from(stats: CodePoolStats) -> Self {
        let remaining = stats.remaining();
        let CodePoolStats { imported, claimed, redeemed, .. } = stats;
        Self { imported, claimed, redeemed, remaining }
    }
}

#[derive(Serialize, ToSchema)]
pub struct CodePoolAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<CodePoolActivity>,
    pub now: CodePoolNow,
    /// Of the codes that were ever claimed, the share that was redeemed.
    #[schema(required)]
    pub redemption_rate: Option<f64>,
}

/// How a stamp program stands.
#[derive(Serialize, ToSchema)]
pub struct ProgramNow {
    /// Ever enrolled.
    pub customers: u64,
    /// Whose last visit was today or on one of the 29 days before, in UTC.
    pub active: u64,
    /// Have stayed away for too long: see the card's `at_risk`.
    pub at_risk: u64,
}

/// A month of a program, in UTC.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MonthView {
    pub month: Month,
    /// Customers who came.
    pub active: u64,
    /// Of them, those who came for the first time.
    pub new: u64,
    /// Of them, those who had come in an earlier month.
    pub returning: u64,
}

/// Those who came for the first time in one month, in UTC, and how many of them came again.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cohort {
    pub month: Month,
    /// How many of them came so many months later, up to this month: all of them at first.
    pub came: Vec<u64>,
}

#[derive(Serialize, ToSchema)]
pub struct ProgramAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<ProgramActivity>,
    pub now: ProgramNow,
    /// The last twelve, this one last.
    pub months: Vec<MonthView>,
    /// Of the last twelve months, the earliest first.
    pub cohorts: Vec<Cohort>,
}

/// What became of a campaign's messages, ever.
#[derive(Serialize, ToSchema)]
pub struct CampaignNow {
    pub audience: u64,
    pub refused: u64,
    pub sent: u64,
    pub failed: u64,
    pub delivered: u64,
    pub read: u64,
    pub redeemed: u64,
}

impl From<CampaignStats> for CampaignNow {
    fn from(stats: CampaignStats) -> Self {
        let CampaignStats { audience, refused, sent, failed, delivered, read, redeemed } = stats;
        Self { audience, refused, sent, failed, delivered, read, redeemed }
    }
}

#[derive(Serialize, ToSchema)]
pub struct CampaignAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<CampaignActivity>,
    pub now: CampaignNow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    Click,
    Join,
    Verify,
    Refer,
    Redeem,
}

/// A step of the funnel.
#[derive(Serialize, ToSchema)]
pub struct FunnelStep {
    pub step: StepName,
    pub count: i64,
    /// For each one of the step before.
    #[schema(required)]
    pub rate: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub struct FunnelAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<FunnelActivity>,
    /// Over the range, in their order. Each counts what happened in the range, whoever did it: what somebody did
    /// before or after isn't in it.
    pub funnel: Vec<FunnelStep>,
}

pub fn funnel(totals: &FunnelActivity) -> Vec<FunnelStep> {
    let redeemed = totals.codes_redeemed + totals.rewards_redeemed;
    let counts = [
        (StepName::Click, totals.click),
        (StepName::Join, totals.join),
        (StepName::Verify, totals.verify),
        (StepName::Refer, totals.refer),
        (StepName::Redeem, redeemed),
    ];
    let before = std::iter::once(None).chain(counts.iter().map(|(_, count)| Some(*count)));
    let steps = counts.iter().zip(before);
    steps
        .map(|((step, count), before)| FunnelStep {
            step: *step,
            count: *count,
            rate: before.and_then(|before| rate(*count, before)),
        })
        .collect()
}

//! Response bodies of the analytics family.

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

/// Defines activity types: each field is a number, read from the counter that is named after the `=`.
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
    /// Activity on a waitlist in a period.
    WaitlistActivity {
        /// Visits through referral links.
        clicked = CLICKED;
        /// Subscribers who joined.
        joined = waitlists::events::SUBSCRIBER_JOINED.name;
        /// Subscribers who joined through a referral link.
        referred = REFERRED;
        /// Subscribers who confirmed their email address.
        verified = waitlists::events::SUBSCRIBER_VERIFIED.name;
        /// Subscribers who entered the line: by confirming their address with double opt-in, otherwise by joining.
        entered = ENTERED;
        /// Subscribers who were invited.
        invited = waitlists::events::SUBSCRIBER_INVITED.name;
        /// Subscribers who became customers.
        converted = waitlists::events::SUBSCRIBER_CONVERTED.name;
        /// Subscribers who unsubscribed from mail.
        unsubscribed = waitlists::events::SUBSCRIBER_UNSUBSCRIBED.name;
        /// Unsubscribed subscribers who confirmed that they want mail again.
        resubscribed = waitlists::events::SUBSCRIBER_RESUBSCRIBED.name;
        /// Subscribers who were erased.
        erased = waitlists::events::SUBSCRIBER_ERASED.name;
        /// Referrals that were credited.
        credited = waitlists::events::REFERRAL_CREDITED.name;
    }
    /// Votes and comments on a feature in a period.
    FeatureActivity {
        /// Votes that were added, including votes that a merge moved to this feature.
        voted = features::events::FEATURE_VOTED.name;
        /// Votes that were withdrawn, moved to another feature by a merge, or removed with their subscriber.
        unvoted = features::events::FEATURE_UNVOTED.name;
        /// Comments that were posted.
        commented = features::events::COMMENT_POSTED.name;
        /// Comments that were approved.
        approved = features::events::COMMENT_APPROVED.name;
        /// Comments that were rejected.
        rejected = features::events::COMMENT_REJECTED.name;
        /// Comments that were erased with their authors or their feature.
        erased = features::events::COMMENT_ERASED.name;
    }
    /// Referral activity on a waitlist in a period.
    ReferralActivity {
        /// Visits through referral links.
        clicked = CLICKED;
        /// Subscribers who joined through a referral link.
        referred = REFERRED;
        /// Referrals that were credited.
        credited = waitlists::events::REFERRAL_CREDITED.name;
        /// Credits that a review revoked.
        revoked = waitlists::events::REFERRAL_REVOKED.name;
        /// Revoked credits that a review restored.
        restored = waitlists::events::REFERRAL_RESTORED.name;
        /// Rewards that were issued.
        rewards_issued = waitlists::events::REWARD_ISSUED.name;
        /// Rewards that were revoked.
        rewards_revoked = waitlists::events::REWARD_REVOKED.name;
    }
    /// Activity in a code pool in a period.
    CodePoolActivity {
        /// Codes that were claimed.
        claimed = codes::events::CODE_CLAIMED.name;
        /// Codes that were redeemed.
        redeemed = codes::events::CODE_REDEEMED.name;
        /// Imports that were completed.
        imports_completed = codes::events::IMPORT_COMPLETED.name;
        /// Imports that failed.
        imports_failed = codes::events::IMPORT_FAILED.name;
        /// Low-stock thresholds that were crossed.
        low_stock = codes::events::CODE_POOL_LOW_STOCK.name;
    }
    /// Activity in a stamp program in a period.
    ProgramActivity {
        /// Customers who were enrolled.
        enrolled = stamps::events::CUSTOMER_ENROLLED.name;
        /// Stamped visits, by the time at which the platform recorded them.
        visits = stamps::events::STAMP_GIVEN.name;
        /// Visits whose stamps were voided.
        voided = stamps::events::STAMP_VOIDED.name;
        /// Stamps that were given, minus the stamps of voided visits.
        stamps = stamps::projection::STAMPS;
        /// Visit milestones that customers reached.
        milestones = stamps::events::MILESTONE_REACHED.name;
        /// Card rewards that were issued.
        rewards_issued = stamps::events::CARD_REWARD_ISSUED.name;
        /// Card rewards that were redeemed.
        rewards_redeemed = stamps::events::CARD_REWARD_REDEEMED.name;
        /// Card rewards that were withdrawn with voided stamps.
        rewards_withdrawn = stamps::events::CARD_REWARD_WITHDRAWN.name;
    }
    /// Messages of a campaign in a period.
    CampaignActivity {
        /// Messages that were created for the campaign's audience.
        queued = campaigns::events::MESSAGE_QUEUED.name;
        /// Messages that were refused and not sent.
        refused = campaigns::events::MESSAGE_REFUSED.name;
        /// Messages that the provider accepted. A message that is reopened and sent again counts again.
        sent = campaigns::events::MESSAGE_SENT.name;
        /// Messages that were reopened after a failed send or a late callback.
        reopened = campaigns::events::MESSAGE_REOPENED.name;
        /// Messages that the provider could not deliver.
        failed = campaigns::events::MESSAGE_FAILED.name;
        /// Messages that were delivered.
        delivered = campaigns::events::MESSAGE_DELIVERED.name;
        /// Messages that were read.
        read = campaigns::events::MESSAGE_READ.name;
        /// Redeemed discount codes whose latest message belongs to the campaign.
        redeemed = campaigns::events::MESSAGE_REDEEMED.name;
    }
    /// Activity of an account in a period, from the visit to the redemption.
    FunnelActivity {
        /// Visits through referral links.
        click = CLICKED;
        /// Subscribers who joined.
        join = waitlists::events::SUBSCRIBER_JOINED.name;
        /// Subscribers who entered the line: by confirming their address with double opt-in, otherwise by joining.
        verify = ENTERED;
        /// Referrals that were credited.
        refer = waitlists::events::REFERRAL_CREDITED.name;
        /// Promo codes that were redeemed.
        codes_redeemed = codes::events::CODE_REDEEMED.name;
        /// Card rewards that were redeemed.
        rewards_redeemed = stamps::events::CARD_REWARD_REDEEMED.name;
    }
}

/// Returns `part` divided by `whole`, rounded to four decimals. Returns `None` if `whole` is not positive.
pub fn rate(part: impl TryInto<i64>, whole: impl TryInto<i64>) -> Option<f64> {
    let (part, whole) = (part.try_into().ok()?, whole.try_into().ok()?);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let rate = |part: i64, whole: i64| part as f64 / whole as f64;
    (whole > 0).then(|| (rate(part, whole) * 10_000.0).round() / 10_000.0)
}

/// Current numbers of a waitlist: its subscribers by status, and its credited referrals.
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

/// Traffic source, with the number of subscribers who joined through it.
#[derive(Serialize, ToSchema)]
pub struct SourceView {
    /// Source that was given on joining. `(other)` sums the sources beyond the 50 largest of the range, and those
    /// that were not counted separately because their hour already had 20 sources or 400 bytes of source names.
    pub source: String,
    /// Subscribers who joined in the range.
    pub joined: i64,
}

/// Maximum number of sources that a response names.
const SOURCES: usize = 50;

/// Returns the sources among the totals, largest first, with the rest as `(other)`.
pub fn sources(totals: &Counts) -> Vec<SourceView> {
    let view = |(source, joined): (&str, i64)| SourceView { source: source.to_owned(), joined };
    rollups::sources(totals, SOURCES).into_iter().map(view).collect()
}

/// Analytics of a waitlist.
#[derive(Serialize, ToSchema)]
pub struct WaitlistAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<WaitlistActivity>,
    pub now: WaitlistNow,
    /// Share of the subscribers who joined in the range through a referral link: `referred` ÷ `joined`. `null` if
    /// nobody joined.
    #[schema(required)]
    pub referral_share: Option<f64>,
    /// Current number of credited referrals per subscriber who is not pending. `null` if there is no such
    /// subscriber.
    #[schema(required)]
    pub viral_coefficient: Option<f64>,
    /// Sources of the subscribers who joined in the range, largest first; `(other)` is last.
    pub sources: Vec<SourceView>,
}

/// Current numbers of a feature.
#[derive(Serialize, ToSchema)]
pub struct FeatureNow {
    /// Votes that count.
    pub votes: i64,
    /// Approved comments.
    pub comments: i64,
    /// Estimated share of the waitlist's verified members who want the feature, in percent to one decimal: the
    /// lower bound of Wilson's 95 % interval.
    pub demand_index: f64,
}

/// Analytics of a feature.
#[derive(Serialize, ToSchema)]
pub struct FeatureAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<FeatureActivity>,
    pub now: FeatureNow,
}

/// Analytics of a waitlist's referrals.
#[derive(Serialize, ToSchema)]
pub struct ReferralAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<ReferralActivity>,
    /// Joins through referral links per visit through them, in the range: `referred` ÷ `clicked`. `null` without
    /// visits.
    #[schema(required)]
    pub conversion: Option<f64>,
    pub now: ReferralsNow,
}

/// Current numbers of a waitlist's referrals.
#[derive(Serialize, ToSchema)]
pub struct ReferralsNow {
    /// Credited referrals.
    pub credited: u64,
}

/// Current numbers of a code pool.
#[derive(Serialize, ToSchema)]
pub struct CodePoolNow {
    pub imported: u64,
    pub claimed: u64,
    pub redeemed: u64,
    /// Codes that are not claimed, including reserved and expired codes.
    pub remaining: u64,
}

impl From<CodePoolStats> for CodePoolNow {
    fn from(stats: CodePoolStats) -> Self {
        let remaining = stats.remaining();
        let CodePoolStats { imported, claimed, redeemed, .. } = stats;
        Self { imported, claimed, redeemed, remaining }
    }
}

/// Analytics of a code pool.
#[derive(Serialize, ToSchema)]
pub struct CodePoolAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<CodePoolActivity>,
    pub now: CodePoolNow,
    /// Share of all codes ever claimed that were redeemed: `redeemed` ÷ `claimed`. `null` if no code was claimed.
    #[schema(required)]
    pub redemption_rate: Option<f64>,
}

/// Current numbers of a stamp program.
#[derive(Serialize, ToSchema)]
pub struct ProgramNow {
    /// Customers who were ever enrolled.
    pub customers: u64,
    /// Customers whose last visit was today or on one of the 29 days before, in UTC.
    pub active: u64,
    /// Customers who have stayed away too long; see `at_risk` of the card.
    pub at_risk: u64,
}

/// Visitors of a program in one month, in UTC.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MonthView {
    pub month: Month,
    /// Customers who visited in the month.
    pub active: u64,
    /// Customers whose first visit was in the month.
    pub new: u64,
    /// Customers who visited in the month and whose first visit was in an earlier month.
    pub returning: u64,
}

/// Customers whose first visit was in one month, in UTC, and their visits since.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cohort {
    /// Month of the first visit.
    pub month: Month,
    /// Number of these customers who visited in `month` and in each later month up to the current one. The first
    /// number is the size of the cohort.
    pub came: Vec<u64>,
}

/// Analytics of a stamp program.
#[derive(Serialize, ToSchema)]
pub struct ProgramAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<ProgramActivity>,
    pub now: ProgramNow,
    /// Last twelve months, oldest first. The current month is the last one.
    pub months: Vec<MonthView>,
    /// Cohorts of the last twelve months, oldest first.
    pub cohorts: Vec<Cohort>,
}

/// Numbers of a campaign's messages since the campaign was created.
#[derive(Serialize, ToSchema)]
pub struct CampaignNow {
    /// All messages of the campaign, without test messages.
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

/// Analytics of a campaign.
#[derive(Serialize, ToSchema)]
pub struct CampaignAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<CampaignActivity>,
    pub now: CampaignNow,
}

/// Name of a step of the funnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    Click,
    Join,
    Verify,
    Refer,
    Redeem,
}

/// Step of the funnel.
#[derive(Serialize, ToSchema)]
pub struct FunnelStep {
    pub step: StepName,
    pub count: i64,
    /// `count` divided by the count of the previous step. `null` for the first step, and if the previous count is
    /// 0.
    #[schema(required)]
    pub rate: Option<f64>,
}

/// Analytics of an account's funnel, from the visit to the redemption.
#[derive(Serialize, ToSchema)]
pub struct FunnelAnalytics {
    #[serde(flatten)]
    pub timeline: Timeline<FunnelActivity>,
    /// Steps of the funnel in order. Each step counts everything that happened in the range. The funnel does not
    /// follow individual people, so a step can have a higher count than the previous one.
    pub funnel: Vec<FunnelStep>,
}

/// Returns the steps of the funnel with their counts and rates.
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

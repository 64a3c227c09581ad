//! Request and response bodies of the referral family.

use domain::{
    id::SubscriberId,
    text::{Name, Word},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waitlists::{
    fraud::Signal,
    id::{ClickId, LedgerId, ReferralId, RewardId, WaitlistId},
    referral_code::ReferralCode,
    subscriber::{LedgerChange, LedgerEntry, Referral, ReferralStatus, Reward, RewardStatus, Subscriber},
};

/// Visit through a referral link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClickRequest {
    /// Referral code from the link.
    pub referral_code: String,
    /// Traffic source in which the link was found, such as `twitter`.
    pub source: Option<Word>,
}

/// Recorded visit through a referral link.
#[derive(Serialize, ToSchema)]
pub struct ClickView {
    pub id: ClickId,
    /// True if the code belongs to a subscriber of the account. A visit with an unknown code is not an error, but
    /// is not counted.
    pub tracked: bool,
}

/// Referral statistics of a subscriber.
#[derive(Serialize, ToSchema)]
pub struct ReferralStats {
    pub subscriber_id: SubscriberId,
    pub referral_code: ReferralCode,
    /// Link that the subscriber shares.
    pub referral_url: String,
    /// Visits through the link.
    pub clicks: u64,
    /// Credited referrals.
    pub referrals: u32,
    /// Places that all credited referrals together move the subscriber forward in line.
    pub places: u64,
    /// Next reward tier; `null` if the subscriber has reached all tiers.
    pub next_tier: Option<NextTier>,
}

/// Next reward tier of a subscriber.
#[derive(Serialize, ToSchema)]
pub struct NextTier {
    pub name: Name,
    /// Number of credited referrals still needed.
    pub missing: u32,
}

/// Reward for a tier that a subscriber reached.
#[derive(Serialize, ToSchema)]
pub struct RewardView {
    pub id: RewardId,
    /// Name of the tier.
    pub name: Name,
    /// Number of credited referrals that the tier requires.
    pub referrals: u32,
    /// Description of the reward.
    pub reward: Option<String>,
    pub status: RewardStatus,
    pub issued_at: Timestamp,
}

impl From<Reward> for RewardView {
    fn from(reward: Reward) -> Self {
        Self {
            id: reward.id,
            name: reward.tier.name,
            referrals: reward.tier.referrals,
            reward: reward.tier.reward.map(String::from),
            status: reward.status,
            issued_at: reward.issued_at,
        }
    }
}

/// Entry of the leaderboard.
#[derive(Serialize, ToSchema)]
pub struct Leader {
    /// Rank, counted from 1. Subscribers with the same number of referrals share a rank.
    pub rank: u32,
    /// First name and initial, or the masked email address.
    pub name: String,
    /// Credited referrals.
    pub referrals: u32,
}

impl Leader {
    /// Returns the leaderboard of these subscribers, who are sorted by referrals, most first.
    pub fn ranked(subscribers: &[Subscriber]) -> Vec<Self> {
        let mut leaders: Vec<Self> = Vec::with_capacity(subscribers.len());
        for (place, subscriber) in (1..).zip(subscribers) {
            let rank = match leaders.last() {
                Some(previous) if previous.referrals == subscriber.referrals => previous.rank,
                _ => place,
            };
            leaders.push(Self { rank, name: subscriber.public_name(), referrals: subscriber.referrals });
        }
        leaders
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReferralFilter {
    #[param(value_type = String)]
    pub waitlist_id: WaitlistId,
    /// `true` for flagged referrals only, `false` for the others only. If left out, the list has both.
    pub flagged: Option<bool>,
    /// Start of the page: `next_cursor` of the previous page. Leave it out for the first page.
    pub cursor: Option<String>,
    /// Maximum number of entries in the page, 1–100. Default: 20.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// Referral with its fraud assessment, for review.
#[derive(Serialize, ToSchema)]
pub struct ReferralView {
    pub id: ReferralId,
    pub waitlist_id: WaitlistId,
    /// Subscriber whose link was followed.
    pub referrer_id: SubscriberId,
    /// Subscriber who joined through the link.
    pub referee_id: SubscriberId,
    pub status: ReferralStatus,
    /// Places that the credit moves the referrer forward in line.
    pub places: u32,
    /// Fraud score, 0–100: the sum of the weights of `reasons`, at most 100.
    pub fraud_score: u8,
    /// True if the fraud score is 50 or more.
    pub flagged: bool,
    /// Fraud signals that apply to the referral.
    pub reasons: Vec<Reason>,
    pub created_at: Timestamp,
    pub credited_at: Option<Timestamp>,
}

/// Fraud signal with its weight in the score.
#[derive(Serialize, ToSchema)]
pub struct Reason {
    pub signal: Signal,
    pub weight: u8,
}

impl From<Referral> for ReferralView {
    fn from(referral: Referral) -> Self {
        let reasons = referral.assessment.reasons.iter();
        Self {
            fraud_score: referral.assessment.score,
            flagged: referral.assessment.is_flagged(),
            reasons: reasons.map(|signal| Reason { signal: *signal, weight: signal.weight() }).collect(),
            id: referral.id,
            waitlist_id: referral.waitlist_id,
            referrer_id: referral.referrer_id,
            referee_id: referral.referee_id,
            status: referral.status,
            places: referral.places,
            created_at: referral.created_at,
            credited_at: referral.credited_at,
        }
    }
}

/// Change of a subscriber's referral credits.
#[derive(Serialize, ToSchema)]
pub struct LedgerView {
    pub id: LedgerId,
    pub referral_id: ReferralId,
    pub change: LedgerChange,
    /// Referrals gained (1) or lost (−1).
    pub referrals: i32,
    /// Places in line gained or lost.
    pub places: i64,
    /// Id of the API key or member that made the change, or `platform`.
    pub actor: String,
    pub at: Timestamp,
}

impl From<LedgerEntry> for LedgerView {
    fn from(entry: LedgerEntry) -> Self {
        let LedgerEntry { id, referral_id, change, referrals, places, actor, at, .. } = entry;
        Self { id, referral_id, change, referrals, places, actor, at }
    }
}

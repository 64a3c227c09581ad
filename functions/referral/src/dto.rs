//! What the referral family takes and gives.

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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClickRequest {
    pub referral_code: String,
    /// Where the link was found, e.g. `twitter`.
    pub source: Option<Word>,
}

#[derive(Serialize, ToSchema)]
pub struct ClickView {
    pub id: ClickId,
    /// Whether the code is anybody's; a dead link is no error to whoever follows it.
    pub tracked: bool,
}

/// How a subscriber's referrals went.
#[derive(Serialize, ToSchema)]
pub struct ReferralStats {
    pub subscriber_id: SubscriberId,
    pub referral_code: ReferralCode,
    pub referral_url: String,
    /// Visits through the link.
    pub clicks: u64,
    /// Credited referrals.
    pub referrals: u32,
    /// Places they moved the subscriber up, in all.
    pub places: u64,
    /// What the next tier takes, and its name.
    pub next_tier: Option<NextTier>,
}

#[derive(Serialize, ToSchema)]
pub struct NextTier {
    pub name: Name,
    /// Referrals still missing.
    pub missing: u32,
}

#[derive(Serialize, ToSchema)]
pub struct RewardView {
    pub id: RewardId,
    pub name: Name,
    /// Referrals that it takes.
    pub referrals: u32,
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

#[derive(Serialize, ToSchema)]
pub struct Leader {
    /// From 1; equal numbers of referrals share a rank.
    pub rank: u32,
    /// First name and initial, or the address with most of it hidden.
    pub name: String,
    pub referrals: u32,
}

impl Leader {
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
    /// Only suspicious ones, or only the others.
    pub flagged: Option<bool>,
    /// Where to go on: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Entries in a page, 1–100; 20 when left out.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// A referral as its reviewer sees it.
#[derive(Serialize, ToSchema)]
pub struct ReferralView {
    pub id: ReferralId,
    pub waitlist_id: WaitlistId,
    pub referrer_id: SubscriberId,
    pub referee_id: SubscriberId,
    pub status: ReferralStatus,
    pub places: u32,
    /// 0–100; flagged from 50 on.
    pub fraud_score: u8,
    pub flagged: bool,
    pub reasons: Vec<Reason>,
    pub created_at: Timestamp,
    pub credited_at: Option<Timestamp>,
}

/// What a score consists of.
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

#[derive(Serialize, ToSchema)]
pub struct LedgerView {
    pub id: LedgerId,
    pub referral_id: ReferralId,
    pub change: LedgerChange,
    /// Referrals gained or lost.
    pub referrals: i32,
    /// Places gained or lost.
    pub places: i64,
    /// The id of the key or member, or `platform`.
    pub actor: String,
    pub at: Timestamp,
}

impl From<LedgerEntry> for LedgerView {
    fn from(entry: LedgerEntry) -> Self {
        let LedgerEntry { id, referral_id, change, referrals, places, actor, at, .. } = entry;
        Self { id, referral_id, change, referrals, places, actor, at }
    }
}

//! Response bodies of the waitlist family. The request body is [`WaitlistSettings`].

use domain::text::{Locale, Name, Slug};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use waitlists::{
    WaitlistCounts,
    id::WaitlistId,
    waitlist::{Branding, RewardTiers, VerificationPolicy, Waitlist, WaitlistSettings, WaitlistStatus},
};

/// Waitlist with its settings.
#[derive(Serialize, ToSchema)]
pub struct WaitlistView {
    pub id: WaitlistId,
    #[serde(flatten)]
    pub settings: WaitlistSettings,
    /// True while the waitlist is being deleted. A waitlist that is being deleted cannot be changed.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<Waitlist> for WaitlistView {
    fn from(waitlist: Waitlist) -> Self {
        let Waitlist { id, settings, deleting, created_at, updated_at, .. } = waitlist;
        Self { id, settings, deleting, created_at, updated_at }
    }
}

/// Numbers of subscribers by status, and of credited referrals. The numbers can be up to a second behind.
#[derive(Serialize, ToSchema)]
pub struct WaitlistCountsView {
    pub pending: u64,
    pub active: u64,
    pub invited: u64,
    pub converted: u64,
    /// Subscribers in line.
    pub in_line: u64,
    /// Credited referrals.
    pub referrals: u64,
}

impl From<WaitlistCounts> for WaitlistCountsView {
    fn from(counts: WaitlistCounts) -> Self {
        let WaitlistCounts { pending, active, invited, converted, in_line, referrals } = counts;
        Self { pending, active, invited, converted, in_line, referrals }
    }
}

/// Waitlist with its settings and counts.
#[derive(Serialize, ToSchema)]
pub struct WaitlistWithCounts {
    #[serde(flatten)]
    pub waitlist: WaitlistView,
    pub counts: WaitlistCountsView,
}

/// Public part of a waitlist, for a web page that shows it.
#[derive(Serialize, ToSchema)]
pub struct PublicWaitlist {
    pub id: WaitlistId,
    pub name: Name,
    pub slug: Slug,
    pub status: WaitlistStatus,
    pub branding: Branding,
    pub locale: Locale,
    pub verification_policy: VerificationPolicy,
    pub places_per_referral: u32,
    pub reward_tiers: RewardTiers,
    /// Number of subscribers in line. The number can be up to a second behind.
    pub total: u64,
}

impl PublicWaitlist {
    pub fn new(waitlist: Waitlist, counts: &WaitlistCounts) -> Self {
        let Waitlist { id, slug, settings, .. } = waitlist;
        Self {
            id,
            name: settings.name,
            slug,
            status: settings.status,
            branding: settings.branding,
            locale: settings.locale,
            verification_policy: settings.verification_policy,
            places_per_referral: settings.places_per_referral.get(),
            reward_tiers: settings.reward_tiers,
            total: counts.in_line,
        }
    }
}

//! The ids of waitlists and of what happens in them. A subscriber's is `domain::id::SubscriberId`.

use domain::id::SubscriberId;

domain::ids! {
    WaitlistId = "wl";
    /// One subscriber brought by another.
    ReferralId = "ref";
    /// A visit through a referral link.
    ClickId = "clk";
    RewardId = "rwd";
    /// An entry of a subscriber's referral ledger.
    LedgerId = "led";
    ExportId = "exp";
}

impl ReferralId {
    /// The referral that brought this subscriber. A subscriber is referred at
    /// most once, so the one id follows from the other.
    pub fn of_referee(subscriber: &SubscriberId) -> Self {
        Self::with_suffix(subscriber.suffix())
    }
}

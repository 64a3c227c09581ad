//! Ids of waitlists, referrals, clicks, rewards, ledger entries and exports. The id of a subscriber is
//! [`domain::id::SubscriberId`].

use domain::id::SubscriberId;

domain::ids! {
    /// Id of a waitlist.
    WaitlistId = "wl";
    /// Id of a referral: one subscriber who joined through the referral link of another.
    ReferralId = "ref";
    /// Id of a visit through a referral link.
    ClickId = "clk";
    /// Id of a reward that a subscriber earned by referrals.
    RewardId = "rwd";
    /// Id of an entry in a subscriber's referral ledger.
    LedgerId = "led";
    /// Id of an export of a waitlist's subscribers.
    ExportId = "exp";
}

impl ReferralId {
    /// Returns the id of the referral through which this subscriber joined. A subscriber is referred at most once,
    /// so the id of the referral is derived from the id of the subscriber.
    pub fn of_referee(subscriber: &SubscriberId) -> Self {
        Self::with_suffix(subscriber.suffix())
    }
}

//! Problems with which requests about campaigns are refused.

domain::problem_kinds! {
    CAMPAIGN_ACTIVE "campaign-active" 409 "The campaign is active";
    CAMPAIGN_NOT_ACTIVE "campaign-not-active" 409 "The campaign is not active";
    CAMPAIGN_DELETING "campaign-deleting" 409 "The campaign is being deleted";
    NO_SENDER "no-sender" 409 "No sender is configured for this channel";
}

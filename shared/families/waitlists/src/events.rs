//! What happens on a waitlist.

domain::event_kinds! {
    SUBSCRIBER_JOINED "subscriber.joined" step "waitlist_id" Subscriber "" [] "Somebody joined a waitlist.";
    SUBSCRIBER_VERIFIED "subscriber.verified" count "waitlist_id" Subscriber "" [] "A subscriber confirmed the address, and is in line.";
    SUBSCRIBER_INVITED "subscriber.invited" count "waitlist_id" Subscriber "" [] "A subscriber's turn has come.";
    SUBSCRIBER_CONVERTED "subscriber.converted" count "waitlist_id" Subscriber "" [] "A subscriber became what the list is for.";
    SUBSCRIBER_UNSUBSCRIBED "subscriber.unsubscribed" count "waitlist_id" Subscriber "" [] "A subscriber wants no more mail.";
    SUBSCRIBER_RESUBSCRIBED "subscriber.resubscribed" count "waitlist_id" Subscriber "" [] "A subscriber who had unsubscribed confirmed to want mail again.";
    SUBSCRIBER_ERASED "subscriber.erased" count "waitlist_id" Subscriber "" [] "A subscriber was erased.";
    REFERRAL_CREDITED "referral.credited" step "waitlist_id" Subscriber "referral_id" [] "A subscriber brought another one, and moved up.";
    REFERRAL_REVOKED "referral.revoked" count "waitlist_id" Subscriber "referral_id" [] "A subscriber's credit for another one was taken back.";
    REFERRAL_RESTORED "referral.restored" count "waitlist_id" Subscriber "referral_id" [] "A credit that was taken back was given again.";
    REWARD_ISSUED "reward.issued" count "waitlist_id" Subscriber "reward_id" [] "A subscriber reached a tier, and its reward.";
    REWARD_REVOKED "reward.revoked" count "waitlist_id" Subscriber "reward_id" [] "A subscriber fell below a tier again.";
}

//! Kinds of events on a waitlist.

domain::event_kinds! {
    SUBSCRIBER_JOINED "subscriber.joined" step "waitlist_id" Subscriber "" [] "A subscriber joined a waitlist.";
    SUBSCRIBER_VERIFIED "subscriber.verified" count "waitlist_id" Subscriber "" [] "A subscriber confirmed the email address and entered the line.";
    SUBSCRIBER_INVITED "subscriber.invited" count "waitlist_id" Subscriber "" [] "A subscriber was invited and left the line.";
    SUBSCRIBER_CONVERTED "subscriber.converted" count "waitlist_id" Subscriber "" [] "A subscriber was marked as a customer.";
    SUBSCRIBER_UNSUBSCRIBED "subscriber.unsubscribed" count "waitlist_id" Subscriber "" [] "A subscriber unsubscribed from all mail.";
    SUBSCRIBER_RESUBSCRIBED "subscriber.resubscribed" count "waitlist_id" Subscriber "" [] "A subscriber who had unsubscribed agreed to receive mail again.";
    SUBSCRIBER_ERASED "subscriber.erased" count "waitlist_id" Subscriber "" [] "A subscriber and all their personal data were erased.";
    REFERRAL_CREDITED "referral.credited" step "waitlist_id" Subscriber "referral_id" [] "A subscriber was credited for a referral.";
    REFERRAL_REVOKED "referral.revoked" count "waitlist_id" Subscriber "referral_id" [] "The credit for a referral was revoked.";
    REFERRAL_RESTORED "referral.restored" count "waitlist_id" Subscriber "referral_id" [] "The revoked credit for a referral was restored.";
    REWARD_ISSUED "reward.issued" count "waitlist_id" Subscriber "reward_id" [] "A subscriber reached a reward tier.";
    REWARD_REVOKED "reward.revoked" count "waitlist_id" Subscriber "reward_id" [] "A subscriber's number of referrals fell below a reward tier again.";
}

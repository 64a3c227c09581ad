//! Problems with which requests about waitlists, subscribers and referrals are refused.

domain::problem_kinds! {
    SLUG_TAKEN "slug-taken" 409 "The slug is taken";
    WAITLIST_NOT_OPEN "waitlist-not-open" 409 "The waitlist is not open";
    WAITLIST_FULL "waitlist-full" 409 "The waitlist is full";
    WAITLIST_DELETING "waitlist-deleting" 409 "The waitlist is being deleted";
    NOT_IN_LINE "not-in-line" 409 "The subscriber is not in line";
    NOT_VERIFIED "not-verified" 403 "The subscriber's address is not verified";
    REFERRAL_NOT_REVIEWABLE "referral-not-reviewable" 409 "The referral's status does not allow this";
    DISPOSABLE_EMAIL "disposable-email" 422 "Disposable addresses are not accepted";
}

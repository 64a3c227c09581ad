//! Problems with which requests about programs, cards, stamps and rewards are refused.

domain::problem_kinds! {
    PROGRAM_PAUSED "program-paused" 409 "The program is paused";
    PROGRAM_DELETING "program-deleting" 409 "The program is being deleted";
    NOT_ENROLLED "not-enrolled" 409 "The customer has no card of this program";
    PHONE_TAKEN "phone-taken" 409 "Another customer has this number";
    STAMP_TOKEN_USED "stamp-token-used" 409 "The customer's code was used before";
    STAMP_SPENT "stamp-spent" 409 "The stamps were spent on a reward that cannot be withdrawn";
    REWARD_REDEEMED "reward-redeemed" 409 "The reward was redeemed before";
    REWARD_WITHDRAWN "reward-withdrawn" 409 "The reward was withdrawn";
    STAMP_TOKEN_EXPIRED "stamp-token-expired" 410 "The customer's code has expired";
    REWARD_EXPIRED "reward-expired" 410 "The reward has expired";
    COUNTRY_NOT_SERVED "country-not-served" 422 "Numbers of this country are not served";
    STAMP_TIME_REFUSED "stamp-time-refused" 422 "The time of the stamp is out of range";
    STAMP_COOLDOWN "stamp-cooldown" 429 "The visit is too close to another visit";
}

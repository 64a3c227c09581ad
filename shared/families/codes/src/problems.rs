//! Problems with which requests about code pools, codes and claims are refused.

domain::problem_kinds! {
    CODE_POOL_PAUSED "code-pool-paused" 409 "The code pool is paused";
    CODE_POOL_COMPLETED "code-pool-completed" 410 "The code pool has ended";
    CODE_POOL_EXPIRED "code-pool-expired" 410 "The code pool has expired";
    CODE_POOL_DELETING "code-pool-deleting" 409 "The code pool is being deleted";
    CODES_EXHAUSTED "codes-exhausted" 409 "No code is left";
    WRONG_PLATFORM "wrong-platform" 409 "The code pool is for another platform";
    RESERVATION_LAPSED "reservation-lapsed" 409 "The reservation has expired or was released";
    CLAIM_CONFIRMED "claim-confirmed" 409 "A confirmed claim cannot be released";
    CODE_NOT_CLAIMED "code-not-claimed" 409 "The code is not claimed";
    CODE_REDEEMED "code-redeemed" 409 "The code has been redeemed before";
}

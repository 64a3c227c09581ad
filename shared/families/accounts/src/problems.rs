//! Problems with which requests about an account, its members and its API keys are refused.

domain::problem_kinds! {
    MEMBER_EXISTS "member-exists" 409 "A member with this address already exists";
    LAST_OWNER "last-owner" 409 "An account needs an owner";
    KEY_NOT_ACTIVE "key-not-active" 409 "The key is not active";
}

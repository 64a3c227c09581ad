//! What an account, its members and its keys refuse.

domain::problem_kinds! {
    MEMBER_EXISTS "member-exists" 409 "The address is a member already";
    LAST_OWNER "last-owner" 409 "An account needs an owner";
    KEY_NOT_ACTIVE "key-not-active" 409 "The key is not active";
}

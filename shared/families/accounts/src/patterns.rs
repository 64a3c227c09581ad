//! Access patterns of accounts, members, API keys and the audit log.

use table::keys::GSI1;

table::patterns! {
    ACCOUNT "account.read" "account, analytics" [BatchGet] None, "`ACCT#account` / `META`, `SIGNING`", "The account's settings and signing key";
    ACCOUNT_WRITE "account.write" "account, jobs" [Put] None, "`ACCT#account` / `META`; `KEY#key`; `AUDIT#account`", "Create an account with its first keys, or change it, and write the audit entry";
    MEMBERS "account.members" "account, message-sender" [Query] None, "`ACCT#account` / `MEMBER#…`", "Who are the members?";
    MEMBER "account.member" "account, authorizer" [Get] None, "`ACCT#account` / `MEMBER#member`", "One member";
    LOGINS "account.logins" "authorizer" [Query] None, "`LOGIN#hash` / `ACCT#…`", "Which accounts may this verified address act for?";
    MEMBER_WRITE "account.member-write" "account" [Put Delete Check] None, "`ACCT#account` / `MEMBER#member`; `LOGIN#hash`; `AUDIT#account`", "Add, change or remove a member";
    MEMBER_BIND "account.member-bind" "authorizer" [Put] None, "`ACCT#account` / `MEMBER#member`", "Bind a member to the identity that signs in first";
    API_KEY "key.read" "authorizer, account" [Get] None, "`KEY#key` / `META`", "Which record does this API key name?";
    API_KEYS "key.list" "account" [Query] Some(GSI1), "`ACCTKEYS#account` / `key_…`", "The account's keys";
    API_KEY_WRITE "key.write" "account" [Put] None, "`KEY#key` / `META`; `AUDIT#account`", "Create, rotate or revoke a key";
    AUDIT_LOG "audit.list" "account" [Query] None, "`AUDIT#account` / `aud_…`, newest first", "Who did what, when?";
}

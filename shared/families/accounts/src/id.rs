//! The ids of accounts' members, keys and audit entries.

domain::ids! {
    /// A person who may act for an account.
    MemberId = "mem";
    /// An API key, not the secret in it.
    ApiKeyId = "key";
    /// An entry of the audit log.
    AuditId = "aud";
}

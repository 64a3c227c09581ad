//! Ids of members, API keys and audit entries.

domain::ids! {
    /// Id of a member: a person who may act for an account.
    MemberId = "mem";
    /// Id of an API key. It does not contain the key's secret.
    ApiKeyId = "key";
    /// Id of an entry in the audit log.
    AuditId = "aud";
}

//! The ids of pools, imports, codes and claims.

use domain::{
    id,
    secret::{self, SigningKey},
};

domain::ids! {
    CodePoolId = "pool";
    /// One file of codes on its way into a pool.
    ImportId = "imp";
}

domain::ids_within! {
    /// A promo code, not its text.
    CodeId = "code", CodePoolId pool;
    /// What one user claimed of one pool.
    ClaimId = "claim", CodePoolId pool;
}

impl ImportId {
    /// The import of an object that nobody announced: the same object is the same import.
    pub fn of_object(key: &str, etag: &str) -> Self {
        Self::with_suffix(&id::number(secret::number(&[key, etag])))
    }
}

impl CodeId {
    /// The id of the code with this text: always the same, and not to be computed, or traced back, without the account's key.
    pub fn of(key: &SigningKey, pool: &CodePoolId, code: &str) -> Self {
        Self::within(pool, &id::number(key.number(&["code", pool.as_str(), code])))
    }
}

impl ClaimId {
    /// The id of this user's claim: always the same, and not to be computed, or traced back, without the account's key.
    pub fn of(key: &SigningKey, pool: &CodePoolId, user: &str) -> Self {
        Self::within(pool, &id::number(key.number(&["claim", pool.as_str(), user])))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn an_id_within_a_pool_follows_from_what_it_names() {
        let (key, pool) = (SigningKey::generate(), CodePoolId::new(Timestamp::UNIX_EPOCH));
        let id = CodeId::of(&key, &pool, "abc");
        assert_eq!(id, CodeId::of(&key, &pool, "abc"));
        assert_eq!(id.pool(), pool);
        assert_ne!(id, CodeId::of(&SigningKey::generate(), &pool, "abc"));
        assert_ne!(id.number(), ClaimId::of(&key, &pool, "abc").number());
    }
}

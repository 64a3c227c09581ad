//! Ids of code pools, imports, codes and claims.

use domain::{
    id,
    secret::{self, SigningKey},
};

domain::ids! {
    /// Id of a code pool.
    CodePoolId = "pool";
    /// Id of an import, which loads one file of codes into a pool.
    ImportId = "imp";
}

domain::ids_within! {
    /// Id of a promo code. The id does not reveal the text of the code.
    CodeId = "code", CodePoolId pool;
    /// Id of a claim: the code that one user received from one pool.
    ClaimId = "claim", CodePoolId pool;
}

impl ImportId {
    /// Derives the id of an unannounced import from the key and the ETag of the object. The same object has the
    /// same id, so a repeated event starts no second import.
    pub fn of_object(key: &str, etag: &str) -> Self {
        Self::with_suffix(&id::number(secret::number(&[key, etag])))
    }
}

impl CodeId {
    /// Derives the id of the code with this text. The same code always has the same id. Without the key of the
    /// account, nobody can compute the id or trace it back to the text.
    pub fn of(key: &SigningKey, pool: &CodePoolId, code: &str) -> Self {
        Self::within(pool, &id::number(key.number(&["code", pool.as_str(), code])))
    }
}

impl ClaimId {
    /// Derives the id of the claim of this user. The same user always has the same id. Without the key of the
    /// account, nobody can compute the id or trace it back to the user.
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

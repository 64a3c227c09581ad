//! API keys: publishable keys, `gs_pk_…`, may be part of a web page; secret keys, `gs_sk_…`, may not.
//!
//! A key contains the id of its record and a secret of 256 random bits. Only the hash of the secret is stored. The
//! secret is random and long, so an unsalted SHA-256 hash is sufficient.

use crate::id::ApiKeyId;
use domain::secret;

/// Kind of an API key.
///
/// - `publishable`: the key may be part of a web page. It gives access only to the routes that pages need, such as
///   joining, voting and public data.
/// - `secret`: the key must stay on a server. Its scopes limit what it gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// May be part of a web page. Gives access only to the routes that pages need, such as joining, voting and
    /// public data.
    Publishable,
    /// Must stay on a server. Limited by its scopes.
    Secret,
}

/// An API key with its secret in clear text. Exists only in memory, while the key is created or checked.
pub struct ApiKey {
    pub id: ApiKeyId,
    pub kind: KeyKind,
    secret: String,
}

impl ApiKey {
    /// Generates a key with a random secret.
    pub fn generate(id: ApiKeyId, kind: KeyKind) -> Self {
        Self { id, kind, secret: secret::encode(&secret::random::<32>()) }
    }

    /// Parses a key of the form `gs_<kind>_<record>_<secret>`. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("gs_")?;
        let (kind, rest) = rest.split_once('_')?;
        let (record, secret) = rest.split_once('_')?;
        let kind = match kind {
            "pk" => KeyKind::Publishable,
            "sk" => KeyKind::Secret,
            _ => return None,
        };
        let id = format!("{}_{record}", ApiKeyId::PREFIX).parse().ok()?;
        (secret.len() == 43).then(|| Self { id, kind, secret: secret.to_owned() })
    }

    /// Returns the part of the key that lists show: the kind and the id, without the secret.
    pub fn prefix(&self) -> String {
        format!("gs_{}_{}", self.kind_code(), self.id.suffix())
    }

    /// Returns the whole key, which is shown once.
    pub fn reveal(&self) -> String {
        format!("{}_{}", self.prefix(), self.secret)
    }

    /// Returns the hash of the secret, which is stored.
    pub fn hash(&self) -> String {
        secret::sha256(self.secret.as_bytes())
    }

    /// Returns true if the stored hash is the hash of this key. Compares in constant time.
    pub fn matches(&self, hash: &str) -> bool {
        secret::equal(self.hash().as_bytes(), hash.as_bytes())
    }

    fn kind_code(&self) -> &'static str {
        match self.kind {
            KeyKind::Publishable => "pk",
            KeyKind::Secret => "sk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_key_reads_back_and_matches_its_hash_only() {
        let make = || ApiKey::generate(ApiKeyId::new(Timestamp::UNIX_EPOCH), KeyKind::Secret);
        let (key, other) = (make(), make());
        let read = ApiKey::parse(&key.reveal()).unwrap();
        assert!(read.matches(&key.hash()) && !read.matches(&other.hash()));
        assert_eq!((read.id, read.kind), (key.id.clone(), KeyKind::Secret));
        for text in ["", "gs_", "gs_sk_x_y", &key.prefix(), &key.reveal().replace("sk", "xk")] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
    }
}

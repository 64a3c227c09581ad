//! API keys: `gs_pk_…` may sit in a web page, `gs_sk_…` may not.
//!
//! A key names its own record and carries 256 random bits. Only the hash of
//! those bits is stored. They are random, so a plain SHA-256 is enough.

use crate::id::ApiKeyId;
use domain::secret;

/// What a key may be shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// May sit in a web page: join, vote, read public data.
    Publishable,
    /// Stays on a server; what it may do is limited by its scopes.
    Secret,
}

/// A key in clear: exists only while it is made and while it is checked.
pub struct ApiKey {
    pub id: ApiKeyId,
    pub kind: KeyKind,
    secret: String,
}

impl ApiKey {
    pub fn generate(id: ApiKeyId, kind: KeyKind) -> Self {
        Self { id, kind, secret: secret::encode(&secret::random::<32>()) }
    }

    /// Reads `gs_<kind>_<record>_<secret>`; `None` for anything else.
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

    /// What is shown of the key in lists: enough to recognise it by.
    pub fn prefix(&self) -> String {
        format!("gs_{}_{}", self.kind_code(), self.id.suffix())
    }

    /// The whole key, to be shown once.
    pub fn reveal(&self) -> String {
        format!("{}_{}", self.prefix(), self.secret)
    }

    /// What is stored of the key.
    pub fn hash(&self) -> String {
        secret::sha256(self.secret.as_bytes())
    }

    /// Whether this is the key with that stored hash; in constant time.
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

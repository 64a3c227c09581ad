//! Random bytes, hashes and constant-time comparison, all from `ring`.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    digest, hmac,
    rand::{SecureRandom, SystemRandom},
};

/// Returns bytes from the operating system's random source.
///
/// # Panics
/// When the operating system has no random bytes. No key would be safe then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "without randomness no key may be made")]
    SystemRandom::new().fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// Encodes bytes as unpadded base64url.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Returns the SHA-256 as unpadded base64url (43 characters).
pub fn sha256(bytes: &[u8]) -> String {
    encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Returns the first 128 bits of the SHA-256 of these texts.
pub fn number(parts: &[&str]) -> u128 {
    first_bits(digest::digest(&digest::SHA256, join(parts).as_bytes()).as_ref())
}

fn first_bits(digest: &[u8]) -> u128 {
    digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Encodes bytes as padded base64.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Returns the SHA-256 as padded base64, the form in which a Content-Security-Policy names scripts.
pub fn sha256_base64(bytes: &[u8]) -> String {
    base64(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Key of an account, 256 bits. Signs the account's tokens and derives its pseudonyms.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    pub fn generate() -> Self {
        Self(random())
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }

    /// Returns the HMAC-SHA-256 of the parts. Each part is joined with its length, so that no two lists of parts
    /// collide.
    pub fn sign(&self, parts: &[&str]) -> hmac::Tag {
        hmac::sign(&self.hmac(), join(parts).as_bytes())
    }

    /// Verifies a signature in constant time.
    pub fn verify(&self, parts: &[&str], tag: &[u8]) -> bool {
        hmac::verify(&self.hmac(), join(parts).as_bytes(), tag).is_ok()
    }

    /// Returns a stable substitute for a value that must not be stored (an IP network, a device). Pseudonyms are
    /// comparable only within one account and purpose.
    pub fn pseudonym(&self, purpose: &str, value: &str) -> String {
        encode(&self.sign(&["pseudonym", purpose, value]).as_ref()[..12])
    }

    /// Returns a number that depends on these texts and the key only.
    pub fn number(&self, parts: &[&str]) -> u128 {
        first_bits(self.sign(parts).as_ref())
    }
}

fn join(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("{}:{part}", part.len())).collect::<Vec<_>>().join(",")
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl TryFrom<String> for SigningKey {
    type Error = crate::Invalid;
    fn try_from(text: String) -> Result<Self, crate::Invalid> {
        decode(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| crate::Invalid::new("is not a signing key"))
    }
}

impl From<SigningKey> for String {
    fn from(key: SigningKey) -> String {
        encode(&key.0)
    }
}

/// Compares two secrets. The time depends only on their lengths.
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    // The keyed digests of both sides make the time of the comparison independent of the content.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]);
    hmac::verify(&key, left, hmac::sign(&key, right).as_ref()).is_ok()
}

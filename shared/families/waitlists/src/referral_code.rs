//! Referral codes: the short codes in referral links.

use domain::{Invalid, secret};

/// Characters of a code. There are no vowels, so that a code spells no word, and no characters that look alike.
const ALPHABET: &[u8; 28] = b"23456789BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;

/// Referral code: eight characters in upper case. Input may be in lower case. There are 28⁸ ≈ 3.8 × 10¹¹ codes.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct ReferralCode(String);

impl ReferralCode {
    /// Generates a random code.
    pub fn generate() -> Self {
        let number = u128::from_be_bytes(secret::random());
        let base = ALPHABET.len() as u128;
        let mut rest = number;
        Self(
            (0..LENGTH)
                .map(|_| {
                    let digit = usize::try_from(rest % base).unwrap_or_default();
                    rest /= base;
                    char::from(ALPHABET[digit])
                })
                .collect(),
        )
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ReferralCode {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let code = text.trim().to_ascii_uppercase();
        if code.len() == LENGTH && code.bytes().all(|byte| ALPHABET.contains(&byte)) {
            Ok(Self(code))
        } else {
            Err(Invalid::new("is not a referral code"))
        }
    }
}

impl From<ReferralCode> for String {
    fn from(code: ReferralCode) -> String {
        code.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_in_any_case() {
        let code = ReferralCode::generate();
        let typed = format!(" {} ", code.as_str().to_ascii_lowercase());
        assert_eq!(ReferralCode::try_from(typed), Ok(code));
        for text in ["", "ABC", "2345678A", "23456789B", "2345678é"] {
            assert!(ReferralCode::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}

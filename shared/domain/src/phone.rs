//! Telephone numbers.

use crate::Invalid;

/// A number in E.164 form: `+`, a country code that doesn't begin with 0, 8–15 digits in all.
///
/// Spaces, hyphens, dots and brackets are left out. Whether anybody answers is not known.
/// Source: ITU-T Recommendation E.164, 11/2010, clause 6.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Phone(String);

impl Phone {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `+44•••••••67`: enough to recognise the own number by.
    pub fn masked(&self) -> String {
        let (head, rest) = self.0.split_at(3);
        let (hidden, tail) = rest.split_at(rest.len() - 2);
        format!("{head}{}{tail}", "•".repeat(hidden.len()))
    }
}

impl TryFrom<String> for Phone {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let malformed = || Invalid::new("is not a phone number with its country code, e.g. +4915112345678");
        // What was pasted is longer than any number.
        if text.len() > 64 {
            return Err(malformed());
        }
        let digits = text.trim().strip_prefix('+').ok_or_else(malformed)?;
        let digits: String =
            digits.chars().filter(|character| !matches!(character, ' ' | '-' | '.' | '(' | ')')).collect();
        let legal = digits.bytes().all(|byte| byte.is_ascii_digit())
            && (8..=15).contains(&digits.len())
            && !digits.starts_with('0');
        if legal { Ok(Self(format!("+{digits}"))) } else { Err(malformed()) }
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> String {
        phone.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_number_are_one_number() {
        let phone = |text: &str| Phone::try_from(text.to_owned());
        let ada = phone("+4915112345678").unwrap();
        for text in ["+49 151 1234-5678", " +49 (151) 12.34.56.78 "] {
            assert_eq!(phone(text).unwrap(), ada, "{text}");
        }
        assert_eq!(ada.masked(), "+49•••••••••78");
        for text in [
            "",
            "+",
            "015112345678",
            "0049151123456",
            "+0151123456",
            "+1234567",
            "+1234567890123456",
            "+49151x2345678",
            "+49151１２３４５６",
            "whatsapp:+4915112345678",
            "+4915112345678\r\n",
            &format!("+49{}", " ".repeat(100)),
        ] {
            // A line break at the end is space like any other.
            assert_eq!(phone(text).is_ok(), text.ends_with('\n'), "{text:?}");
        }
    }
}

//! Signed tokens of subscribers and customers. The tokens are not stored.
//!
//! A token is `purpose.subject.expiry.signature`. The signature is an HMAC-SHA-256 with the account's key. It
//! covers the purpose, so a token for one purpose is invalid for every other purpose.

use std::{fmt::Display, str::FromStr};

use jiff::{SignedDuration, Timestamp};

use crate::{
    id::{CustomerId, ProgramId},
    secret::{self, SigningKey},
};

/// Permission that a token gives its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Act as the subscriber, e.g. read the subscriber's position or vote.
    Subscriber,
    /// Prove that the subscriber receives mail at the address.
    Verify,
    /// Confirm that the subscriber wants mails again after unsubscribing.
    Return,
    /// Unsubscribe from all mails.
    Unsubscribe,
    /// Opt a customer out of all campaign messages.
    OptOut,
}

impl Purpose {
    fn code(self) -> &'static str {
        match self {
            Self::Subscriber => "st",
            Self::Verify => "vt",
            Self::Return => "rt",
            Self::Unsubscribe => "ut",
            Self::OptOut => "ot",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is malformed or forged")]
    Forged,
    #[error("the token has expired")]
    Expired,
}

/// Signs a token of a subscriber or customer. With `expires` of `None`, the token is valid as long as its subject
/// exists.
pub fn issue(
    key: &SigningKey,
    purpose: Purpose,
    subject: &impl Display,
    expires: Option<Timestamp>,
) -> String {
    let expiry = expires.map_or(0, Timestamp::as_second).to_string();
    let subject = subject.to_string();
    let tag = key.sign(&[purpose.code(), &subject, &expiry]);
    format!("{}.{subject}.{expiry}.{}", purpose.code(), secret::encode(tag.as_ref()))
}

/// Returns the subject that an unverified token names, to find the key that verifies the token.
pub fn claimed_subject<Id: FromStr>(token: &str) -> Option<Id> {
    token.split('.').nth(1)?.parse().ok()
}

/// Verifies a token and returns its subject.
///
/// # Errors
/// [`TokenError::Forged`] if this key did not sign the token for this purpose, [`TokenError::Expired`] if the token
/// has expired.
pub fn verify<Id: FromStr>(
    key: &SigningKey,
    purpose: Purpose,
    token: &str,
    now: Timestamp,
) -> Result<Id, TokenError> {
    let [code, subject, expiry, tag] =
        token.split('.').collect::<Vec<_>>().try_into().map_err(|_| TokenError::Forged)?;
    let tag = secret::decode(tag).ok_or(TokenError::Forged)?;
    if code != purpose.code() || !key.verify(&[code, subject, expiry], &tag) {
        return Err(TokenError::Forged);
    }
    let expiry: i64 = expiry.parse().map_err(|_| TokenError::Forged)?;
    if expiry != 0 && expiry <= now.as_second() {
        return Err(TokenError::Expired);
    }
    subject.parse().map_err(|_| TokenError::Forged)
}

/// Time for which a customer's QR code is valid after it was shown.
pub const SHOWN_FOR: SignedDuration = SignedDuration::from_secs(120);
/// Prefix of the tokens in customers' QR codes.
const SHOWN: &str = "qr";

/// Content of the QR code that a customer shows at a till. Valid for one stamp, for [`SHOWN_FOR`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub customer_id: CustomerId,
    pub program_id: ProgramId,
    /// Random text, different in each token.
    pub nonce: String,
}

impl Shown {
    /// Returns a token content with a new nonce.
    pub fn new(customer_id: CustomerId, program_id: ProgramId) -> Self {
        Self { customer_id, program_id, nonce: secret::encode(&secret::random::<12>()) }
    }

    pub fn sign(&self, key: &SigningKey, expires: Timestamp) -> String {
        let Self { customer_id, program_id, nonce } = self;
        let expiry = expires.as_second().to_string();
        let tag = key.sign(&[SHOWN, customer_id.as_str(), program_id.as_str(), nonce, &expiry]);
        format!("{SHOWN}.{customer_id}.{program_id}.{nonce}.{expiry}.{}", secret::encode(tag.as_ref()))
    }

    /// Returns the customer and the program that an unverified token names, to find the key that verifies the
    /// token.
    pub fn claimed(token: &str) -> Option<(CustomerId, ProgramId)> {
        let mut parts = token.split('.').skip(1);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// Verifies a token and returns its content.
    ///
    /// # Errors
    /// [`TokenError::Forged`] if this key did not sign the token, [`TokenError::Expired`] if the token has expired.
    pub fn verify(key: &SigningKey, token: &str, now: Timestamp) -> Result<Self, TokenError> {
        let [kind, customer, program, nonce, expiry, tag] =
            token.split('.').collect::<Vec<_>>().try_into().map_err(|_| TokenError::Forged)?;
        let tag = secret::decode(tag).ok_or(TokenError::Forged)?;
        if kind != SHOWN || !key.verify(&[kind, customer, program, nonce, expiry], &tag) {
            return Err(TokenError::Forged);
        }
        let expiry: i64 = expiry.parse().map_err(|_| TokenError::Forged)?;
        if expiry <= now.as_second() {
            return Err(TokenError::Expired);
        }
        Ok(Self {
            customer_id: customer.parse().map_err(|_| TokenError::Forged)?,
            program_id: program.parse().map_err(|_| TokenError::Forged)?,
            nonce: nonce.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SubscriberId;

    #[test]
    fn a_token_holds_for_its_purpose_key_and_time_only() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let later = Timestamp::from_second(1_800_000_060).unwrap();
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        let subject = SubscriberId::new(now);
        let token = issue(&key, Purpose::Verify, &subject, Some(later));

        assert_eq!(verify(&key, Purpose::Verify, &token, now), Ok(subject.clone()));
        assert_eq!(verify::<SubscriberId>(&key, Purpose::Verify, &token, later), Err(TokenError::Expired));
        let forged = Err::<SubscriberId, _>(TokenError::Forged);
        assert_eq!(verify(&key, Purpose::Subscriber, &token, now), forged);
        assert_eq!(verify(&other, Purpose::Verify, &token, now), forged);
        let unlimited = token.replace("1800000060", "0");
        assert_eq!(verify(&key, Purpose::Verify, &unlimited, now), forged);
        for text in ["", "vt", "vt...", &token[..token.len() - 1], &format!("{token}.x")] {
            assert_eq!(verify(&key, Purpose::Verify, text, now), forged, "{text}");
        }
        let forever = issue(&key, Purpose::Subscriber, &subject, None);
        assert_eq!(verify(&key, Purpose::Subscriber, &forever, later), Ok(subject));
    }

    #[test]
    fn a_shown_code_holds_for_its_customer_program_and_time_only() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let key = SigningKey::generate();
        let shown = Shown::new(CustomerId::new(now), ProgramId::new(now));
        let token = shown.sign(&key, now + SHOWN_FOR);
        assert_eq!(Shown::verify(&key, &token, now), Ok(shown.clone()));
        assert_eq!(Shown::claimed(&token), Some((shown.customer_id.clone(), shown.program_id.clone())));
        assert_eq!(Shown::verify(&key, &token, now + SHOWN_FOR), Err(TokenError::Expired));
        let other = Shown::new(CustomerId::new(now), ProgramId::new(now));
        for forged in [
            token.replace(shown.customer_id.as_str(), other.customer_id.as_str()),
            token.replace(shown.program_id.as_str(), other.program_id.as_str()),
            token.replace(&shown.nonce, &other.nonce),
            token.replace("1800000120", "1900000000"),
            token.replacen("qr", "st", 1),
            format!("{token}."),
            String::new(),
        ] {
            assert_eq!(Shown::verify(&key, &forged, now), Err(TokenError::Forged), "{forged}");
        }
        assert_eq!(Shown::verify(&SigningKey::generate(), &token, now), Err(TokenError::Forged));
    }
}

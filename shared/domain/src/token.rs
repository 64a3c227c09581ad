//! Signed tokens that subscribers carry: nothing about them is stored.
//!
//! A token is `purpose.subject.expiry.signature`. The signature is an
//! HMAC-SHA-256 under the account's own key and covers the purpose, so that a
//! token for one thing is worthless for another.

use jiff::Timestamp;

use crate::{id::SubscriberId, secret, secret::SigningKey};

/// What a token lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Act as the subscriber: read the own position, vote.
    Subscriber,
    /// Prove that the address is read by who joined with it.
    Verify,
    /// Stop all mail.
    Unsubscribe,
}

impl Purpose {
    fn code(self) -> &'static str {
        match self {
            Self::Subscriber => "st",
            Self::Verify => "vt",
            Self::Unsubscribe => "ut",
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

/// Signs a token. `expires` of `None` means that it holds as long as the subscriber does.
pub fn issue(
    key: &SigningKey,
    purpose: Purpose,
    subject: &SubscriberId,
    expires: Option<Timestamp>,
) -> String {
    let expiry = expires.map_or(0, Timestamp::as_second).to_string();
    let tag = key.sign(&[purpose.code(), subject.as_str(), &expiry]);
    format!("{}.{subject}.{expiry}.{}", purpose.code(), secret::encode(tag.as_ref()))
}

/// Whom an unverified token speaks of, to find the key that verifies it.
pub fn claimed_subject(token: &str) -> Option<SubscriberId> {
    token.split('.').nth(1)?.parse().ok()
}

/// The subscriber whom the token speaks for.
///
/// # Errors
/// [`TokenError::Forged`] for anything that this key did not sign for this
/// purpose, [`TokenError::Expired`] for what it did sign, too long ago.
pub fn verify(
    key: &SigningKey,
    purpose: Purpose,
    token: &str,
    now: Timestamp,
) -> Result<SubscriberId, TokenError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_for_its_purpose_key_and_time_only() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let later = Timestamp::from_second(1_800_000_060).unwrap();
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        let subject = SubscriberId::new(now);
        let token = issue(&key, Purpose::Verify, &subject, Some(later));

        assert_eq!(verify(&key, Purpose::Verify, &token, now), Ok(subject.clone()));
        assert_eq!(verify(&key, Purpose::Verify, &token, later), Err(TokenError::Expired));
        let forged = Err(TokenError::Forged);
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
}

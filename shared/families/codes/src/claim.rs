//! Claims: who was given which code.

use domain::{
    Invalid,
    email::Email,
    id::AccountId,
    text::{self, Metadata},
};
use jiff::Timestamp;

use crate::{
    code_pool::{Lot, Platform, PromoCode},
    id::{ClaimId, CodeId, CodePoolId, ImportId},
};

/// Whom a code is for, as the caller knows its users: 1–256 visible characters.
///
/// An address is the same user in all its spellings, as on a waitlist; what looks like one
/// has to be one.
#[derive(Clone, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
pub struct Claimer(String);

impl Claimer {
    /// What the spellings of one user have in common.
    pub fn identity(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Claimer {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let user = text::visible(&text, 256)?;
        let folded = text::folded(&user);
        // `@ada` is a handle.
        match folded.trim_start_matches('@').contains('@') {
            true => Email::try_from(folded).map(|email| Self(email.identity())),
            false => Ok(Self(user)),
        }
    }
}

/// Where a text lies that has left the table: a line of a file in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Archived {
    pub object: String,
    /// First byte of the line.
    pub offset: u64,
    /// Bytes, without the line break.
    pub length: u64,
}

/// A code of a pool. Whether it is still to be had says its place in the stock.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Code {
    pub id: CodeId,
    pub account_id: AccountId,
    pub pool_id: CodePoolId,
    /// `None` once archived.
    pub code: Option<PromoCode>,
    pub masked: String,
    pub platform: Platform,
    pub valid_until: Option<Timestamp>,
    pub lot: Lot,
    #[serde(with = "domain::text::as_text")]
    pub metadata: Metadata,
    /// The import and the line of its file that brought the code.
    pub import_id: ImportId,
    pub line: u64,
    pub redeemed_at: Option<Timestamp>,
    pub archived: Option<Archived>,
    pub rev: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimStatus {
    /// Held for a while; the code is not shown yet.
    Reserved,
    /// The code is its user's.
    Claimed,
    /// The reservation was given back.
    Released,
}

/// What one user has, or had, of one pool.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    pub id: ClaimId,
    pub account_id: AccountId,
    pub pool_id: CodePoolId,
    /// A pseudonym.
    pub user: String,
    /// A pseudonym of the fingerprint, if there was one.
    pub device: Option<String>,
    pub status: ClaimStatus,
    /// Whether a secret key, a member or a campaign claimed or reserved the code, and not a page.
    #[serde(default)]
    pub by_server: bool,
    pub code_id: CodeId,
    /// `None` once archived.
    pub code: Option<PromoCode>,
    pub masked: String,
    pub platform: Platform,
    pub valid_until: Option<Timestamp>,
    pub lot: Lot,
    /// The revision of the code's place in the stock that holds it for this reservation.
    pub stock_rev: Option<u64>,
    pub reserved_until: Option<Timestamp>,
    pub claimed_at: Option<Timestamp>,
    pub archived: Option<Archived>,
    pub rev: u64,
}

impl Claim {
    /// Whether the code is the user's, or held for them at this time.
    pub fn is_current(&self, now: Timestamp) -> bool {
        match self.status {
            ClaimStatus::Claimed => true,
            ClaimStatus::Reserved => self.reserved_until.is_some_and(|until| until > now),
            ClaimStatus::Released => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_user_in_all_its_spellings() {
        let identity = |text: &str| Claimer::try_from(text.to_owned()).unwrap().0;
        assert_eq!(identity("Ada.L+x@Gmail.com"), identity(" adal@gmail.com "));
        assert_eq!(identity("user-7"), "user-7");
        assert_ne!(identity("User-7"), identity("user-7"), "an id is taken as it is");
        assert_eq!(identity("ada＠example.com"), identity("Ada@example.com"));
        assert_eq!(identity("@ada"), "@ada");
        for text in [
            "",
            " ",
            "a\0",
            "ada@example.com.",
            "\"ada\"@example.com",
            "mailto:a@b.c",
            "a\u{200f}",
            &"x".repeat(257),
        ] {
            assert!(Claimer::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}

//! Claims: which user received which code.

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

/// Your identifier for the user who receives the code: 1–256 visible characters.
///
/// Email addresses are normalised: all spellings of one mailbox are the same user, as on a waitlist. A value that
/// contains `@` must be a valid address, unless the `@` is at its beginning, as in the handle `@ada`.
#[derive(Clone, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
pub struct Claimer(String);

impl Claimer {
    /// Returns the identity that all spellings of one user share.
    pub fn identity(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Claimer {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let user = text::visible(&text, 256)?;
        let folded = text::folded(&user);
        // A leading `@` marks a handle such as `@ada`, not an address.
        match folded.trim_start_matches('@').contains('@') {
            true => Email::try_from(folded).map(|email| Self(email.identity())),
            false => Ok(Self(user)),
        }
    }
}

/// Location of a text that was moved out of the table: one line of a file in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Archived {
    pub object: String,
    /// Offset of the first byte of the line.
    pub offset: u64,
    /// Length of the line in bytes, without the line break.
    pub length: u64,
}

/// Code of a pool. The stock says whether the code can still be claimed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Code {
    pub id: CodeId,
    pub account_id: AccountId,
    pub pool_id: CodePoolId,
    /// Text of the code; `None` once archived.
    pub code: Option<PromoCode>,
    pub masked: String,
    pub platform: Platform,
    pub valid_until: Option<Timestamp>,
    pub lot: Lot,
    #[serde(with = "domain::text::as_text")]
    pub metadata: Metadata,
    /// Import that added the code; `line` is the line of its file.
    pub import_id: ImportId,
    pub line: u64,
    pub redeemed_at: Option<Timestamp>,
    pub archived: Option<Archived>,
    pub rev: u64,
}

/// State of a claim.
///
/// - `reserved`: the code is held until `reserved_until` and not shown yet. A reservation that expires keeps this
///   state.
/// - `claimed`: the user has the code.
/// - `released`: the reservation was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimStatus {
    /// The code is held for a limited time and not shown yet.
    Reserved,
    /// The user has the code.
    Claimed,
    /// The reservation was given back.
    Released,
}

/// Claim of one user on one pool: the code that the user has or had.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    pub id: ClaimId,
    pub account_id: AccountId,
    pub pool_id: CodePoolId,
    /// Pseudonym of the user.
    pub user: String,
    /// Pseudonym of the device fingerprint, if the request had one.
    pub device: Option<String>,
    pub status: ClaimStatus,
    /// True if a secret key, a member or a campaign claimed or reserved the code; false if a web page did.
    #[serde(default)]
    pub by_server: bool,
    pub code_id: CodeId,
    /// Text of the code; `None` once archived.
    pub code: Option<PromoCode>,
    pub masked: String,
    pub platform: Platform,
    pub valid_until: Option<Timestamp>,
    pub lot: Lot,
    /// Revision of the stock item that holds the code for this reservation.
    pub stock_rev: Option<u64>,
    pub reserved_until: Option<Timestamp>,
    pub claimed_at: Option<Timestamp>,
    pub archived: Option<Archived>,
    pub rev: u64,
}

impl Claim {
    /// Returns true if the user has the code, or if a reservation holds the code for the user at this time.
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

//! Prefixed, time-sortable identifiers: `wl_01k…` names a waitlist and nothing else.
//!
//! An id is its prefix, an underscore and a ULID in lower case. Two ids made in
//! different milliseconds sort in the order in which they were made.

use jiff::Timestamp;
use ulid::Ulid;

use crate::{Invalid, secret};

fn fresh(now: Timestamp) -> Ulid {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ulid::from_parts(millis, u128::from_be_bytes(secret::random()))
}

fn parse(text: &str, prefix: &str) -> Result<Ulid, Invalid> {
    let malformed = || Invalid::new(format!("is not an id of the form {prefix}_…"));
    let encoded = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or_else(malformed)?;
    // Ids are compared as text everywhere, so there is exactly one spelling of each.
    if encoded.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(malformed());
    }
    let ulid = Ulid::from_string(&encoded.to_ascii_uppercase()).map_err(|_| malformed())?;
    if ulid.to_string().to_ascii_lowercase() == encoded { Ok(ulid) } else { Err(malformed()) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id, unique without coordination.
            pub fn new(now: Timestamp) -> Self {
                Self::from_ulid(fresh(now))
            }

            fn from_ulid(ulid: Ulid) -> Self {
                Self(format!("{}_{}", $prefix, ulid.to_string().to_ascii_lowercase()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The part after the prefix.
            pub fn suffix(&self) -> &str {
                &self.0[$prefix.len() + 1..]
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                parse(text, $prefix).map(Self::from_ulid)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    )*};
}

ids! {
    /// An account: it owns everything else.
    AccountId = "acct";
    /// A person who may act for an account.
    MemberId = "mem";
    /// An API key, not the secret in it.
    ApiKeyId = "key";
    /// An entry of the audit log.
    AuditId = "aud";
    WaitlistId = "wl";
    SubscriberId = "sub";
    /// One subscriber brought by another.
    ReferralId = "ref";
    /// A visit through a referral link.
    ClickId = "clk";
    RewardId = "rwd";
    /// An entry of a subscriber's referral ledger.
    LedgerId = "led";
    ExportId = "exp";
    /// A domain event.
    EventId = "evt";
}

impl ReferralId {
    /// The referral that brought this subscriber. A subscriber is referred at
    /// most once, so the one id follows from the other.
    pub fn of_referee(subscriber: &SubscriberId) -> Self {
        Self(format!("{}_{}", Self::PREFIX, subscriber.suffix()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_sorts_by_time() {
        let early = WaitlistId::new(Timestamp::from_millisecond(1_700_000_000_000).unwrap());
        let late = WaitlistId::new(Timestamp::from_millisecond(1_700_000_000_001).unwrap());
        assert!(early < late);
        assert_eq!(early.as_str().parse(), Ok(early));
    }

    #[test]
    fn another_kind_another_case_and_other_text_are_refused() {
        let id = WaitlistId::new(Timestamp::UNIX_EPOCH);
        for text in [
            id.as_str().replace("wl_", "sub_"),
            id.as_str().to_ascii_uppercase(),
            id.as_str().replace("wl_", "wl_WL"),
            format!("{id}0"),
            id.as_str()[..20].to_owned(),
            "wl_81k00000000000000000000000".to_owned(),
            "wl_é1k0000000000000000000000".to_owned(),
            String::new(),
        ] {
            assert!(text.parse::<WaitlistId>().is_err(), "{text}");
        }
    }
}

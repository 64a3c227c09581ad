//! Prefixed, time-sortable identifiers: `wl_01k…` names a waitlist and nothing else.
//!
//! An id is its prefix, an underscore and a ULID in lower case. Two ids made in
//! different milliseconds sort in the order in which they were made.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use ulid::Ulid;

use crate::{
    Invalid,
    secret::{self, SigningKey},
};

/// Characters of a ULID.
const ULID_LEN: usize = 26;

fn fresh(now: Timestamp) -> Ulid {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ulid::from_parts(millis, u128::from_be_bytes(secret::random()))
}

/// An id after all others that this process made in order, for what happened within one millisecond.
fn fresh_in_order(now: Timestamp) -> Ulid {
    static LAST: Mutex<Ulid> = Mutex::new(Ulid::nil());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = fresh(now).max(Ulid(last.0.saturating_add(1)));
    *last
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

/// An id as text: a struct of one string, checked where it comes in.
macro_rules! id_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
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
    };
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        id_text! { $(#[$doc])* $name }

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id, unique without coordination.
            pub fn new(now: Timestamp) -> Self {
                Self::from_ulid(fresh(now))
            }

            fn from_ulid(ulid: Ulid) -> Self {
                Self(format!("{}_{}", $prefix, ulid.to_string().to_ascii_lowercase()))
            }

            /// The part after the prefix.
            pub fn suffix(&self) -> &str {
                &self.0[$prefix.len() + 1..]
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                parse(text, $prefix).map(Self::from_ulid)
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
    CodePoolId = "pool";
    /// One file of codes on its way into a pool.
    ImportId = "imp";
    /// A stamp program.
    ProgramId = "prog";
    /// Somebody who collects stamps.
    CustomerId = "cust";
    /// A message campaign.
    CampaignId = "camp";
    /// Something that people may vote for.
    FeatureId = "feat";
    /// What somebody says about a feature.
    CommentId = "cmt";
    /// Who is told of events.
    WebhookEndpointId = "we";
}

impl EventId {
    /// Sorts after all that this process has made before.
    pub fn in_order(now: Timestamp) -> Self {
        Self::from_ulid(fresh_in_order(now))
    }

    /// The event of a fact: the same fact is the same event. Of what happened within one millisecond, that of
    /// a lower rank comes first.
    pub fn of_fact(at: Timestamp, rank: u8, fact: &[&str]) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let number = secret::number(fact) >> 56;
        Self::from_ulid(Ulid::from_parts(millis, u128::from(rank) << 72 | number))
    }
}

impl ImportId {
    /// The import of an object that nobody announced: the same object is the same import.
    pub fn of_object(key: &str, etag: &str) -> Self {
        Self::from_ulid(Ulid(secret::number(&[key, etag])))
    }
}

/// Ids of what lies in something else: the other's own id, and a number. So the id says where it is.
macro_rules! ids_within {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $parent:ident $owner:ident;)*) => {$(
        id_text! { $(#[$doc])* $name }

        impl $name {
            const PREFIX: &'static str = $prefix;

            fn within(parent: &$parent, number: impl std::fmt::Display) -> Self {
                Self(format!("{}_{}{}", $prefix, parent.suffix(), number.to_string().to_ascii_lowercase()))
            }

            pub fn $owner(&self) -> $parent {
                $parent(format!("{}_{}", $parent::PREFIX, &self.0[$prefix.len() + 1..self.0.len() - ULID_LEN]))
            }

            /// The number as text; its first character is one of eight.
            pub fn number(&self) -> &str {
                &self.0[self.0.len() - ULID_LEN..]
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                let malformed = || Invalid::new(format!("is not an id of the form {}_…", Self::PREFIX));
                let at = text.len().checked_sub(ULID_LEN).filter(|at| text.is_char_boundary(*at)).ok_or_else(malformed)?;
                parse(&text[..at], Self::PREFIX)?;
                parse(&format!("{}_{}", Self::PREFIX, &text[at..]), Self::PREFIX)?;
                Ok(Self(text.to_owned()))
            }
        }
    )*};
}

ids_within! {
    /// A promo code, not its text.
    CodeId = "code", CodePoolId pool;
    /// What one user claimed of one pool.
    ClaimId = "claim", CodePoolId pool;
    /// The stamps of one visit.
    StampId = "stamp", CustomerId customer;
    /// What a full card is good for.
    CardRewardId = "crw", CustomerId customer;
    /// One message of a campaign.
    SendId = "send", CampaignId campaign;
    /// What one endpoint is told of one event.
    DeliveryId = "dlv", WebhookEndpointId endpoint;
}

/// The same thing always has the same id, which can't be computed, or traced back, without the account's key.
macro_rules! ids_of_what_is_named {
    ($($name:ident $purpose:literal;)*) => {$(
        impl $name {
            pub fn of(key: &SigningKey, pool: &CodePoolId, identity: &str) -> Self {
                Self::within(pool, Ulid(key.number(&[$purpose, pool.as_str(), identity])))
            }
        }
    )*};
}

ids_of_what_is_named! {
    CodeId "code";
    ClaimId "claim";
}

/// Those of one customer sort in the order of time.
macro_rules! ids_of_what_happens {
    ($($name:ident;)*) => {$(
        impl $name {
            /// A new id of something that happened at this time.
            pub fn new(customer: &CustomerId, at: Timestamp) -> Self {
                Self::within(customer, fresh(at))
            }
        }
    )*};
}

ids_of_what_happens! {
    StampId;
    CardRewardId;
}

impl SendId {
    /// The message to this customer on this occasion: there is one.
    pub fn of(campaign: &CampaignId, customer: &CustomerId, occasion: &str) -> Self {
        Self::within(
            campaign,
            Ulid(secret::number(&["send", campaign.as_str(), customer.as_str(), occasion])),
        )
    }
}

impl DeliveryId {
    /// An endpoint is told of an event by one delivery. Those of one endpoint sort as their events do.
    pub fn of(endpoint: &WebhookEndpointId, event: &EventId) -> Self {
        Self::within(endpoint, event.suffix())
    }
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
    fn ids_in_order_sort_as_they_were_made_within_a_millisecond() {
        let ids: Vec<_> = (0..100).map(|_| EventId::in_order(Timestamp::UNIX_EPOCH)).collect();
        assert!(ids.is_sorted() && ids[0] < ids[99]);
    }

    #[test]
    fn an_id_within_a_pool_follows_from_what_it_names() {
        let (key, pool) = (SigningKey::generate(), CodePoolId::new(Timestamp::UNIX_EPOCH));
        let id = CodeId::of(&key, &pool, "abc");
        assert_eq!(id, CodeId::of(&key, &pool, "abc"));
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.pool(), pool);
        assert_ne!(id, CodeId::of(&SigningKey::generate(), &pool, "abc"));
        assert_ne!(id.number(), ClaimId::of(&key, &pool, "abc").number());
        for text in [
            id.as_str().replace("code_", "claim_"),
            id.as_str().replace("code_", ""),
            id.as_str()[..40].to_owned(),
            id.as_str().to_ascii_uppercase(),
            format!("{id}é"),
            "é".to_owned(),
        ] {
            assert!(text.parse::<CodeId>().is_err(), "{text}");
        }
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

//! Prefixed, time-sortable identifiers: `wl_01k…` names a waitlist and nothing else.
//!
//! An id is its prefix, an underscore and a ULID in lower case. Two ids made in
//! different milliseconds sort in the order in which they were made.
//!
//! A family declares its ids with [`ids!`](crate::ids!) and [`ids_within!`](crate::ids_within!). Those that are named by
//! families which don't know that family are here.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use ulid::Ulid;

use crate::{Invalid, secret};

/// Characters of a number.
pub const NUMBER_LEN: usize = 26;

/// A new number, unique without coordination.
pub fn fresh(now: Timestamp) -> String {
    text_of(fresh_ulid(now))
}

/// This number as ids have it.
pub fn number(number: u128) -> String {
    text_of(Ulid(number))
}

fn text_of(ulid: Ulid) -> String {
    ulid.to_string().to_ascii_lowercase()
}

fn fresh_ulid(now: Timestamp) -> Ulid {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ulid::from_parts(millis, u128::from_be_bytes(secret::random()))
}

/// A number after all others that this process made in order, for what happened within one millisecond.
fn fresh_in_order(now: Timestamp) -> Ulid {
    static LAST: Mutex<Ulid> = Mutex::new(Ulid::nil());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = fresh_ulid(now).max(Ulid(last.0.saturating_add(1)));
    *last
}

fn malformed(prefix: &str) -> Invalid {
    Invalid::new(format!("is not an id of the form {prefix}_…"))
}

/// Checks that a text is the id with this prefix.
///
/// # Errors
/// It is not.
pub fn check(text: &str, prefix: &str) -> Result<(), Invalid> {
    let encoded = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    match encoded.is_some_and(is_number) {
        true => Ok(()),
        false => Err(malformed(prefix)),
    }
}

/// Checks that a text is an id with this prefix of something that lies in something else.
///
/// # Errors
/// It is not.
pub fn check_within(text: &str, prefix: &str) -> Result<(), Invalid> {
    let at = text.len().checked_sub(NUMBER_LEN).filter(|at| text.is_char_boundary(*at));
    let (parent, own) = at.map(|at| text.split_at(at)).ok_or_else(|| malformed(prefix))?;
    check(parent, prefix)?;
    if is_number(own) { Ok(()) } else { Err(malformed(prefix)) }
}

/// Ids are compared as text everywhere, so there is exactly one spelling of each.
fn is_number(text: &str) -> bool {
    let is_upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    !is_upper && Ulid::from_string(&text.to_ascii_uppercase()).is_ok_and(|ulid| text_of(ulid) == text)
}

/// An id as text: a struct of one string, checked where it comes in.
#[doc(hidden)]
#[macro_export]
macro_rules! id_text {
    ($(#[$doc:meta])* $name:ident = $prefix:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize, ::utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The part after the prefix.
            pub fn suffix(&self) -> &str {
                &self.0[$prefix.len() + 1..]
            }

            /// The id with this part after the prefix, which comes from another id.
            #[doc(hidden)]
            pub fn with_suffix(suffix: &str) -> Self {
                Self(format!("{}_{suffix}", $prefix))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Invalid;
            fn from_str(text: &str) -> Result<Self, $crate::Invalid> {
                $crate::id::$check(text, $prefix).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::Invalid;
            fn try_from(text: String) -> Result<Self, $crate::Invalid> {
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

/// Declares ids: `WaitlistId = "wl";`. The crate depends on `jiff`, `serde` and `utoipa`.
#[macro_export]
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $crate::id_text! { $(#[$doc])* $name = $prefix, check }

        impl $name {
            /// A new id, unique without coordination.
            pub fn new(now: ::jiff::Timestamp) -> Self {
                Self::with_suffix(&$crate::id::fresh(now))
            }
        }
    )*};
}

/// Declares ids of what lies in something else: `CodeId = "code", CodePoolId pool;`. They are made of the other's own id and
/// a number, so the id says where it is.
#[macro_export]
macro_rules! ids_within {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $parent:ident $owner:ident;)*) => {$(
        $crate::id_text! { $(#[$doc])* $name = $prefix, check_within }

        impl $name {
            /// Of this number, as [`fresh`]($crate::id::fresh) or [`number`]($crate::id::number) gives it.
            fn within(parent: &$parent, number: &str) -> Self {
                Self(format!("{}_{}{number}", $prefix, parent.suffix()))
            }

            pub fn $owner(&self) -> $parent {
                $parent::with_suffix(&self.0[$prefix.len() + 1..self.0.len() - $crate::id::NUMBER_LEN])
            }

            /// The number as text; its first character is one of eight.
            pub fn number(&self) -> &str {
                &self.0[self.0.len() - $crate::id::NUMBER_LEN..]
            }
        }
    )*};
}

ids! {
    /// An account: it owns everything else.
    AccountId = "acct";
    /// A domain event.
    EventId = "evt";
    SubscriberId = "sub";
    /// A stamp program.
    ProgramId = "prog";
    /// Somebody who collects stamps.
    CustomerId = "cust";
    /// A message campaign.
    CampaignId = "camp";
    /// Who is told of events.
    WebhookEndpointId = "we";
}

ids_within! {
    /// One message of a campaign.
    SendId = "send", CampaignId campaign;
}

impl EventId {
    /// Sorts after all that this process has made before.
    pub fn in_order(now: Timestamp) -> Self {
        Self::with_suffix(&text_of(fresh_in_order(now)))
    }

    /// The event of a fact: the same fact is the same event. Of what happened within one millisecond, that of
    /// a lower rank comes first.
    pub fn of_fact(at: Timestamp, rank: u8, fact: &[&str]) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let hash = secret::number(fact) >> 56;
        Self::with_suffix(&text_of(Ulid::from_parts(millis, u128::from(rank) << 72 | hash)))
    }
}

impl SendId {
    /// The message to this customer on this occasion: there is one.
    pub fn of(campaign: &CampaignId, customer: &CustomerId, occasion: &str) -> Self {
        let hash = secret::number(&["send", campaign.as_str(), customer.as_str(), occasion]);
        Self::within(campaign, &number(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_sorts_by_time() {
        let early = AccountId::new(Timestamp::from_millisecond(1_700_000_000_000).unwrap());
        let late = AccountId::new(Timestamp::from_millisecond(1_700_000_000_001).unwrap());
        assert!(early < late);
        assert_eq!(early.as_str().parse(), Ok(early));
    }

    #[test]
    fn ids_in_order_sort_as_they_were_made_within_a_millisecond() {
        let ids: Vec<_> = (0..100).map(|_| EventId::in_order(Timestamp::UNIX_EPOCH)).collect();
        assert!(ids.is_sorted() && ids[0] < ids[99]);
    }

    #[test]
    fn an_id_within_another_says_where_it_is() {
        let (campaign, customer) =
            (CampaignId::new(Timestamp::UNIX_EPOCH), CustomerId::new(Timestamp::UNIX_EPOCH));
        let id = SendId::of(&campaign, &customer, "once");
        assert_eq!(id, SendId::of(&campaign, &customer, "once"));
        assert_ne!(id, SendId::of(&campaign, &customer, "twice"));
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.campaign(), campaign);
        for text in [
            id.as_str().replace("send_", "camp_"),
            id.as_str().replace("send_", ""),
            id.as_str()[..40].to_owned(),
            id.as_str().to_ascii_uppercase(),
            format!("{id}é"),
            "é".to_owned(),
        ] {
            assert!(text.parse::<SendId>().is_err(), "{text}");
        }
    }

    #[test]
    fn another_kind_another_case_and_other_text_are_refused() {
        let id = ProgramId::new(Timestamp::UNIX_EPOCH);
        for text in [
            id.as_str().replace("prog_", "sub_"),
            id.as_str().to_ascii_uppercase(),
            id.as_str().replace("prog_", "prog_PROG"),
            format!("{id}0"),
            id.as_str()[..20].to_owned(),
            "prog_81k00000000000000000000000".to_owned(),
            "prog_é1k0000000000000000000000".to_owned(),
            String::new(),
        ] {
            assert!(text.parse::<ProgramId>().is_err(), "{text}");
        }
    }
}

//! Prefixed identifiers that sort by time. `wl_01k…` can only be a waitlist.
//!
//! An id is its prefix, an underscore and a ULID in lower case. Two ids created in different milliseconds sort in
//! the order of their creation.
//!
//! A family declares its ids with [`ids!`](crate::ids!) and [`ids_within!`](crate::ids_within!). Ids that other
//! families use without depending on that family are declared here.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use ulid::Ulid;

use crate::{Invalid, secret};

/// Number of characters of an encoded number.
pub const NUMBER_LEN: usize = 26;

/// Returns a new number, unique without coordination.
pub fn fresh(now: Timestamp) -> String {
    text_of(fresh_ulid(now))
}

/// Encodes a number as in ids.
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

/// Returns a number greater than all numbers that this process has created in order before, for ids of the same
/// millisecond.
fn fresh_in_order(now: Timestamp) -> Ulid {
    static LAST: Mutex<Ulid> = Mutex::new(Ulid::nil());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = fresh_ulid(now).max(Ulid(last.0.saturating_add(1)));
    *last
}

fn malformed(prefix: &str) -> Invalid {
    Invalid::new(format!("is not an id of the form {prefix}_…"))
}

/// Checks that a text is an id with this prefix.
///
/// # Errors
/// When the text is not such an id.
pub fn check(text: &str, prefix: &str) -> Result<(), Invalid> {
    let encoded = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    match encoded.is_some_and(is_number) {
        true => Ok(()),
        false => Err(malformed(prefix)),
    }
}

/// Checks that a text is an id with this prefix that was declared with [`ids_within!`](crate::ids_within!).
///
/// # Errors
/// When the text is not such an id.
pub fn check_within(text: &str, prefix: &str) -> Result<(), Invalid> {
    let at = text.len().checked_sub(NUMBER_LEN).filter(|at| text.is_char_boundary(*at));
    let (parent, own) = at.map(|at| text.split_at(at)).ok_or_else(|| malformed(prefix))?;
    check(parent, prefix)?;
    if is_number(own) { Ok(()) } else { Err(malformed(prefix)) }
}

/// Ids are compared as text everywhere, so each id has exactly one spelling.
fn is_number(text: &str) -> bool {
    let is_upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    !is_upper && Ulid::from_string(&text.to_ascii_uppercase()).is_ok_and(|ulid| text_of(ulid) == text)
}

/// Declares an id: a struct with one string, which is checked when it is parsed.
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

            /// Returns the part after the prefix.
            pub fn suffix(&self) -> &str {
                &self.0[$prefix.len() + 1..]
            }

            /// Builds the id from the suffix of another id.
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
            /// Creates an id, unique without coordination.
            pub fn new(now: ::jiff::Timestamp) -> Self {
                Self::with_suffix(&$crate::id::fresh(now))
            }
        }
    )*};
}

/// Declares ids of objects that lie in another object: `CodeId = "code", CodePoolId pool;`. Such an id consists of
/// the suffix of the other object's id and a number, so the id names the object that it lies in.
#[macro_export]
macro_rules! ids_within {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $parent:ident $owner:ident;)*) => {$(
        $crate::id_text! { $(#[$doc])* $name = $prefix, check_within }

        impl $name {
            /// Builds the id from a number that [`fresh`]($crate::id::fresh) or [`number`]($crate::id::number)
            /// returned.
            fn within(parent: &$parent, number: &str) -> Self {
                Self(format!("{}_{}{number}", $prefix, parent.suffix()))
            }

            pub fn $owner(&self) -> $parent {
                $parent::with_suffix(&self.0[$prefix.len() + 1..self.0.len() - $crate::id::NUMBER_LEN])
            }

            /// Returns the number as text. The first character has eight possible values.
            pub fn number(&self) -> &str {
                &self.0[self.0.len() - $crate::id::NUMBER_LEN..]
            }
        }
    )*};
}

ids! {
    /// Id of an account, which owns all other objects.
    AccountId = "acct";
    /// Id of an event.
    EventId = "evt";
    /// Id of a subscriber of a waitlist.
    SubscriberId = "sub";
    /// Id of a stamp-card program.
    ProgramId = "prog";
    /// Id of a customer, who collects stamps.
    CustomerId = "cust";
    /// Id of a message campaign.
    CampaignId = "camp";
    /// Id of a webhook endpoint.
    WebhookEndpointId = "we";
}

ids_within! {
    /// Id of a send: one message of a campaign to one customer.
    SendId = "send", CampaignId campaign;
}

impl EventId {
    /// Creates an id that sorts after all ids that this process has created in order before.
    pub fn in_order(now: Timestamp) -> Self {
        Self::with_suffix(&text_of(fresh_in_order(now)))
    }

    /// Returns the id of the event of a fact. The same fact always has the same id. Among events of the same
    /// millisecond, lower ranks sort first.
    pub fn of_fact(at: Timestamp, rank: u8, fact: &[&str]) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let hash = secret::number(fact) >> 56;
        Self::with_suffix(&text_of(Ulid::from_parts(millis, u128::from(rank) << 72 | hash)))
    }
}

impl SendId {
    /// Returns the id of the message to this customer on this occasion. The same arguments always give the same id.
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

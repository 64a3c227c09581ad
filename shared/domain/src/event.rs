//! Kinds of events: their names, ids and data fields.
//!
//! Each family declares its kinds with [`event_kinds!`](crate::event_kinds!). Every event of a kind has the fields
//! that the kind declares; feeds, webhooks and their documentation are built from the declarations.

use serde::{Deserialize, Serialize};

use crate::money::Amount;

/// Person who caused the event, or to whom the event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    Subscriber,
    Customer,
    Nobody,
}

/// Type of a data field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataType {
    Number,
    Text,
    Amount,
}

/// Value of a data field of an event. Texts are names and codes of objects, never personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Datum {
    Number(u64),
    Text(String),
    Amount(Amount),
}

impl Datum {
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Number(_) => DataType::Number,
            Self::Text(_) => DataType::Text,
            Self::Amount(_) => DataType::Amount,
        }
    }
}

impl std::fmt::Display for Datum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Amount(amount) => amount.fmt(f),
        }
    }
}

impl From<u64> for Datum {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Datum {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<String> for Datum {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Amount> for Datum {
    fn from(amount: Amount) -> Self {
        Self::Amount(amount)
    }
}

/// Kind of events, as its family declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKind {
    /// Name in the API, such as `subscriber.joined`.
    pub name: &'static str,
    /// Description, one sentence.
    pub about: &'static str,
    /// Name of the field with the id of the object that the event happened to or in, such as `waitlist_id`.
    pub topic: &'static str,
    pub person: Person,
    /// Name of the field with the id of a further object, if the event has one.
    pub object: Option<&'static str>,
    /// Data fields, by name.
    pub data: &'static [(&'static str, DataType)],
    /// True for a step from a visit to a redemption. Steps are also counted for the whole account.
    pub is_step: bool,
}

/// Name of a kind, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventName(String);

impl EventName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<EventKind> for EventName {
    fn from(kind: EventKind) -> Self {
        Self(kind.name.to_owned())
    }
}

/// Declares kinds of events as constants, and `ALL` as the list of them. The arguments are the constant, the name,
/// `step` for a step from a visit to a redemption or `count` for any other kind, the field of the topic, the
/// person, the field of the further object, the data fields, and the description.
#[macro_export]
macro_rules! event_kinds {
    (@is_step step) => { true };
    (@is_step count) => { false };
    ($($name:ident $text:literal $step:ident $topic:literal $person:ident $object:literal [$($field:literal: $data_type:ident),*] $about:literal;)*) => {
        $(pub const $name: $crate::event::EventKind = $crate::event::EventKind {
            name: $text,
            about: $about,
            topic: $topic,
            person: $crate::event::Person::$person,
            object: if $object.is_empty() { None } else { Some($object) },
            data: &[$(($field, $crate::event::DataType::$data_type)),*],
            is_step: $crate::event_kinds!(@is_step $step),
        };)*

        /// All kinds of this list, in the order of the documentation.
        pub static ALL: &[$crate::event::EventKind] = &[$($name),*];
    };
}

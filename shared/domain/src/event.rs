//! Kinds of events: what happens, under which name, and which ids and data tell of it.
//!
//! Each family declares its own with [`event_kinds!`](crate::event_kinds!). An event of a kind always has the fields that the
//! kind names: feeds, webhooks and their documents follow from that.

use serde::{Deserialize, Serialize};

use crate::money::Amount;

/// Who does it, or to whom it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    Subscriber,
    Customer,
    Nobody,
}

/// What a field of an event's data holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataType {
    Number,
    Text,
    Amount,
}

/// A field of an event's data. Texts are names and codes of things, never anything personal.
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

/// A kind of events, as its family declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKind {
    /// As it is called in the API: `subscriber.joined`.
    pub name: &'static str,
    /// In words, a sentence.
    pub about: &'static str,
    /// The field of the id of what it happens to, or in: `waitlist_id`.
    pub topic: &'static str,
    pub person: Person,
    /// The field of the id of what else it is about, if it is.
    pub object: Option<&'static str>,
    /// What else it tells, by name.
    pub data: &'static [(&'static str, DataType)],
    /// Whether it leads from a visit to a redemption, and is counted for the whole account as well.
    pub is_step: bool,
}

/// The name of a kind, as it is stored.
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

/// Declares kinds of events as constants, and `ALL` of them: the constant, the name, `step` for what leads from a visit to a
/// redemption and `count` for the rest, the field of the topic, the person, the field of the object, the fields of its data,
/// and what it is about.
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

        /// All of them, in the order of the documents.
        pub static ALL: &[$crate::event::EventKind] = &[$($name),*];
    };
}

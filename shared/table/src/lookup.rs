//! Lookups: items by their keys, read in one call.
//!
//! [`Wanted`] items are combined as the parts of a tuple, so the items of several readers take one call. A [`Lookup`]
//! is wanted items together with the access pattern of the call.

use std::{collections::HashMap, marker::PhantomData};

use jiff::Timestamp;

use crate::{Entity, Item, Pattern, Table, TableError, counters::counters_of, keys::Key, table::is_current};

/// Items to be read, and the value that is made of them.
pub trait Wanted: Send {
    type Found;

    /// Adds the keys of the items to a list.
    fn keys(&self, keys: &mut Vec<Key>);

    /// Makes the value of the items that were found.
    ///
    /// # Errors
    /// [`TableError::Malformed`] when an item is of another type or shape.
    fn found(self, items: &HashMap<Key, Item>) -> Result<Self::Found, TableError>;

    /// Makes a value of what is found.
    fn map<T, F: FnOnce(Self::Found) -> T + Send>(self, make: F) -> Map<Self, F>
    where
        Self: Sized,
    {
        Map { wanted: self, make }
    }
}

/// Entity under one key: `None` if there is no item.
pub struct One<E> {
    key: Key,
    /// True if an expired item counts as absent.
    current: bool,
    entity: PhantomData<fn() -> E>,
}

/// Wants the entity under a key, even if it has expired and is not deleted yet, unlike [`Table::get`]. For entities that
/// are written on condition of what was read: an expired item still takes part in the condition.
pub fn one<E: Entity>(key: Key) -> One<E> {
    One { key, current: false, entity: PhantomData }
}

/// Wants the entity under a key, unless it has expired.
pub fn current<E: Entity>(key: Key) -> One<E> {
    One { key, current: true, entity: PhantomData }
}

impl<E: Entity> Wanted for One<E> {
    type Found = Option<E>;

    fn keys(&self, keys: &mut Vec<Key>) {
        keys.push(self.key.clone());
    }

    fn found(self, items: &HashMap<Key, Item>) -> Result<Self::Found, TableError> {
        let item = items.get(&self.key).filter(|item| !self.current || is_current(item, Timestamp::now()));
        item.cloned().map(E::from_item).transpose()
    }
}

/// Counters of one item.
pub struct Counters(Key);

/// Wants the counters of an item. An absent item has no counters.
pub fn counters(key: Key) -> Counters {
    Counters(key)
}

impl Wanted for Counters {
    type Found = HashMap<String, i64>;

    fn keys(&self, keys: &mut Vec<Key>) {
        keys.push(self.0.clone());
    }

    fn found(self, items: &HashMap<Key, Item>) -> Result<Self::Found, TableError> {
        Ok(items.get(&self.0).map(counters_of).unwrap_or_default())
    }
}

impl<W: Wanted> Wanted for Option<W> {
    type Found = Option<W::Found>;

    fn keys(&self, keys: &mut Vec<Key>) {
        if let Some(wanted) = self {
            wanted.keys(keys);
        }
    }

    fn found(self, items: &HashMap<Key, Item>) -> Result<Self::Found, TableError> {
        self.map(|wanted| wanted.found(items)).transpose()
    }
}

macro_rules! tuples {
    ($($($name:ident $part:tt)+;)+) => {
        $(impl<$($name: Wanted),+> Wanted for ($($name,)+) {
            type Found = ($($name::Found,)+);

            fn keys(&self, keys: &mut Vec<Key>) {
                $(self.$part.keys(keys);)+
            }

            fn found(self, items: &HashMap<Key, Item>) -> Result<Self::Found, TableError> {
                Ok(($(self.$part.found(items)?,)+))
            }
        })+
    };
}

tuples! {
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
}

/// Wanted items, and a function of them.
pub struct Map<W, F> {
    wanted: W,
    make: F,
}

impl<W: Wanted, T, F: FnOnce(W::Found) -> T + Send> Wanted for Map<W, F> {
    type Found = T;

    fn keys(&self, keys: &mut Vec<Key>) {
        self.wanted.keys(keys);
    }

    fn found(self, items: &HashMap<Key, Item>) -> Result<T, TableError> {
        self.wanted.found(items).map(self.make)
    }
}

/// Read of wanted items for an access pattern.
#[must_use]
pub struct Lookup<W> {
    pattern: &'static Pattern,
    wanted: W,
}

impl<W: Wanted> Lookup<W> {
    pub fn new(pattern: &'static Pattern, wanted: W) -> Self {
        Self { pattern, wanted }
    }

    /// Makes a value of what is found.
    pub fn map<T, F: FnOnce(W::Found) -> T + Send>(self, make: F) -> Lookup<Map<W, F>> {
        Lookup { pattern: self.pattern, wanted: self.wanted.map(make) }
    }

    /// Reads other items in the same call.
    pub fn and<V: Wanted>(self, other: V) -> Lookup<(W, V)> {
        Lookup { pattern: self.pattern, wanted: (self.wanted, other) }
    }
}

impl Table {
    /// Reads the items of a lookup with consistent reads. More than 100 items take several calls.
    ///
    /// # Errors
    /// When the table is unavailable, or an item is of another type or shape.
    pub async fn look_up<W: Wanted>(&self, lookup: Lookup<W>) -> Result<W::Found, TableError> {
        let mut keys = Vec::new();
        lookup.wanted.keys(&mut keys);
        let items = self.batch_get(lookup.pattern, &keys).await?;
        lookup.wanted.found(&items)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{AttributeValue, keys::TYPE};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
        until: Option<Timestamp>,
    }

    impl Entity for Note {
        const TYPE: &'static str = "note";
        fn key(&self) -> Key {
            key(&self.text)
        }
        fn expires(&self) -> Option<Timestamp> {
            self.until
        }
    }

    fn key(text: &str) -> Key {
        Key::new(&["NOTE", text], &["META"])
    }

    fn stored(notes: &[(&str, Option<Timestamp>)]) -> HashMap<Key, Item> {
        let notes = notes.iter().map(|(text, until)| Note { text: (*text).to_owned(), until: *until });
        notes.map(|note| (note.key(), note.to_item())).collect()
    }

    fn text(note: Option<Note>) -> Option<String> {
        note.map(|note| note.text)
    }

    #[test]
    fn parts_of_a_tuple_find_their_own_items_also_when_two_want_the_same() {
        let wanted =
            (one(key("a")), one(key("none")), Some(one(key("b")).map(text)), one(key("a")).map(text));
        let mut keys = Vec::new();
        wanted.keys(&mut keys);
        assert_eq!(keys, [key("a"), key("none"), key("b"), key("a")]);
        let (a, none, b, again): (Option<Note>, Option<Note>, _, _) =
            wanted.found(&stored(&[("a", None), ("b", None)])).unwrap();
        assert_eq!((text(a), text(none)), (Some("a".to_owned()), None));
        assert_eq!((b, again), (Some(Some("b".to_owned())), Some("a".to_owned())));
    }

    #[test]
    fn only_current_treats_an_expired_item_as_absent() {
        let past = Timestamp::now() - jiff::SignedDuration::from_secs(2);
        let future = Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let items = stored(&[("past", Some(past)), ("future", Some(future))]);
        let found = |wanted: One<Note>| text(wanted.found(&items).unwrap());
        assert_eq!(found(one(key("past"))), Some("past".to_owned()));
        assert_eq!(found(current(key("past"))), None);
        assert_eq!(found(current(key("future"))), Some("future".to_owned()));
    }

    #[test]
    fn an_item_of_another_type_is_malformed() {
        let mut items = stored(&[("a", None)]);
        items.get_mut(&key("a")).unwrap().insert(TYPE.to_owned(), AttributeValue::S("other".to_owned()));
        let wanted: One<Note> = one(key("a"));
        assert!(matches!(wanted.found(&items), Err(TableError::Malformed { entity: "note", .. })));
    }
}

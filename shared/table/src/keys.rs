//! Primary keys and index keys, built from typed segments.
//!
//! A key is its segments joined by `#`. A `#` or `%` inside a segment is
//! percent-encoded, so that no value can pose as the boundary between two.

use std::fmt::Write as _;

/// Names of the table's key attributes and indexes.
pub const PK: &str = "PK";
pub const SK: &str = "SK";
pub const GSI1: &str = "GSI1";
pub const GSI2: &str = "GSI2";
/// Which entity an item is.
pub const TYPE: &str = "_type";
/// Optimistic concurrency: counts the changes of an item.
pub const REV: &str = "rev";
/// Seconds since the epoch after which DynamoDB may delete the item.
pub const EXPIRES_AT: &str = "expires_at";

/// The key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

/// An item's place in a secondary index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexKey {
    pub index: &'static str,
    pub pk: String,
    pub sk: String,
}

/// Joins segments; escapes what is inside them.
pub fn join(segments: &[&str]) -> String {
    let mut key = String::new();
    for (position, segment) in segments.iter().enumerate() {
        if position > 0 {
            key.push('#');
        }
        for character in segment.chars() {
            match character {
                '#' | '%' => {
                    // Writing to a String can't fail.
                    let _ = write!(key, "%{:02X}", u32::from(character));
                }
                other => key.push(other),
            }
        }
    }
    key
}

impl Key {
    pub fn new(pk: &[&str], sk: &[&str]) -> Self {
        Self { pk: join(pk), sk: join(sk) }
    }
}

impl IndexKey {
    pub fn new(index: &'static str, pk: &[&str], sk: &[&str]) -> Self {
        Self { index, pk: join(pk), sk: join(sk) }
    }
}

/// How many partitions of an index the entries of one list are spread over: an
/// index partition takes 1,000 writes a second, a popular one more.
pub const LIST_SHARDS: u8 = 4;

/// The partition that an id's list entry lives in.
pub fn list_shard(id: &str) -> u8 {
    id.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % LIST_SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_cannot_forge_a_boundary() {
        assert_eq!(join(&["A", "b"]), "A#b");
        assert_eq!(join(&["A", "b#c", "d%23"]), "A#b%23c#d%2523");
        assert_ne!(join(&["A", "b", "c"]), join(&["A", "b#c"]));
        assert_ne!(join(&["A", "b%23c"]), join(&["A", "b#c"]));
    }
}

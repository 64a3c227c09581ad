//! Primary keys and index keys, built from segments.
//!
//! A key is its segments joined by `#`. A `#` or `%` inside a segment is percent-encoded, so a value can't contain
//! a segment boundary.

use std::fmt::Write as _;

/// Names of the table's key attributes and indexes.
pub const PK: &str = "PK";
pub const SK: &str = "SK";
pub const GSI1: &str = "GSI1";
pub const GSI2: &str = "GSI2";
/// Attribute that holds the type of the entity.
pub const TYPE: &str = "_type";
/// Attribute that holds the revision of an item, for optimistic concurrency. Each change of the item increments the
/// revision.
pub const REV: &str = "rev";
/// Attribute that holds the expiry of an item, in seconds since the epoch. DynamoDB may delete the item after that
/// time.
pub const EXPIRES_AT: &str = "expires_at";

/// Primary key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

/// Key of an item in a secondary index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexKey {
    pub index: &'static str,
    pub pk: String,
    pub sk: String,
}

/// Joins segments with `#`. Percent-encodes `#` and `%` inside a segment.
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

/// Number of partitions over which the entries of one list are spread: a partition takes 1,000 writes a second, and
/// a popular list needs more.
pub const LIST_SHARDS: u8 = 4;

/// Returns the number of the partition that holds the list entry of this id.
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

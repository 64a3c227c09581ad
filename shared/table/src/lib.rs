//! The one table: the only door to DynamoDB.
//!
//! * A [`Pattern`] is one question that is asked of the table. Every method of [`Table`] and every [`Commit`] names the
//!   pattern that it serves, and is refused what the pattern does not list.
//! * An [`Entity`] is a type that is stored as one item, and owns its keys.
//! * A [`Commit`] writes items together or not at all.
//!
//! Nothing here knows what is stored: entities, patterns and what they are for belong to those who use the table.
//!
//! Invariants: an item is changed only under the condition that its `rev` is still the one that was read; whatever
//! belongs together is written in one transaction; nothing scans.

mod back_off;
mod commit;
pub mod counters;
mod cursor;
mod entity;
mod error;
mod filler;
mod idempotency;
pub mod keys;
mod pattern;
mod query;
pub mod rates;
mod table;

/// A value as DynamoDB has it: who writes a condition of its own names those that it compares with.
pub use aws_sdk_dynamodb::types::AttributeValue;
pub use back_off::back_off;
pub use commit::{Commit, CommitError, CounterIs, Failed, MAX_WRITES, leave_out, purge, retried};
pub use cursor::{Cursor, Page};
pub use entity::{Entity, Item, REPLAYED_WITHIN, due_at, key_of};
pub use error::TableError;
pub use filler::Filler;
pub use idempotency::{Answer, Idempotency, IdempotencyRecord, Replay};
pub use keys::{IndexKey, Key, LIST_SHARDS, join, list_shard};
pub use pattern::{Operation, Pattern};
pub use query::{Filter, Query, Range};
pub use table::Table;

/// What is asked of the table for whoever uses it.
pub mod patterns {
    crate::patterns! {
        PING "health.ping" "" [Get] None, "`PING` / `PING`", "Does the table answer?";
        IDEMPOTENCY "idempotency.read" "" [Get] None, "`IDEM#account#principal#key` / `META`", "What was answered to this Idempotency-Key?";
        RATE "rate.count" "" [Update] None, "`RATE#account#limit#caller` / META", "How often did this caller come within a minute?";
    }
}

//! Access to DynamoDB: one table, which the functions use only through this crate.
//!
//! * A [`Pattern`] is one declared access pattern. Every method of [`Table`] and every [`Commit`] names the pattern
//!   that it serves. A debug build panics if the pattern does not list the operation.
//! * An [`Entity`] is a type that is stored as one item and builds its own keys.
//! * A [`Commit`] is a set of writes in one transaction: DynamoDB applies all of them or none.
//!
//! The crates that use the table declare the entities and patterns of the product.
//!
//! Invariants:
//!
//! * An item that was read is replaced only if its `rev` is still the one that was read (optimistic concurrency).
//! * Writes that belong together are made in one transaction.
//! * No operation scans the table.

mod back_off;
mod commit;
pub mod counters;
mod cursor;
mod entity;
mod error;
mod filler;
mod idempotency;
pub mod keys;
pub mod lookup;
mod pattern;
mod query;
pub mod rates;
mod table;

/// DynamoDB attribute value, re-exported for callers that write their own conditions.
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

/// Access patterns of this crate.
pub mod patterns {
    crate::patterns! {
        PING "health.ping" "" [Get] None, "`PING` / `PING`", "Does the table answer?";
        IDEMPOTENCY "idempotency.read" "" [Get] None, "`IDEM#account#principal#key` / `META`", "Which response is stored for this Idempotency-Key?";
        RATE "rate.count" "" [Update] None, "`RATE#account#limit#caller` / META", "Count a caller's request against a rate limit";
    }
}

//! The single table: keys, stored items, access patterns and transactions.
//!
//! * [`patterns`] lists every question that is ever asked of the table. Nothing
//!   reaches DynamoDB except through [`Table`], whose every method names one.
//! * [`entities`] turn domain types into items and own their keys.
//! * The other modules hold what a family does to several items at once.
//!
//! Invariants: an item is changed only under the condition that its `rev` is
//! still the one that was read; whatever belongs together is written in one
//! transaction; nothing scans.

pub mod accounts;
pub mod archive;
pub mod campaign_projection;
pub mod campaigns;
pub mod claims;
pub mod code_pools;
pub mod code_projection;
pub mod codes;
pub mod comments;
mod commit;
mod cursor;
pub mod customers;
pub mod entities;
pub mod events;
pub mod exports;
mod facts;
pub mod feature_projection;
pub mod features;
mod idempotency;
pub mod imports;
mod keys;
pub mod line;
pub mod messages;
pub mod patterns;
pub mod programs;
pub mod projection;
pub mod rates;
pub mod referrals;
pub mod rollups;
pub mod seats;
pub mod sends;
pub mod stamp_projection;
pub mod stamps;
pub mod subscribers;
mod table;
pub mod twilio;
pub mod waitlists;
pub mod webhooks;

pub use commit::{Commit, CommitError, back_off};
pub use cursor::{Cursor, Page};
pub use idempotency::{Answer, Idempotency, Replay};
pub use keys::LIST_SHARDS;
pub use table::{StoreError, Table};

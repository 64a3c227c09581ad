//! The projection engine: processes the changes in the table's stream, and the jobs that outlast a request.
//!
//! * A [`Change`] is what a family reads from a stream record, with the effects that follow from it: [`facts`] are
//!   recorded and counted exactly once, [`rollups`] hold the sums per quarter hour, [`events`] are the published
//!   facts.
//! * A [`Job`](job::Job) is written in the transaction that makes the work necessary, and is done by a worker.
//! * A [`Family`] is the declaration of one family of the product. This crate does not depend on any family; the
//!   list of all families lies elsewhere.

use domain::scope::{Action, Area};

pub mod events;
pub mod facts;
mod family;
pub mod job;
pub mod rollups;
pub mod stream;

pub use events::Event;
pub use family::Family;
pub use job::Gone;
pub use stream::{Change, Context, Projection, Record};

/// Area of the API for the numbers of all families.
pub const ANALYTICS: Area = Area { name: "analytics", staff: Some(Action::Read) };

/// Access patterns of the engine.
pub mod patterns {
    table::patterns! {
        EVENTS "event.list" "" [Query] None, "`EVENTS#topic#shard` / `evt_…`, 4 shards merged, newest first", "The events of a waitlist, feature, code pool, program or campaign";
        ROLLUP "rollup.read" "analytics" [Query] None, "`ROLLUP#topic` / hour, from one to another", "The roll-ups of an object, per quarter hour";
        FUNNEL "rollup.account" "analytics" [Query] None, "`ROLLUP#account#shard` / hour, 4 shards", "The counts of the account's funnel, per hour";
        ROLLUP_PURGE "rollup.purge" "jobs" [Query Delete] None, "`ROLLUP#topic` / all", "Remove the roll-ups of a deleted object";
    }
}

//! What follows from a write: the engine over the table's stream, and over the jobs that outlast a request.
//!
//! * A [`Change`] is what a family reads from stream records, and what it does about them: [`facts`] are noted and
//!   counted exactly once, [`rollups`] count by the quarter hour, [`events`] tell what happened.
//! * A [`Job`](job::Job) is asked for in the transaction that makes it necessary, and done by a worker.
//! * A [`Family`] is what one family of the product brings. The list of all of them is not this crate's: nothing here
//!   names one.

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

/// The area of what is counted of all families.
pub const ANALYTICS: Area = Area { name: "analytics", staff: Some(Action::Read) };

/// What the engine asks of the table.
pub mod patterns {
    table::patterns! {
        EVENTS "event.list" "" [Query] None, "`EVENTS#topic#shard` / `evt_…`, 4 shards merged, newest first", "What happened on this waitlist, to this feature, in this code pool, program, campaign?";
        ROLLUP "rollup.read" "analytics" [Query] None, "`ROLLUP#topic` / hour, from one to another", "What happened here, by the quarter hour?";
        FUNNEL "rollup.account" "analytics" [Query] None, "`ROLLUP#account#shard` / hour, 4 shards", "What of it led from a visit to a redemption, in the whole account?";
        ROLLUP_PURGE "rollup.purge" "jobs" [Query Delete] None, "`ROLLUP#topic` / all", "Remove what was counted of something deleted";
    }
}

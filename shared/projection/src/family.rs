//! What a family brings to the platform.

use futures_util::future::BoxFuture;
use table::{Pattern, Table};

use crate::{
    Projection,
    job::{JobError, Jobs},
};

/// One family of the product, as those see it who work for all of them.
pub struct Family {
    pub name: &'static str,
    /// What it asks of the table.
    pub patterns: &'static [&'static Pattern],
    /// What follows from changes of its items, in the order in which it follows within a lane.
    pub projections: &'static [Projection],
    pub jobs: &'static [Jobs],
    /// What it does about things of other families that are gone.
    pub forget: Option<Forget>,
}

/// Something that is gone, or about to be.
#[derive(Clone, Copy, Debug)]
pub struct Gone<'a> {
    /// The `_type` of its item.
    pub kind: &'a str,
    pub id: &'a str,
}

/// Removes some of what a family keeps of it; whether that was all.
pub type Forget = for<'a> fn(&'a Table, Gone<'a>) -> BoxFuture<'a, Result<bool, JobError>>;

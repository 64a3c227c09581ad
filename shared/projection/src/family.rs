//! What a family says of itself.

use table::Pattern;

/// One family of the product. What follows from its changes, its jobs and its events are statics beside it: a function
/// links only those that it works with.
pub struct Family {
    pub name: &'static str,
    /// What it asks of the table.
    pub patterns: &'static [&'static Pattern],
    /// What its functions ask besides: patterns of the engine and of other families, with the functions.
    pub asks: &'static [(&'static Pattern, &'static [&'static str])],
}

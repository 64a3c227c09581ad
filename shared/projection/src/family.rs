//! What a family says of itself.

use domain::{problem::ProblemKind, scope::Area};
use table::Pattern;

/// One family of the product. What follows from its changes, its jobs and its events are statics beside it: a function
/// links only those that it works with.
pub struct Family {
    pub name: &'static str,
    /// Its areas of the API, which scopes are given on.
    pub areas: &'static [Area],
    /// What it refuses.
    pub problems: &'static [ProblemKind],
    /// What it asks of the table.
    pub patterns: &'static [&'static Pattern],
    /// What its functions ask besides: patterns of the engine and of other families, with the functions.
    pub asks: &'static [(&'static Pattern, &'static [&'static str])],
}

/// Declares a family, in its `lib.rs`: everything that `families/all` makes its lists from. What a family doesn't have is
/// left out; what it has is in this order.
#[macro_export]
macro_rules! family {
    (@or [$default:expr]) => { $default };
    (@or [$default:expr] $given:expr) => { $given };
    (
        name: $name:literal,
        $(areas: [$($area:expr),+],)?
        $(problems: $problems:expr,)?
        $(events: $events:expr,)?
        $(projections: [$($change:ty),+],)?
        $(jobs: $jobs:expr,)?
        $(runners: $runners:expr,)?
        $(forget: $forget:expr,)?
        patterns: $patterns:expr,
        $(asks: [$($asks:expr),+ $(,)?],)?
    ) => {
        /// What it tells of.
        pub static EVENTS: &[::domain::event::EventKind] = $crate::family!(@or [&[]] $($events)?);

        /// What follows from changes of its items, in the order in which it follows within a lane.
        pub static PROJECTIONS: &[$crate::Projection] =
            $crate::family!(@or [&[]] $(&[$($crate::Projection::of::<$change>()),+])?);

        /// Its jobs, and who does them.
        pub static JOBS: &[$crate::job::Jobs] = $crate::family!(@or [&[]] $($jobs)?);

        /// How the jobs function does its part of them.
        pub static RUNNERS: &[$crate::job::Runner] = $crate::family!(@or [&[]] $($runners)?);

        /// What it does about things of other families that are gone.
        pub static FORGET: Option<$crate::job::Forget> = $crate::family!(@or [None] $(Some($forget))?);

        /// What it says of itself.
        pub static FAMILY: $crate::Family = $crate::Family {
            name: $name,
            areas: $crate::family!(@or [&[]] $(&[$($area),+])?),
            problems: $crate::family!(@or [&[]] $($problems)?),
            patterns: $patterns,
            asks: $crate::family!(@or [&[]] $(&[$($asks),+])?),
        };
    };
}

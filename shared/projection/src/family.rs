//! Declaration of a family.

use domain::{problem::ProblemKind, scope::Area};
use table::Pattern;

/// One family of the product. Its projections, jobs and events are separate statics, so that a function links only
/// the families that it uses.
pub struct Family {
    pub name: &'static str,
    /// Areas of the API that scopes refer to.
    pub areas: &'static [Area],
    /// Problems that the family's routes return.
    pub problems: &'static [ProblemKind],
    /// Access patterns of the family.
    pub patterns: &'static [&'static Pattern],
    /// Further access patterns that the family's functions use, of the engine and of other families, each with the
    /// names of these functions.
    pub asks: &'static [(&'static Pattern, &'static [&'static str])],
}

/// Declares a family, in its `lib.rs`. `families/all` builds its lists from these declarations. Parts that a family
/// does not have are left out; the others are given in this order.
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
        /// Kinds of events that the family publishes.
        pub static EVENTS: &[::domain::event::EventKind] = $crate::family!(@or [&[]] $($events)?);

        /// Projections of the family's items, in the order in which they run within a lane.
        pub static PROJECTIONS: &[$crate::Projection] =
            $crate::family!(@or [&[]] $(&[$($crate::Projection::of::<$change>()),+])?);

        /// Kinds of jobs of the family, each with its worker.
        pub static JOBS: &[$crate::job::Jobs] = $crate::family!(@or [&[]] $($jobs)?);

        /// Runners of the family's jobs in the jobs function.
        pub static RUNNERS: &[$crate::job::Runner] = $crate::family!(@or [&[]] $($runners)?);

        /// Cleanup for an object of another family that is deleted.
        pub static FORGET: Option<$crate::job::Forget> = $crate::family!(@or [None] $(Some($forget))?);

        /// Declaration of the family.
        pub static FAMILY: $crate::Family = $crate::Family {
            name: $name,
            areas: $crate::family!(@or [&[]] $(&[$($area),+])?),
            problems: $crate::family!(@or [&[]] $($problems)?),
            patterns: $patterns,
            asks: $crate::family!(@or [&[]] $(&[$($asks),+])?),
        };
    };
}

//! The list of all families. Code that works with every family takes the families from here.

use std::collections::BTreeSet;

use domain::{event::EventKind, problem::ProblemKind, scope::Area};
use projection::{
    Family, Projection,
    job::{Forget, Job, Jobs, Run, Runner},
};
use table::Pattern;

mod events;
mod grant;
#[cfg(test)]
mod items;

pub use events::{EventType, EventView};
pub use grant::KnownGrant;

/// Builds the lists from the crates of the families.
macro_rules! families {
    ($($name:ident)*) => {
        /// All families, in the order in which the generated documents list them.
        pub static ALL: &[&Family] = &[&ENGINE, $(&$name::FAMILY),*];

        // There is one list for each use, so that a function links only the code of the lists that it uses.
        static EVENTS: &[&[EventKind]] = &[$($name::EVENTS),*];
        static PROJECTIONS: &[&[Projection]] = &[&[Projection::of::<Job>()], $($name::PROJECTIONS),*];
        static JOBS: &[&[Jobs]] = &[$($name::JOBS),*];
        static RUNNERS: &[&[Runner]] = &[$($name::RUNNERS),*];
        static FORGET: &[Option<Forget>] = &[$($name::FORGET),*];
    };
}

families! { accounts messages waitlists features codes stamps campaigns webhooks }

/// Patterns and areas of the engine, which belong to no single family.
static ENGINE: Family = Family {
    name: "engine",
    areas: &[projection::ANALYTICS],
    problems: &[],
    patterns: projection::patterns::ALL,
    asks: &[(&table::patterns::RATE, &["analytics"])],
};

/// Returns all access patterns of the table.
pub fn patterns() -> impl Iterator<Item = &'static Pattern> {
    table::patterns::ALL.iter().chain(ALL.iter().flat_map(|family| family.patterns)).copied()
}

/// Returns all areas of the API.
pub fn areas() -> impl Iterator<Item = Area> {
    ALL.iter().flat_map(|family| family.areas).copied()
}

/// Returns the kinds of problems that families declare. The other kinds are in `api::problems`.
pub fn problems() -> impl Iterator<Item = ProblemKind> {
    ALL.iter().flat_map(|family| family.problems).copied()
}

/// Returns the projections, in the order in which they run within a lane.
pub fn projections() -> impl Iterator<Item = &'static Projection> {
    PROJECTIONS.iter().copied().flatten()
}

/// Returns the kinds of events, in the order in which the generated documents list them.
pub fn event_kinds() -> impl Iterator<Item = EventKind> {
    EVENTS.iter().copied().flatten().copied()
}

/// Returns the kinds of tasks of all families, with their workers.
pub fn jobs() -> impl Iterator<Item = &'static Jobs> {
    JOBS.iter().copied().flatten()
}

/// Returns the code with which the jobs function runs a task of this kind. Returns `None` if another worker runs
/// such tasks, or the kind is unknown.
pub fn runner(kind: &str) -> Option<Run> {
    let mut runners = RUNNERS.iter().copied().flatten();
    runners.find(|runner| runner.kinds.contains(&kind)).map(|runner| runner.run)
}

/// Returns the functions with which families remove data about deleted objects of other families.
pub fn forget() -> impl Iterator<Item = Forget> {
    FORGET.iter().copied().flatten()
}

/// Returns the functions that use this pattern, by the names of their crates.
pub fn callers(pattern: &Pattern) -> Vec<&'static str> {
    let asks = ALL.iter().flat_map(|family| family.asks).filter(|(asked, _)| asked.id == pattern.id);
    let mut others: Vec<_> = asks.flat_map(|(_, functions)| functions.iter().copied()).collect();
    others.sort_unstable();
    pattern.callers().chain(others).collect()
}

/// Returns the permissions that a function needs for all its patterns: pairs of an index (`None` for the table
/// itself) and an operation.
pub fn permissions(function: &str) -> BTreeSet<(Option<&'static str>, &'static str)> {
    let own = patterns().filter(|pattern| callers(pattern).contains(&function));
    own.flat_map(|pattern| pattern.operations.iter().map(|operation| (pattern.index, operation.name())))
        .collect()
}

/// Returns the text of `docs/access-patterns.md`, with one row for each pattern.
pub fn access_patterns() -> String {
    let mut text = String::from(
        "# Access patterns\n\nGenerated from `patterns.rs` of each family; don't edit. One table; nothing scans. \
         `UPDATE=1 cargo test -p families` writes this page anew.\n\n\
         | id | question | caller | operation | index | keys | consistency |\n|---|---|---|---|---|---|---|\n",
    );
    patterns().for_each(|pattern| text.push_str(&pattern.row(&callers(pattern))));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_the_document_is_current() {
        let ids: BTreeSet<_> = patterns().map(|pattern| pattern.id).collect();
        assert_eq!(ids.len(), patterns().count());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/access-patterns.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, access_patterns()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), access_patterns(), "run with UPDATE=1");
    }

    #[test]
    fn areas_and_problems_are_named_once() {
        let areas: BTreeSet<_> = areas().map(|area| area.name).collect();
        assert_eq!(areas.len(), super::areas().count());
        let problems: BTreeSet<_> = problems().map(|kind| kind.slug()).collect();
        assert_eq!(problems.len(), super::problems().count());
    }

    #[test]
    fn each_kind_of_job_is_one_familys() {
        let kinds: Vec<_> = jobs().flat_map(|jobs| jobs.kinds).collect();
        assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len());
    }
}

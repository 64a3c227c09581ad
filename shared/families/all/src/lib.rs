//! All families: what works for every one of them takes them from [`ALL`].

use std::collections::BTreeSet;

use projection::{
    Family, Projection,
    job::{Job, Jobs},
};
use table::Pattern;

#[cfg(test)]
mod items;

/// The families, in the order of the documents. Within a lane of the projector, what follows for one comes before what
/// follows for the next.
pub static ALL: &[&Family] = &[
    &ENGINE,
    &accounts::FAMILY,
    &messages::FAMILY,
    &waitlists::FAMILY,
    &features::FAMILY,
    &codes::FAMILY,
    &stamps::FAMILY,
    &campaigns::FAMILY,
    &webhooks::FAMILY,
];

/// What all families have in common.
static ENGINE: Family = Family {
    name: "engine",
    patterns: projection::patterns::ALL,
    projections: &[Projection::of::<Job>()],
    jobs: &[],
    forget: None,
};

/// Every question that is ever asked of the table.
pub fn patterns() -> impl Iterator<Item = &'static Pattern> {
    table::patterns::ALL.iter().chain(ALL.iter().flat_map(|family| family.patterns)).copied()
}

/// The tasks of all families.
pub fn jobs() -> impl Iterator<Item = &'static Jobs> {
    ALL.iter().flat_map(|family| family.jobs)
}

/// What a function asks of the table (`None`) and of each index, all its patterns together.
pub fn permissions(function: &str) -> BTreeSet<(Option<&'static str>, &'static str)> {
    let own = patterns().filter(|pattern| pattern.callers().any(|caller| caller == function));
    own.flat_map(|pattern| pattern.operations.iter().map(|operation| (pattern.index, operation.name())))
        .collect()
}

/// The document of the access patterns: one row a pattern.
pub fn access_patterns() -> String {
    let mut text = String::from(
        "# Access patterns\n\nGenerated from `patterns.rs` of each family; don't edit. One table; nothing scans. \
         `UPDATE=1 cargo test -p families` writes this page anew.\n\n\
         | id | question | caller | operation | index | keys | consistency |\n|---|---|---|---|---|---|---|\n",
    );
    patterns().for_each(|pattern| text.push_str(&pattern.row()));
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
    fn each_kind_of_job_is_one_familys() {
        let kinds: Vec<_> = jobs().flat_map(|jobs| jobs.kinds).collect();
        assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len());
    }
}

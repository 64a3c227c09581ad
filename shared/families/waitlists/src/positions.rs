//! Positions in line, computed from the counters that the projector keeps.
//!
//! See [`crate::line`] for the order. A position costs one read of the standing, one batch read of the root and the
//! branch, and one `COUNT` query within a leaf.

use std::collections::{BTreeSet, HashMap};

use domain::id::SubscriberId;
use projection::rollups::Sums;
use table::{Key, Query, Range, Table, TableError};

use crate::{
    entities::{LineEntry, Standing, leaf_partition, line_branch_key, line_root_key},
    id::WaitlistId,
    line::{ALL, FANOUT, Leaf, Place, counters_of, counters_summed},
    patterns,
};

/// Returns the attribute of a counter of the tree.
fn attribute(node: u16) -> String {
    format!("f{node}")
}

/// Returns the number of entries under the first `children` children.
fn entries(counters: &HashMap<String, i64>, children: u16) -> u64 {
    let sum = counters_summed(children).filter_map(|node| counters.get(&attribute(node))).sum::<i64>();
    u64::try_from(sum).unwrap_or_default()
}

/// Returns the number of entries in the whole line.
pub(crate) fn total(root: &HashMap<String, i64>) -> u64 {
    entries(root, ALL)
}

/// Position in line, counted from 1, and the number of entries in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub position: u64,
    pub total: u64,
}

/// Returns the current position of a standing's entry. Returns `None` if the standing has no entry in line.
pub async fn position(table: &Table, standing: &Standing) -> Result<Option<Position>, TableError> {
    let Some(place) = standing.place() else { return Ok(None) };
    let waitlist = &standing.waitlist_id;
    let Leaf { branch, leaf } = place.leaf();
    let keys = [line_root_key(waitlist), line_branch_key(waitlist, branch)];
    let query = Query {
        range: Range::AtMost(place.sort_key()),
        consistent: true,
        ..Query::partition(leaf_partition(waitlist, place.leaf()))
    };
    let wanted: BTreeSet<u16> =
        counters_summed(branch).chain(counters_summed(leaf)).chain(counters_summed(ALL)).collect();
    let wanted: Vec<_> = wanted.into_iter().map(attribute).collect();
    let (found, within) = tokio::try_join!(
        table.batch_get_only(&patterns::LINE_TREE, &keys, &wanted),
        table.count_items(&patterns::LINE_LEAF, query)
    )?;
    let counters = |key: &Key| found.get(key).map(table::counters::counters_of).unwrap_or_default();
    let (root, branch_counters) = (counters(&keys[0]), counters(&keys[1]));
    let before = entries(&root, branch) + entries(&branch_counters, leaf);
    Ok(Some(Position { position: before + within, total: total(&root) }))
}

/// Returns the first `count` subscribers in line, in order.
pub async fn first(
    table: &Table,
    waitlist: &WaitlistId,
    count: usize,
) -> Result<Vec<SubscriberId>, TableError> {
    let mut found = Vec::new();
    let root_key = line_root_key(waitlist);
    let root = table.batch_get(&patterns::LINE_TREE, std::slice::from_ref(&root_key)).await?;
    let root = root.get(&root_key).map(table::counters::counters_of).unwrap_or_default();
    for branch in children_in_use(&root) {
        let key = line_branch_key(waitlist, branch);
        let counters = table.batch_get(&patterns::LINE_TREE, std::slice::from_ref(&key)).await?;
        let counters = counters.get(&key).map(table::counters::counters_of).unwrap_or_default();
        for leaf in children_in_use(&counters) {
            let query = Query {
                consistent: true,
                limit: Some(count - found.len()),
                ..Query::partition(leaf_partition(waitlist, Leaf { branch, leaf }))
            };
            let entries: Vec<LineEntry> = table.query(&patterns::LINE_LEAF, query).await?;
            // An entry that moves while the line is read can be found in two leaves. It counts once.
            for entry in entries {
                if !found.contains(&entry.subscriber_id) {
                    found.push(entry.subscriber_id);
                }
            }
            if found.len() >= count {
                found.truncate(count);
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn children_in_use(counters: &HashMap<String, i64>) -> Vec<u16> {
    (0..FANOUT).filter(|child| entries(counters, child + 1) > entries(counters, *child)).collect()
}

/// Adds `by` to the counters of the tree that count an entry at this place: 1 for an entry that arrives, -1 for an
/// entry that leaves.
pub(crate) fn add(sums: &mut Sums, waitlist: &WaitlistId, place: Place, by: i64) {
    let Leaf { branch, leaf } = place.leaf();
    for (key, child) in [(line_root_key(waitlist), branch), (line_branch_key(waitlist, branch), leaf)] {
        for node in counters_of(child) {
            sums.add(key.clone(), attribute(node), by);
        }
    }
}

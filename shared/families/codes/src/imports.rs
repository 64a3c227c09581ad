//! Imports of codes: announced, begun, noted down on the way, ended.

use std::collections::{BTreeMap, HashSet};

use accounts::entities::AuditEntry;
use jiff::Timestamp;
use projection::{events::Event, rollups::Sums};
use table::{Commit, CommitError, Cursor, Entity, Page, Query, Range, Table, TableError};

use crate::{
    code_pool::{CodePool, Lot},
    entities::{CodePoolStats, IMPORTS, Import, ImportStatus, Shelf, code_pool_key},
    events,
    id::{CodePoolId, ImportId},
    patterns,
};

/// The writes that announce an import.
pub fn announce(import: &Import, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::IMPORT_WRITE).create("import", import).create("audit", audit)
}

pub async fn read(table: &Table, pool: &CodePoolId, id: &ImportId) -> Result<Option<Import>, TableError> {
    table.get(&patterns::IMPORT, &Import::key_of(pool, id)).await
}

/// By id: those that were announced oldest first.
pub async fn list(
    table: &Table,
    pool: &CodePoolId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Import>, TableError> {
    // A blank sorts before whatever else could follow.
    let after = after.map_or_else(|| IMPORTS.to_owned(), |cursor| format!("{} ", cursor.0));
    let last = format!("{IMPORTS}~");
    if after > last {
        return Ok(Page { data: Vec::new(), next: None });
    }
    let query = Query {
        range: Range::Between(after, last),
        limit: Some(limit + 1),
        consistent: true,
        ..Query::partition(code_pool_key(pool).pk)
    };
    let found: Vec<Import> = table.query(&patterns::IMPORTS, query).await?;
    Ok(Page::cut(found, limit, |import| import.key().sk))
}

/// Adds an import that nobody announced. `false` when it is there already.
pub async fn adopt(table: &Table, import: &Import) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::IMPORT_WRITE).create("import", import);
    finished(commit, import).applies(table).await
}

/// Changes the import read at `rev`.
///
/// # Errors
/// [`CommitError::Condition`] when somebody else works on it.
pub async fn update(table: &Table, import: &Import, rev: u64) -> Result<(), CommitError> {
    let commit = Commit::new(&patterns::IMPORT_WRITE).replace("import", import, rev);
    finished(commit, import).apply(table).await
}

/// Adds the event to the write that ends an import.
fn finished(commit: Commit, import: &Import) -> Commit {
    let kind = match import.status {
        ImportStatus::Completed => events::IMPORT_COMPLETED,
        ImportStatus::Failed => events::IMPORT_FAILED,
        _ => return commit,
    };
    let at = import.finished_at.unwrap_or_else(Timestamp::now);
    let numbers = [
        ("added", import.progress.added),
        ("duplicates", import.progress.duplicates),
        ("rejected", import.rejected),
    ];
    let event = Event {
        object_id: Some(import.id.as_str().to_owned()),
        data: BTreeMap::from(numbers.map(|(name, number)| (name.to_owned(), number.into()))),
        ..Event::new(&import.account_id, import.pool_id.as_str(), kind, at)
    };
    let mut sums = Sums::default();
    sums.event(&event, kind);
    sums.write(commit.create("event", &event))
}

/// Notes how far the import read at `rev` has come, and makes what was `added` since the
/// last time known: to the pool's numbers, and to claimers by its lots.
///
/// # Errors
/// [`CommitError::Condition`] with the label `import` when somebody else works on it, and
/// without one when the pool is being deleted: nothing may come into it any more.
pub async fn checkpoint(
    table: &Table,
    import: &Import,
    rev: u64,
    added: u64,
    lots: &HashSet<Lot>,
) -> Result<(), CommitError> {
    let id = &import.pool_id;
    let keys = [code_pool_key(id), CodePoolStats::key_of(id), Shelf::key_of(id)];
    loop {
        let mut found = table.batch_get(&patterns::IMPORT_CHECKPOINT, &keys).await?;
        let mut take = |position: usize| found.remove(&keys[position]);
        let (Some(pool), Some(stats), Some(shelf)) = (take(0), take(1), take(2)) else {
            return Err(CommitError::Condition(Vec::new()));
        };
        let pool = CodePool::from_item(pool)?;
        if pool.deleting {
            return Err(CommitError::Condition(Vec::new()));
        }
        let (stats, mut shelf) = (CodePoolStats::from_item(stats)?, Shelf::from_item(shelf)?);
        let (stats_rev, shelf_rev) = (stats.rev, shelf.rev);
        let stats = CodePoolStats { imported: stats.imported + added, rev: stats_rev + 1, ..stats };
        for lot in lots {
            shelf.lots.insert(*lot);
        }
        shelf.lots.drop_over(import.checked_at.unwrap_or(import.created_at));
        // Also when all lots are there: whoever found one empty, before these codes came into
        // it, must not take it off any more.
        shelf.rev += 1;
        let commit = Commit::new(&patterns::IMPORT_CHECKPOINT)
            .expect("pool", &pool.key(), pool.rev)
            .replace("import", import, rev)
            .replace("stats", &stats, stats_rev)
            .replace("shelf", &shelf, shelf_rev);
        match finished(commit, import).apply(table).await {
            Err(error) if error.is_condition() && error.failed("import").is_none() => {}
            outcome => return outcome,
        }
    }
}

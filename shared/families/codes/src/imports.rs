//! Storage of imports of codes: announced, started, checkpointed and finished.

use std::collections::{BTreeMap, HashSet};

use accounts::entities::AuditEntry;
use jiff::Timestamp;
use projection::{events::Event, rollups::Sums};
use table::{
    Commit, CommitError, Cursor, Entity, Page, Query, Range, Table, TableError,
    lookup::{Lookup, one},
};

use crate::{
    code_pool::{CodePool, Lot},
    entities::{CodePoolStats, IMPORTS, Import, ImportStatus, Shelf, code_pool_key},
    events,
    id::{CodePoolId, ImportId},
    patterns,
};

/// Returns the writes that announce an import.
pub fn announce(import: &Import, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::IMPORT_WRITE).create("import", import).create("audit", audit)
}

pub async fn read(table: &Table, pool: &CodePoolId, id: &ImportId) -> Result<Option<Import>, TableError> {
    table.get(&patterns::IMPORT, &Import::key_of(pool, id)).await
}

/// Reads a page of a pool's imports, in the order of their ids. Announced imports come oldest first.
pub async fn list(
    table: &Table,
    pool: &CodePoolId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Import>, TableError> {
    // A space sorts before every character that can follow in a sort key.
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

/// Adds an import that was not announced. Returns false if the import exists already.
pub async fn adopt(table: &Table, import: &Import) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::IMPORT_WRITE).create("import", import);
    finished(commit, import).applies(table).await
}

/// Replaces the import that was read at revision `rev`.
///
/// # Errors
/// [`CommitError::Condition`] if another worker has changed the import.
pub async fn update(table: &Table, import: &Import, rev: u64) -> Result<(), CommitError> {
    let commit = Commit::new(&patterns::IMPORT_WRITE).replace("import", import, rev);
    finished(commit, import).apply(table).await
}

/// Adds the event and its roll-up to a write that ends an import. Returns any other write unchanged.
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

/// Records how far the import that was read at revision `rev` has come. Adds the codes `added` since the last
/// checkpoint to the counters of the pool, and puts their lots on the shelf, where claimers find them.
///
/// # Errors
/// [`CommitError::Condition`] with the label `import` if another worker has changed the import, and without a label
/// if the pool is being deleted and accepts no more codes.
pub async fn checkpoint(
    table: &Table,
    import: &Import,
    rev: u64,
    added: u64,
    lots: &HashSet<Lot>,
) -> Result<(), CommitError> {
    let id = &import.pool_id;
    loop {
        let wanted = (
            one::<CodePool>(code_pool_key(id)),
            one::<CodePoolStats>(CodePoolStats::key_of(id)),
            one::<Shelf>(Shelf::key_of(id)),
        );
        let found = table.look_up(Lookup::new(&patterns::IMPORT_CHECKPOINT, wanted)).await?;
        let (Some(pool), Some(stats), Some(mut shelf)) = found else {
            return Err(CommitError::Condition(Vec::new()));
        };
        if pool.deleting {
            return Err(CommitError::Condition(Vec::new()));
        }
        let (stats_rev, shelf_rev) = (stats.rev, shelf.rev);
        let stats = CodePoolStats { imported: stats.imported + added, rev: stats_rev + 1, ..stats };
        for lot in lots {
            shelf.lots.insert(*lot);
        }
        shelf.lots.drop_over(import.checked_at.unwrap_or(import.created_at));
        // The revision changes even if all lots are on the shelf: a claimer that found a lot empty before these
        // codes came must not remove that lot.
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

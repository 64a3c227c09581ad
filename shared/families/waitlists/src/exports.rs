//! Exports of a waitlist's subscribers.

use accounts::entities::AuditEntry;
use projection::job::Job;
use table::{Commit, CommitError, Query, Table, TableError};

use crate::{
    entities::Export,
    entities::Task,
    id::{ExportId, WaitlistId},
    patterns,
};

/// Returns the writes that create an export and the job that writes its file.
pub fn start(export: &Export, audit: &AuditEntry) -> Commit {
    let job = Job::new(
        export.id.as_str().to_owned(),
        &Task::ExportSubscribers { export_id: export.id.clone() },
        export.created_at,
    );
    Commit::new(&patterns::EXPORT_WRITE).create("export", export).create("job", &job).create("audit", audit)
}

/// Reads an export.
pub async fn read(table: &Table, id: &ExportId) -> Result<Option<Export>, TableError> {
    table.get(&patterns::EXPORT, &Export::key_of(id)).await
}

/// Replaces the export that was read at revision `rev`.
pub async fn update(table: &Table, export: &Export, rev: u64) -> Result<(), CommitError> {
    Commit::new(&patterns::EXPORT_WRITE).replace("export", export, rev).apply(table).await
}

/// Returns the exports of a waitlist that are still stored, including expired ones.
pub async fn all(table: &Table, waitlist: &WaitlistId) -> Result<Vec<Export>, TableError> {
    table.query(&patterns::EXPORTS, Query::partition(Export::list_partition(waitlist))).await
}

//! Exports of a waitlist's subscribers.

use domain::id::{ExportId, WaitlistId};

use crate::{
    Commit, CommitError, StoreError, Table,
    entities::{Export, ExportStatus, Job, JobKind},
    patterns,
    table::Query,
};

/// The writes that start an export and ask for the work.
pub fn start(export: &Export) -> Commit {
    let job = Job {
        id: export.id.as_str().to_owned(),
        job: JobKind::ExportSubscribers { export_id: export.id.clone() },
        at: export.created_at,
    };
    Commit::new(&patterns::EXPORT_WRITE).create("export", export).create("job", &job)
}

pub async fn read(table: &Table, id: &ExportId) -> Result<Option<Export>, StoreError> {
    table.get(&patterns::EXPORT, &Export::key_of(id)).await
}

/// Changes the export read at `rev`.
pub async fn update(table: &Table, export: &Export, rev: u64) -> Result<(), CommitError> {
    Commit::new(&patterns::EXPORT_WRITE).replace("export", export, rev).apply(table).await
}

/// The exports that still have a file, or will have one.
pub async fn live(table: &Table, waitlist: &WaitlistId) -> Result<Vec<Export>, StoreError> {
    let exports = table.query(&patterns::EXPORTS, Query::partition(Export::list_partition(waitlist))).await?;
    Ok(exports.into_iter().filter(|export: &Export| export.status != ExportStatus::Expired).collect())
}

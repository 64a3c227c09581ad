//! Stamp programs.

use domain::{
    id::{AccountId, ProgramId},
    stamp::Program,
};
use jiff::Timestamp;

use crate::{
    Commit, CommitError, Cursor, Page, StoreError, Table,
    entities::{AuditEntry, Job, JobKind, program_key, programs_of},
    patterns,
};

/// The program, if it is this account's: another account's does not exist.
pub async fn read(table: &Table, account: &AccountId, id: &ProgramId) -> Result<Option<Program>, StoreError> {
    Ok(find(table, id).await?.filter(|program| program.account_id == *account))
}

/// The program, whosever it is: for the platform's own work.
pub async fn find(table: &Table, id: &ProgramId) -> Result<Option<Program>, StoreError> {
    table.get(&patterns::PROGRAM, &program_key(id)).await
}

/// The writes that add a program.
pub fn create(program: &Program, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::PROGRAM_WRITE).create("program", program).create("audit", audit)
}

/// Changes the program read at `rev`.
pub async fn update(
    table: &Table,
    program: &Program,
    rev: u64,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    Commit::new(&patterns::PROGRAM_WRITE)
        .replace("program", program, rev)
        .create("audit", audit)
        .apply(table)
        .await
}

pub async fn list(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Program>, StoreError> {
    table.page(&patterns::PROGRAMS, &[programs_of(account)], false, after, limit).await
}

/// Marks a program as being deleted and asks for the work; again, if it is marked already.
pub async fn begin_delete(
    table: &Table,
    program: &Program,
    audit: &AuditEntry,
    now: Timestamp,
) -> Result<(), CommitError> {
    let marked = Program { deleting: true, updated_at: now, rev: program.rev + 1, ..program.clone() };
    let job = Job {
        id: program.id.as_str().to_owned(),
        job: JobKind::DeleteProgram { program_id: program.id.clone() },
        at: now,
    };
    Commit::new(&patterns::PROGRAM_WRITE)
        .replace("program", &marked, program.rev)
        .overwrite("job", &job)
        .create("audit", audit)
        .apply(table)
        .await
}

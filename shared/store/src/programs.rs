//! Stamp programs.

use domain::{
    id::{AccountId, ProgramId},
    stamp::Program,
};
use jiff::Timestamp;

use crate::{
    Commit, CommitError, Cursor, Page, StoreError, Table, customers,
    entities::{AuditEntry, Entity, Job, JobKind, ProgramStats, program_key, programs_of},
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

/// What ever happened in a program; up to a second behind.
pub async fn stats(table: &Table, id: &ProgramId) -> Result<ProgramStats, StoreError> {
    let counters = table.counters(&patterns::PROGRAM_STATS, &ProgramStats::key_of(id)).await?;
    let number = |name: &str| counters.get(name).and_then(|n| u64::try_from(*n).ok()).unwrap_or_default();
    Ok(ProgramStats {
        customers: number("customers"),
        visits: number("visits"),
        stamps: number("stamps"),
        rewards_issued: number("rewards_issued"),
        rewards_redeemed: number("rewards_redeemed"),
    })
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

/// Removes what up to `limit` customers have of a program; how many there were.
pub async fn purge_some(table: &Table, id: &ProgramId, limit: usize) -> Result<usize, StoreError> {
    let page = customers::of_program(table, id, None, limit).await?;
    let removed = page.data.len();
    for card in page.data {
        customers::purge_card(table, &card).await?;
    }
    Ok(removed)
}

/// Removes the program itself, which nobody collects for any more.
pub async fn finish_delete(table: &Table, program: &Program) -> Result<(), CommitError> {
    Commit::new(&patterns::PROGRAM_PURGE)
        .purge("stats", &ProgramStats::key_of(&program.id))
        .purge("program", &program.key())
        .apply(table)
        .await
}

//! Stamp programs.

use std::collections::BTreeMap;

use accounts::entities::AuditEntry;
use domain::id::{AccountId, ProgramId};
use jiff::Timestamp;
use projection::{job::Job, rollups};
use table::{
    Commit, CommitError, Cursor, Entity, Page, Query, Range, Table, TableError, counters::counters_of, join,
    key_of, purge, retried,
};

use crate::{
    customers,
    entities::{
        MONTHS, ProgramStats, Task, card_key, program_key, program_month_key, program_partition, programs_of,
    },
    patterns,
    stamp::{Card, Month, Program},
};

/// The program, if it is this account's: another account's does not exist.
pub async fn read(table: &Table, account: &AccountId, id: &ProgramId) -> Result<Option<Program>, TableError> {
    Ok(find(table, id).await?.filter(|program| program.account_id == *account))
}

/// The program, whosever it is: for the platform's own work.
pub async fn find(table: &Table, id: &ProgramId) -> Result<Option<Program>, TableError> {
    table.get(&patterns::PROGRAM, &program_key(id)).await
}

/// The writes that add a program.
pub fn create(program: &Program, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::PROGRAM_WRITE).create("program", program).create("audit", audit)
}

/// What ever happened in a program; up to a second behind.
pub async fn stats(table: &Table, id: &ProgramId) -> Result<ProgramStats, TableError> {
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

/// Customers of a program by what a month was to them. Days and months are those of UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramMonth {
    pub month: Month,
    /// Of those who came for the first time in this month: how many came so many months later; all of them at 0.
    pub came: BTreeMap<i32, u64>,
    /// Those who came for the last time on this day of the month.
    pub seen: BTreeMap<i32, u64>,
    /// Those who are at risk from this day of the month on.
    pub at_risk: BTreeMap<i32, u64>,
}

const CAME: &str = "came";
const SEEN: &str = "seen";
const AT_RISK: &str = "risk";

pub(crate) fn came(months: i32) -> String {
    format!("{CAME}{months}")
}

pub(crate) fn seen(day: i8) -> String {
    format!("{SEEN}{day}")
}

pub(crate) fn at_risk(day: i8) -> String {
    format!("{AT_RISK}{day}")
}

/// All months in which anything was counted, earliest first; up to a second behind.
pub async fn months(table: &Table, id: &ProgramId) -> Result<Vec<ProgramMonth>, TableError> {
    let query = Query {
        range: Range::BeginsWith(MONTHS.to_owned()),
        consistent: true,
        ..Query::partition(program_partition(id))
    };
    let found = table.query_items(&patterns::PROGRAM_MONTHS, query).await?;
    let months = found.iter().filter_map(|item| {
        let key = key_of(item)?;
        let month = Month::try_from(key.sk.strip_prefix(MONTHS)?.to_owned()).ok()?;
        let counters = counters_of(item);
        let named = |prefix: &str| {
            let named = counters.iter().filter_map(|(name, count)| {
                Some((
                    name.strip_prefix(prefix)?.parse().ok()?,
                    u64::try_from(*count).ok().filter(|n| *n > 0)?,
                ))
            });
            named.collect()
        };
        Some(ProgramMonth { month, came: named(CAME), seen: named(SEEN), at_risk: named(AT_RISK) })
    });
    Ok(months.collect())
}

/// Changes a program, and has its cards looked at if they are judged differently now.
pub async fn update(
    table: &Table,
    old: &Program,
    new: &Program,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    let mut commit =
        Commit::new(&patterns::PROGRAM_WRITE).replace("program", new, old.rev).create("audit", audit);
    if new.settings.inactivity_days != old.settings.inactivity_days {
        let inactivity_days = new.settings.inactivity_days;
        let job = Task::WatchCards { program_id: new.id.clone(), inactivity_days, after: None, again: true };
        let id = join(&[new.id.as_str(), "watch"]);
        commit = commit.overwrite("job", &Job::new(id, &job, new.updated_at));
    }
    commit.apply(table).await
}

/// Judges a card by the settings of its program, if it was by others.
///
/// # Errors
/// When the table is out of reach, or the card keeps changing.
pub async fn watch(table: &Table, program: &Program, listed: &Card) -> Result<(), TableError> {
    let judged = |card: &Card| card.clone().watched(program.settings.inactivity_days);
    if judged(listed) == *listed {
        return Ok(());
    }
    retried("watch", || async {
        let found: Option<Card> =
            table.get(&patterns::CARD_WATCH, &card_key(&listed.customer_id, &program.id)).await?;
        let Some(card) = found else { return Ok(()) };
        let watched = judged(&card);
        if watched == card {
            return Ok(());
        }
        let watched = Card { rev: card.rev + 1, ..watched };
        Commit::new(&patterns::CARD_WATCH).replace("card", &watched, card.rev).apply(table).await
    })
    .await
}

pub async fn list(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Program>, TableError> {
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
    let job = Job::new(
        program.id.as_str().to_owned(),
        &Task::DeleteProgram { program_id: program.id.clone() },
        now,
    );
    Commit::new(&patterns::PROGRAM_WRITE)
        .replace("program", &marked, program.rev)
        .overwrite("job", &job)
        .create("audit", audit)
        .apply(table)
        .await
}

/// Removes what up to `limit` customers have of a program; how many there were.
pub async fn purge_some(table: &Table, id: &ProgramId, limit: usize) -> Result<usize, TableError> {
    let page = customers::of_program(table, id, None, limit).await?;
    let removed = page.data.len();
    for card in page.data {
        customers::purge_card(table, &card).await?;
    }
    Ok(removed)
}

/// Removes the program itself, which nobody collects for any more.
pub async fn finish_delete(table: &Table, program: &Program) -> Result<(), CommitError> {
    rollups::forget(table, program.id.as_str()).await?;
    let months = months(table, &program.id).await?;
    let keys = months.iter().map(|month| program_month_key(&program.id, month.month)).collect();
    purge(table, &patterns::PROGRAM_PURGE, keys).await?;
    Commit::new(&patterns::PROGRAM_PURGE)
        .purge("stats", &ProgramStats::key_of(&program.id))
        .purge("program", &program.key())
        .apply(table)
        .await
}

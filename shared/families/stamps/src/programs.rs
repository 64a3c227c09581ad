//! Storage of stamp programs.

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

/// Reads a program of this account. Returns `None` for a program of another account.
pub async fn read(table: &Table, account: &AccountId, id: &ProgramId) -> Result<Option<Program>, TableError> {
    Ok(find(table, id).await?.filter(|program| program.account_id == *account))
}

/// Reads a program of any account, for the platform's own work.
pub async fn find(table: &Table, id: &ProgramId) -> Result<Option<Program>, TableError> {
    table.get(&patterns::PROGRAM, &program_key(id)).await
}

/// Returns the writes that add a program.
pub fn create(program: &Program, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::PROGRAM_WRITE).create("program", program).create("audit", audit)
}

/// Reads the totals of a program since it was created. The totals may be up to one second behind.
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

/// Counts of the customers of a program for one month. Days and months are in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramMonth {
    pub month: Month,
    /// Customers whose first visit was in this month: entry `n` counts those who also came `n` months later. Entry
    /// 0 counts all of them.
    pub came: BTreeMap<i32, u64>,
    /// Customers whose last visit was on this day of the month.
    pub seen: BTreeMap<i32, u64>,
    /// Customers who are at risk from this day of the month.
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

/// Reads all months in which anything was counted, earliest first. The counts may be up to one second behind.
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

/// Replaces a program. If `inactivity_days` has changed, also creates the job that recalculates the cards of the
/// program.
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

/// Recalculates from when the customer of a card is at risk, if the card was calculated with another setting.
///
/// # Errors
/// When the table is unavailable, or the card keeps changing.
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

/// Marks a program as being deleted and creates the job that deletes it. If the program is marked already, the job
/// is created again.
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

/// Removes up to `limit` cards of a program, with their stamps and rewards. Returns how many cards it removed.
pub async fn purge_some(table: &Table, id: &ProgramId, limit: usize) -> Result<usize, TableError> {
    let page = customers::of_program(table, id, None, limit).await?;
    let removed = page.data.len();
    for card in page.data {
        customers::purge_card(table, &card).await?;
    }
    Ok(removed)
}

/// Removes the counters of a program and the program itself, once the program has no cards.
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

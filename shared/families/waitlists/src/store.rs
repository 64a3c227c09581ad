//! Waitlists: unique slugs, lists, statistics, deletion.

use accounts::entities::AuditEntry;
use domain::id::AccountId;
use jiff::Timestamp;
use projection::{job::Job, rollups};
use table::{
    Commit, CommitError, Cursor, Entity, MAX_WRITES, Page, Table, TableError, counters::counters_of,
};

use crate::{
    counted::counter_of,
    entities::{
        SlugClaim, Task, line_branch_key, line_left_key, line_numbers_key, line_root_key, waitlist_key,
        waitlist_stats_key,
    },
    id::WaitlistId,
    line::FANOUT,
    patterns, seats,
    subscriber::SubscriberStatus,
    waitlist::Waitlist,
};

/// The waitlist, if it is this account's: another account's does not exist.
pub async fn read(
    table: &Table,
    account: &AccountId,
    id: &WaitlistId,
) -> Result<Option<Waitlist>, TableError> {
    Ok(find(table, id).await?.filter(|waitlist| waitlist.account_id == *account))
}

/// The waitlist, whosever it is: for the platform's own work.
pub async fn find(table: &Table, id: &WaitlistId) -> Result<Option<Waitlist>, TableError> {
    table.get(&patterns::WAITLIST, &waitlist_key(id)).await
}

/// The writes that add a waitlist; the label `slug` fails when the slug is taken.
pub fn create(waitlist: &Waitlist, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::WAITLIST_WRITE)
        .create("waitlist", waitlist)
        .create("slug", &SlugClaim::of(waitlist))
        .create("audit", audit)
}

/// Changes a waitlist; the label `slug` fails when the new slug is taken.
pub async fn update(
    table: &Table,
    old: &Waitlist,
    new: &Waitlist,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    let mut commit =
        Commit::new(&patterns::WAITLIST_WRITE).replace("waitlist", new, old.rev).create("audit", audit);
    if new.slug != old.slug {
        commit = commit.create("slug", &SlugClaim::of(new)).purge("old slug", &SlugClaim::of(old).key());
    }
    commit.apply(table).await
}

/// Marks a waitlist as being deleted and asks for the work; again, if it is marked already.
pub async fn begin_delete(
    table: &Table,
    waitlist: &Waitlist,
    audit: &AuditEntry,
    now: Timestamp,
) -> Result<(), CommitError> {
    let marked = Waitlist { deleting: true, updated_at: now, rev: waitlist.rev + 1, ..waitlist.clone() };
    let job = Job::new(
        waitlist.id.as_str().to_owned(),
        &Task::DeleteWaitlist { waitlist_id: waitlist.id.clone() },
        now,
    );
    Commit::new(&patterns::WAITLIST_WRITE)
        .replace("waitlist", &marked, waitlist.rev)
        .overwrite("job", &job)
        .create("audit", audit)
        .apply(table)
        .await
}

/// Removes what is left of a waitlist without subscribers.
pub async fn finish_delete(table: &Table, waitlist: &Waitlist) -> Result<(), CommitError> {
    rollups::forget(table, waitlist.id.as_str()).await?;
    let commit = Commit::new(&patterns::WAITLIST_PURGE);
    seats::keys(&waitlist.id)
        .fold(commit, |commit, key| commit.purge("seats", &key))
        .delete("waitlist", &waitlist.key(), waitlist.rev)
        .purge("slug", &SlugClaim::of(waitlist).key())
        .purge("numbers", &line_numbers_key(&waitlist.id))
        .purge("left", &line_left_key(&waitlist.id))
        .purge("stats", &waitlist_stats_key(&waitlist.id))
        .apply(table)
        .await
}

/// Removes the counters of an empty line.
pub async fn clear_line(table: &Table, id: &WaitlistId) -> Result<(), CommitError> {
    let keys: Vec<_> =
        (0..FANOUT).map(|branch| line_branch_key(id, branch)).chain([line_root_key(id)]).collect();
    for keys in keys.chunks(MAX_WRITES) {
        let commit = Commit::new(&patterns::WAITLIST_PURGE);
        keys.iter().fold(commit, |commit, key| commit.purge("line", key)).apply(table).await?;
    }
    Ok(())
}

pub async fn list(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Waitlist>, TableError> {
    table.page(&patterns::WAITLISTS, &[crate::entities::waitlists_of(account)], false, after, limit).await
}

/// How many subscribers a waitlist has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitlistCounts {
    pub pending: u64,
    pub active: u64,
    pub invited: u64,
    pub converted: u64,
    /// Entries in line.
    pub in_line: u64,
    /// Credited referrals.
    pub referrals: u64,
}

impl WaitlistCounts {
    /// All whose address counts: but for those who have yet to confirm it.
    pub fn members(&self) -> u64 {
        self.active + self.invited + self.converted
    }
}

pub async fn counts(table: &Table, id: &WaitlistId) -> Result<WaitlistCounts, TableError> {
    let keys = [waitlist_stats_key(id), line_root_key(id)];
    let found = table.batch_get(&patterns::WAITLIST_STATS, &keys).await?;
    let counters = |position: usize| found.get(&keys[position]).map(counters_of).unwrap_or_default();
    let (stats, root) = (counters(0), counters(1));
    let number = |name: &str| stats.get(name).and_then(|n| u64::try_from(*n).ok()).unwrap_or_default();
    Ok(WaitlistCounts {
        pending: number(counter_of(SubscriberStatus::Pending)),
        active: number(counter_of(SubscriberStatus::Active)),
        invited: number(counter_of(SubscriberStatus::Invited)),
        converted: number(counter_of(SubscriberStatus::Converted)),
        in_line: crate::positions::total(&root),
        referrals: number("referrals"),
    })
}

/// Whether a waitlist was not written because another one of the account has its slug.
pub fn is_slug_taken(error: &CommitError) -> bool {
    error.failed("slug").is_some()
}

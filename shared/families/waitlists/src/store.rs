//! Reads and writes of waitlists: unique slugs, lists, statistics, deletion.

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

/// Reads a waitlist of this account. Returns `None` if the waitlist does not exist or belongs to another account.
pub async fn read(
    table: &Table,
    account: &AccountId,
    id: &WaitlistId,
) -> Result<Option<Waitlist>, TableError> {
    Ok(find(table, id).await?.filter(|waitlist| waitlist.account_id == *account))
}

/// Reads a waitlist of any account. A caller that acts for an account must check `account_id`.
pub async fn find(table: &Table, id: &WaitlistId) -> Result<Option<Waitlist>, TableError> {
    table.get(&patterns::WAITLIST, &waitlist_key(id)).await
}

/// Returns the writes that add a waitlist. The write with the label `slug` fails if the slug is taken.
pub fn create(waitlist: &Waitlist, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::WAITLIST_WRITE)
        .create("waitlist", waitlist)
        .create("slug", &SlugClaim::of(waitlist))
        .create("audit", audit)
}

/// Changes a waitlist. The write with the label `slug` fails if the new slug is taken.
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

/// Marks a waitlist as being deleted and creates the job that deletes it. A waitlist that is already marked gets the
/// mark and the job again.
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

/// Removes a waitlist that has no subscribers any more: its items, slug, counters and roll-ups.
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

/// Removes the counters of a waitlist's line, which must be empty.
pub async fn clear_line(table: &Table, id: &WaitlistId) -> Result<(), CommitError> {
    let keys: Vec<_> =
        (0..FANOUT).map(|branch| line_branch_key(id, branch)).chain([line_root_key(id)]).collect();
    for keys in keys.chunks(MAX_WRITES) {
        let commit = Commit::new(&patterns::WAITLIST_PURGE);
        keys.iter().fold(commit, |commit, key| commit.purge("line", key)).apply(table).await?;
    }
    Ok(())
}

/// Lists the waitlists of an account, oldest first.
pub async fn list(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Waitlist>, TableError> {
    table.page(&patterns::WAITLISTS, &[crate::entities::waitlists_of(account)], false, after, limit).await
}

/// Numbers of subscribers of a waitlist by status, and of its entries in line and credited referrals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitlistCounts {
    pub pending: u64,
    pub active: u64,
    pub invited: u64,
    pub converted: u64,
    /// Number of entries in line.
    pub in_line: u64,
    /// Number of credited referrals.
    pub referrals: u64,
}

impl WaitlistCounts {
    /// Returns the number of members: all subscribers except those who are pending.
    pub fn members(&self) -> u64 {
        self.active + self.invited + self.converted
    }
}

/// Reads the counts of a waitlist.
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

/// Returns true if the write failed because another waitlist of the account has the slug.
pub fn is_slug_taken(error: &CommitError) -> bool {
    error.failed("slug").is_some()
}

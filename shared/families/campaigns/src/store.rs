//! Storage of campaigns.

use accounts::entities::AuditEntry;
use domain::id::{AccountId, CampaignId, ProgramId};
use jiff::Timestamp;
use projection::{job::Job, rollups};
use table::{Commit, CommitError, Cursor, Entity, Page, Query, Table, TableError, purge};

use crate::{
    campaign::Campaign,
    entities::{CampaignStats, REDEEMED, TIMED, Task, campaign_key, campaigns_of, milestone_campaigns},
    patterns,
};

/// Reads a campaign of this account. Returns `None` for a campaign of another account.
pub async fn read(
    table: &Table,
    account: &AccountId,
    id: &CampaignId,
) -> Result<Option<Campaign>, TableError> {
    Ok(find(table, id).await?.filter(|campaign| campaign.account_id == *account))
}

/// Reads a campaign of any account, for the platform's own work.
pub async fn find(table: &Table, id: &CampaignId) -> Result<Option<Campaign>, TableError> {
    table.get(&patterns::CAMPAIGN, &campaign_key(id)).await
}

/// Reads the counters of the messages of a campaign. The counters may be up to one second behind.
pub async fn stats(table: &Table, id: &CampaignId) -> Result<CampaignStats, TableError> {
    let counters = table.counters(&patterns::CAMPAIGN_STATS, &CampaignStats::key_of(id)).await?;
    let number = |name: &str| counters.get(name).and_then(|n| u64::try_from(*n).ok()).unwrap_or_default();
    Ok(CampaignStats {
        audience: number("audience"),
        refused: number("refused"),
        sent: number("sent"),
        failed: number("failed"),
        delivered: number("delivered"),
        read: number("read"),
        redeemed: number(REDEEMED),
    })
}

/// Returns the writes that add a campaign.
pub fn create(campaign: &Campaign, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::CAMPAIGN_WRITE).create("campaign", campaign).create("audit", audit)
}

/// Returns the writes that replace the campaign that was read at revision `rev`. The label `campaign` fails if it
/// has changed meanwhile.
pub fn update(campaign: &Campaign, rev: u64, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::CAMPAIGN_WRITE).replace("campaign", campaign, rev).create("audit", audit)
}

/// Returns the writes of [`update`], and the job with which the campaign scheduler starts the campaign.
pub fn start(campaign: &Campaign, rev: u64, audit: &AuditEntry, now: Timestamp) -> Commit {
    let job = Job::new(
        format!("{}:{}", campaign.id, campaign.run),
        &Task::StartCampaign { campaign_id: campaign.id.clone(), run: campaign.run },
        now,
    );
    update(campaign, rev, audit).overwrite("job", &job)
}

pub async fn list(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Campaign>, TableError> {
    table.page(&patterns::CAMPAIGNS, &[campaigns_of(account)], false, after, limit).await
}

/// Reads all active campaigns with a date trigger.
pub async fn timed(table: &Table) -> Result<Vec<Campaign>, TableError> {
    table.query(&patterns::CAMPAIGNS_TRIGGERED, Query::partition(TIMED.to_owned())).await
}

/// Reads the active campaigns that a number of visits in this program triggers.
pub async fn of_milestones(table: &Table, program: &ProgramId) -> Result<Vec<Campaign>, TableError> {
    table.query(&patterns::CAMPAIGNS_TRIGGERED, Query::partition(milestone_campaigns(program))).await
}

/// Records the time up to which the trigger of a campaign was processed. Returns false if the campaign has changed
/// since it was read.
pub async fn looked(table: &Table, campaign: &Campaign, until: Timestamp) -> Result<bool, TableError> {
    let after = Campaign { swept_until: Some(until), rev: campaign.rev + 1, ..campaign.clone() };
    let commit = Commit::new(&patterns::CAMPAIGN_LOOKED).replace("campaign", &after, campaign.rev);
    commit.applies(table).await
}

/// Marks a campaign as being deleted and creates the job that deletes it. If the campaign is marked already, the
/// job is created again.
pub async fn begin_delete(
    table: &Table,
    campaign: &Campaign,
    audit: &AuditEntry,
    now: Timestamp,
) -> Result<(), CommitError> {
    let marked = Campaign { deleting: true, ..campaign.next(now) };
    let job = Job::new(
        campaign.id.as_str().to_owned(),
        &Task::DeleteCampaign { campaign_id: campaign.id.clone() },
        now,
    );
    update(&marked, campaign.rev, audit).overwrite("job", &job).apply(table).await
}

/// Removes up to `limit` messages of each shard of a campaign. Returns how many it removed.
pub async fn purge_some(table: &Table, id: &CampaignId, limit: usize) -> Result<usize, TableError> {
    let mut removed = 0;
    for shard in 0..table::LIST_SHARDS {
        let partition = crate::entities::sends_partition(id, shard);
        let query = Query { consistent: true, limit: Some(limit), ..Query::partition(partition) };
        let found = table.query_items(&patterns::CAMPAIGN_PURGE, query).await?;
        removed += found.len();
        purge(table, &patterns::CAMPAIGN_PURGE, found.iter().filter_map(table::key_of).collect()).await?;
    }
    Ok(removed)
}

/// Removes the counters of a campaign and the campaign itself, once the campaign has no messages.
pub async fn finish_delete(table: &Table, campaign: &Campaign) -> Result<(), CommitError> {
    rollups::forget(table, campaign.id.as_str()).await?;
    Commit::new(&patterns::CAMPAIGN_PURGE)
        .purge("stats", &CampaignStats::key_of(&campaign.id))
        .purge("campaign", &campaign.key())
        .apply(table)
        .await
}

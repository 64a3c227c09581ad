//! The deletion of campaigns.

use domain::id::CampaignId;
use jiff::{Timestamp, ToSpan};
use store::{campaigns, entities::JobKind};

use crate::{JobError, Jobs, pause};

/// Messages of each shard that are removed before the job makes room for others.
const PURGED_AT_ONCE: usize = 500;
/// No task that began before the mark lasts longer.
const STRAGGLERS: i32 = 90;

impl Jobs {
    pub(crate) async fn delete_campaign(&self, id: &CampaignId) -> Result<(), JobError> {
        let Some(campaign) = campaigns::find(&self.table, id).await? else { return Ok(()) };
        if !campaign.deleting {
            return Ok(());
        }
        let again = JobKind::DeleteCampaign { campaign_id: id.clone() };
        let removed = campaigns::purge_some(&self.table, id, PURGED_AT_ONCE).await?;
        if removed > 0 {
            return self.queue(&again, pause(removed, PURGED_AT_ONCE, STRAGGLERS)).await;
        }
        if Timestamp::now() < campaign.updated_at + i64::from(STRAGGLERS).seconds() {
            return self.queue(&again, STRAGGLERS).await;
        }
        Ok(campaigns::finish_delete(&self.table, &campaign).await?)
    }
}

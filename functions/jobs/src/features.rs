//! Merged and deleted features.
//!
//! Voters are found by an index, and requests that began before the mark may still vote: the job comes again until
//! nobody is found, and once more after a pause.

use domain::{
    feature::Feature,
    id::{FeatureId, WaitlistId},
};
use jiff::{Timestamp, ToSpan};
use store::{comments, entities::JobKind, features};

use crate::{JobError, Jobs, pause};

/// Votes, or comments, of each shard or status that are worked on before the job makes room for others.
const AT_ONCE: usize = 250;
/// No request that began before the mark lasts longer, and no index lags so far behind.
const STRAGGLERS: i32 = 15;

impl Jobs {
    pub(crate) async fn merge_feature(&self, id: &FeatureId) -> Result<(), JobError> {
        let Some(feature) = features::find(&self.table, id).await? else { return Ok(()) };
        // Deleted since: that job's matter.
        if feature.deleting {
            return Ok(());
        }
        let again = JobKind::MergeFeature { feature_id: id.clone() };
        let now = Timestamp::now();
        if features::move_votes(&self.table, &feature, AT_ONCE, now).await? > 0 {
            return self.queue(&again, 0).await;
        }
        if now < feature.updated_at + i64::from(STRAGGLERS).seconds() {
            return self.queue(&again, STRAGGLERS).await;
        }
        Ok(())
    }

    pub(crate) async fn delete_feature(&self, id: &FeatureId) -> Result<(), JobError> {
        let Some(feature) = features::find(&self.table, id).await? else { return Ok(()) };
        if !feature.deleting {
            return Ok(());
        }
        let again = JobKind::DeleteFeature { feature_id: id.clone() };
        let removed = self.empty_some(&feature).await?;
        if removed > 0 {
            return self.queue(&again, pause(removed, AT_ONCE, STRAGGLERS)).await;
        }
        if Timestamp::now() < feature.updated_at + i64::from(STRAGGLERS).seconds() {
            return self.queue(&again, STRAGGLERS).await;
        }
        Ok(features::finish_delete(&self.table, &feature).await?)
    }

    /// Removes some of a feature's votes, or moves those of a merged one, and comments; how many there were.
    async fn empty_some(&self, feature: &Feature) -> Result<usize, JobError> {
        let votes = features::move_votes(&self.table, feature, AT_ONCE, Timestamp::now()).await?;
        Ok(votes + comments::purge_some(&self.table, &feature.id, AT_ONCE).await?)
    }

    /// Removes some of the features of a waitlist that nobody is on any more; whether they were all.
    pub(crate) async fn delete_features(&self, waitlist: &WaitlistId) -> Result<bool, JobError> {
        let mut all = true;
        for feature in features::all(&self.table, waitlist).await? {
            // Nothing leads anywhere any more.
            let feature = Feature { merged_into: None, ..feature };
            match self.empty_some(&feature).await? {
                0 => features::finish_delete(&self.table, &feature).await?,
                _ => all = false,
            }
        }
        Ok(all)
    }
}

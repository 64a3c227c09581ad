//! Jobs of merged and deleted features.
//!
//! A job finds voters through an index, which is eventually consistent, and requests that were in flight when the
//! feature was marked may still add votes. Therefore a job runs again until it finds nothing, and once more after a
//! pause.

use crate::{comments, entities::Task, feature::Feature, id::FeatureId, store};
use domain::id::SubscriberId;
use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::{Timestamp, ToSpan};
use projection::Gone;
use projection::job::{self, JobError, Jobs, Runner, Work, Worker, Workshop, pause};
use table::{Entity, Table};
use waitlists::{id::WaitlistId, subscriber::Subscriber, waitlist::Waitlist};

pub const JOBS: &[Jobs] = &[Jobs { kinds: &["merge_feature", "delete_feature"], by: Worker::Jobs }];

pub const RUNNERS: &[Runner] =
    &[Runner { kinds: &["merge_feature", "delete_feature"], run: job::run::<Task> }];

impl Work for Task {
    async fn work(self, workshop: &Workshop) -> Result<(), JobError> {
        match self {
            Task::MergeFeature { feature_id } => merge_feature(workshop, &feature_id).await,
            Task::DeleteFeature { feature_id } => delete_feature(workshop, &feature_id).await,
        }
    }
}

/// Number of votes of each shard, and of comments of each status, that one run handles. The job then queues itself
/// again and lets other jobs run.
const AT_ONCE: usize = 250;
/// Seconds after the mark. By then no request that began before the mark is in flight, and the index is up to date.
const STRAGGLERS: i32 = 15;

async fn merge_feature(workshop: &Workshop, id: &FeatureId) -> Result<(), JobError> {
    let Some(feature) = store::find(&workshop.table, id).await? else { return Ok(()) };
    // The feature was deleted after the merge: the job of the deletion moves the votes.
    if feature.deleting {
        return Ok(());
    }
    let again = Task::MergeFeature { feature_id: id.clone() };
    let now = Timestamp::now();
    if store::move_votes(&workshop.table, &feature, AT_ONCE, now).await? > 0 {
        return workshop.again(&again, 0).await;
    }
    if now < feature.updated_at + i64::from(STRAGGLERS).seconds() {
        return workshop.again(&again, STRAGGLERS).await;
    }
    Ok(())
}

async fn delete_feature(workshop: &Workshop, id: &FeatureId) -> Result<(), JobError> {
    let Some(feature) = store::find(&workshop.table, id).await? else { return Ok(()) };
    if !feature.deleting {
        return Ok(());
    }
    let again = Task::DeleteFeature { feature_id: id.clone() };
    let removed = empty_some(&workshop.table, &feature).await?;
    if removed > 0 {
        return workshop.again(&again, pause(removed, AT_ONCE, STRAGGLERS)).await;
    }
    if Timestamp::now() < feature.updated_at + i64::from(STRAGGLERS).seconds() {
        return workshop.again(&again, STRAGGLERS).await;
    }
    Ok(store::finish_delete(&workshop.table, &feature).await?)
}

/// Removes the votes and comments of an erased subscriber, or some of the features of a waitlist that is being
/// deleted and has no subscribers any more. Returns true if nothing is left.
pub(crate) fn forget<'a>(table: &'a Table, gone: Gone<'a>) -> BoxFuture<'a, Result<bool, JobError>> {
    async move {
        match (gone.kind, gone.id.parse::<SubscriberId>(), gone.id.parse::<WaitlistId>()) {
            (<Subscriber as Entity>::TYPE, Ok(subscriber), _) => {
                store::silence(table, &subscriber).await?;
                Ok(true)
            }
            (<Waitlist as Entity>::TYPE, _, Ok(waitlist)) => delete_features(table, &waitlist).await,
            _ => Ok(true),
        }
    }
    .boxed()
}

/// Removes some of a feature's votes and comments. The votes of a merged feature move to the feature that it was
/// merged into. Returns the number of votes and comments.
async fn empty_some(table: &Table, feature: &Feature) -> Result<usize, JobError> {
    let votes = store::move_votes(table, feature, AT_ONCE, Timestamp::now()).await?;
    Ok(votes + comments::purge_some(table, &feature.id, AT_ONCE).await?)
}

/// Removes some of the features of a waitlist without subscribers. Returns true if none is left.
async fn delete_features(table: &Table, waitlist: &WaitlistId) -> Result<bool, JobError> {
    let mut all = true;
    for feature in store::all(table, waitlist).await? {
        // All features of the waitlist are deleted. So votes are removed and not moved, and the feature's item is
        // removed as well.
        let feature = Feature { merged_into: None, ..feature };
        match empty_some(table, &feature).await? {
            0 => store::finish_delete(table, &feature).await?,
            _ => all = false,
        }
    }
    Ok(all)
}

//! Merged and deleted features.
//!
//! Voters are found by an index, and requests that began before the mark may still vote: the job comes again until
//! nobody is found, and once more after a pause.

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

/// Votes, or comments, of each shard or status that are worked on before the job makes room for others.
const AT_ONCE: usize = 250;
/// No request that began before the mark lasts longer, and no index lags so far behind.
const STRAGGLERS: i32 = 15;

async fn merge_feature(workshop: &Workshop, id: &FeatureId) -> Result<(), JobError> {
    let Some(feature) = store::find(&workshop.table, id).await? else { return Ok(()) };
    // Deleted since: that job's matter.
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

/// What erased subscribers voted for and said, and the features of waitlists that nobody is on any more.
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

/// Removes some of a feature's votes, or moves those of a merged one, and comments; how many there were.
async fn empty_some(table: &Table, feature: &Feature) -> Result<usize, JobError> {
    let votes = store::move_votes(table, feature, AT_ONCE, Timestamp::now()).await?;
    Ok(votes + comments::purge_some(table, &feature.id, AT_ONCE).await?)
}

/// Removes some of the features of a waitlist that nobody is on any more; whether they were all.
async fn delete_features(table: &Table, waitlist: &WaitlistId) -> Result<bool, JobError> {
    let mut all = true;
    for feature in store::all(table, waitlist).await? {
        // Nothing leads anywhere any more.
        let feature = Feature { merged_into: None, ..feature };
        match empty_some(table, &feature).await? {
            0 => store::finish_delete(table, &feature).await?,
            _ => all = false,
        }
    }
    Ok(all)
}

//! Jobs of the family: the deletion of a waitlist with its subscribers, exports, and the clean-up after an erasure.
//!
//! The deletion of a waitlist erases its subscribers one by one. An erased subscriber is no longer listed, so a
//! retry continues where the last attempt ended. A join that was in flight when the waitlist was marked can still
//! add a subscriber. Therefore the job finishes only after a round that finds no subscriber, and not before
//! `STRAGGLERS` seconds after the mark.

use crate::{
    entities::Task, erasure, export_file, id::WaitlistId, store, subscriber::Subscriber, subscribers,
    waitlist::Waitlist,
};
use domain::id::SubscriberId;
use jiff::{Timestamp, ToSpan};
use projection::job::{self, JobError, Jobs, Runner, Work, Worker, Workshop, pause};
use table::{Entity, LIST_SHARDS};

pub const JOBS: &[Jobs] = &[Jobs {
    kinds: &["export_subscribers", "delete_waitlist", "purge_exports", "silence"],
    by: Worker::Jobs,
}];

pub const RUNNERS: &[Runner] = &[Runner {
    kinds: &["export_subscribers", "delete_waitlist", "purge_exports", "silence"],
    run: job::run::<Task>,
}];

impl Work for Task {
    async fn work(self, workshop: &Workshop) -> Result<(), JobError> {
        match self {
            Task::ExportSubscribers { export_id } => export_file::write_file(workshop, &export_id).await,
            Task::DeleteWaitlist { waitlist_id } => delete_waitlist(workshop, &waitlist_id).await,
            Task::PurgeExports { waitlist_id } => export_file::purge_exports(workshop, &waitlist_id).await,
            Task::Silence { subscriber_id } => forget_subscriber(workshop, &subscriber_id).await,
        }
    }
}

/// Seconds after which no join that began before the waitlist was marked is still in flight: the time-out of the
/// function that joins, and a margin.
const STRAGGLERS: i32 = 15;
/// Number of subscribers that are erased in one run, before the job queues itself again and lets other jobs run.
const ERASED_AT_ONCE: usize = 2000;

async fn delete_waitlist(workshop: &Workshop, id: &WaitlistId) -> Result<(), JobError> {
    let Some(waitlist) = store::find(&workshop.table, id).await? else { return Ok(()) };
    if !waitlist.deleting {
        return Ok(());
    }
    let again = Task::DeleteWaitlist { waitlist_id: id.clone() };
    let erased = erase_some(workshop, &waitlist).await?;
    if erased > 0 {
        return workshop.again(&again, pause(erased, ERASED_AT_ONCE, STRAGGLERS)).await;
    }
    let quiet = waitlist.updated_at + i64::from(STRAGGLERS).seconds();
    if Timestamp::now() < quiet {
        return workshop.again(&again, STRAGGLERS).await;
    }
    export_file::purge_exports(workshop, id).await?;
    if !workshop.forget(Waitlist::TYPE, id.as_str()).await? {
        return workshop.again(&again, 1).await;
    }
    store::clear_line(&workshop.table, id).await?;
    store::finish_delete(&workshop.table, &waitlist).await?;
    Ok(())
}

/// Makes the other families remove everything that they store about a subscriber.
async fn forget_subscriber(workshop: &Workshop, id: &SubscriberId) -> Result<(), JobError> {
    while !workshop.forget(Subscriber::TYPE, id.as_str()).await? {}
    Ok(())
}

async fn erase_some(workshop: &Workshop, waitlist: &Waitlist) -> Result<usize, JobError> {
    let mut erased = 0;
    for shard in 0..LIST_SHARDS {
        let page =
            subscribers::list_shard(&workshop.table, &waitlist.id, shard, None, ERASED_AT_ONCE / 4).await?;
        for listed in page {
            // The index is eventually consistent, so each subscriber is read again from the table. Listed
            // subscribers that are already gone count as well: while the index lists any, it may not have listed
            // others yet.
            erased += 1;
            while let Some(subscriber) = subscribers::find(&workshop.table, &listed.id).await? {
                forget_subscriber(workshop, &subscriber.id).await?;
                match erasure::erase_with_waitlist(&workshop.table, &subscriber).await {
                    Ok(()) => {}
                    Err(error) if error.is_condition() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(erased)
}

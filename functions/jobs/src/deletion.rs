//! The deletion of a waitlist with everybody on it.
//!
//! Everybody is erased as one by one; what has been done is gone, so that a
//! repetition goes on where the last attempt ended. At the end the job comes once
//! more after a pause, for those who were joining while the waitlist was marked.

use domain::{id::WaitlistId, waitlist::Waitlist};
use jiff::{Timestamp, ToSpan};
use store::{LIST_SHARDS, entities::JobKind, subscribers, waitlists};

use crate::{JobError, Jobs, pause};

/// No request lasts longer than this: the time limit of the function that joins, and a margin.
const STRAGGLERS: i32 = 15;
/// Subscribers erased before the job makes room for others.
const ERASED_AT_ONCE: usize = 2000;

impl Jobs {
    pub(crate) async fn delete_waitlist(&self, id: &WaitlistId) -> Result<(), JobError> {
        let Some(waitlist) = waitlists::find(&self.table, id).await? else { return Ok(()) };
        if !waitlist.deleting {
            return Ok(());
        }
        let again = JobKind::DeleteWaitlist { waitlist_id: id.clone() };
        let erased = self.erase_some(&waitlist).await?;
        if erased > 0 {
            return self.queue(&again, pause(erased, ERASED_AT_ONCE, STRAGGLERS)).await;
        }
        let quiet = waitlist.updated_at + i64::from(STRAGGLERS).seconds();
        if Timestamp::now() < quiet {
            return self.queue(&again, STRAGGLERS).await;
        }
        self.purge_exports(id).await?;
        if !self.delete_features(id).await? {
            return self.queue(&again, 1).await;
        }
        waitlists::clear_line(&self.table, id).await?;
        waitlists::finish_delete(&self.table, &waitlist).await?;
        Ok(())
    }

    async fn erase_some(&self, waitlist: &Waitlist) -> Result<usize, JobError> {
        let mut erased = 0;
        for shard in 0..LIST_SHARDS {
            let page =
                subscribers::list_shard(&self.table, &waitlist.id, shard, None, ERASED_AT_ONCE / 4).await?;
            for listed in page {
                // The index may lag behind: the item itself decides. But as long as it lists anybody, there may be others.
                erased += 1;
                while let Some(subscriber) = subscribers::find(&self.table, &listed.id).await? {
                    match subscribers::erase_with_waitlist(&self.table, &subscriber).await {
                        Ok(()) => {}
                        Err(error) if error.is_condition() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(erased)
    }
}

//! The deletion of stamp programs, and new settings that their cards are judged by.

use domain::{
    id::ProgramId,
    stamp::{InactivityDays, Program},
};
use jiff::{Timestamp, ToSpan};
use store::{customers, entities::JobKind, programs};

use crate::{JobError, Jobs, pause};

/// Customers whose cards are removed before the job makes room for others.
const PURGED_AT_ONCE: usize = 500;
/// Cards that are looked at before the job makes room for others.
const WATCHED_AT_ONCE: usize = 500;
/// No request that began before the mark lasts longer.
const STRAGGLERS: i32 = 15;

impl Jobs {
    pub(crate) async fn delete_program(&self, id: &ProgramId) -> Result<(), JobError> {
        let Some(program) = programs::find(&self.table, id).await? else { return Ok(()) };
        if !program.deleting {
            return Ok(());
        }
        let again = JobKind::DeleteProgram { program_id: id.clone() };
        let removed = programs::purge_some(&self.table, id, PURGED_AT_ONCE).await?;
        if removed > 0 {
            return self.queue(&again, pause(removed, PURGED_AT_ONCE, STRAGGLERS)).await;
        }
        if Timestamp::now() < program.updated_at + i64::from(STRAGGLERS).seconds() {
            return self.queue(&again, STRAGGLERS).await;
        }
        Ok(programs::finish_delete(&self.table, &program).await?)
    }

    pub(crate) async fn watch_cards(
        &self,
        id: &ProgramId,
        inactivity_days: InactivityDays,
        after: Option<String>,
        again: bool,
    ) -> Result<(), JobError> {
        let found = programs::find(&self.table, id).await?;
        // Changed once more since: that is another job.
        let current =
            |program: &Program| !program.deleting && program.settings.inactivity_days == inactivity_days;
        let Some(program) = found.filter(current) else { return Ok(()) };
        let job =
            |after, again| JobKind::WatchCards { program_id: id.clone(), inactivity_days, after, again };
        // Who can't be read here is met again by nobody: a cursor is this job's own.
        let cursor = after.and_then(|after| after.parse().ok());
        let page = customers::of_program(&self.table, id, cursor, WATCHED_AT_ONCE).await?;
        for card in &page.data {
            programs::watch(&self.table, &program, card).await?;
        }
        match page.next {
            Some(next) => self.queue(&job(Some(next.to_string()), again), 0).await,
            None if again => self.queue(&job(None, false), STRAGGLERS).await,
            None => Ok(()),
        }
    }
}

//! The deletion of stamp programs, and of what erased customers had.

use domain::id::ProgramId;
use jiff::{Timestamp, ToSpan};
use store::{entities::JobKind, programs};

use crate::{JobError, Jobs};

/// Customers whose cards are removed before the job makes room for others.
const PURGED_AT_ONCE: usize = 500;
/// No request that began before the mark lasts longer.
const STRAGGLERS: i32 = 15;

impl Jobs {
    pub(crate) async fn delete_program(&self, id: &ProgramId) -> Result<(), JobError> {
        let Some(program) = programs::find(&self.table, id).await? else { return Ok(()) };
        if !program.deleting {
            return Ok(());
        }
        let again = JobKind::DeleteProgram { program_id: id.clone() };
        if programs::purge_some(&self.table, id, PURGED_AT_ONCE).await? > 0 {
            return self.queue(&again, 0).await;
        }
        if Timestamp::now() < program.updated_at + i64::from(STRAGGLERS).seconds() {
            return self.queue(&again, STRAGGLERS).await;
        }
        Ok(programs::finish_delete(&self.table, &program).await?)
    }
}

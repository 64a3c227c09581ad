//! Jobs of the stamps family: deletion of programs and customers, and recalculation of cards after a change of
//! settings.

use domain::id::ProgramId;
use jiff::{Timestamp, ToSpan};
use projection::job::{self, JobError, Jobs, Runner, Work, Worker, Workshop, pause};

use crate::{
    customers,
    entities::Task,
    programs,
    stamp::{InactivityDays, Program},
};

pub const JOBS: &[Jobs] =
    &[Jobs { kinds: &["delete_program", "watch_cards", "erase_customer"], by: Worker::Jobs }];

pub const RUNNERS: &[Runner] =
    &[Runner { kinds: &["delete_program", "watch_cards", "erase_customer"], run: job::run::<Task> }];

impl Work for Task {
    async fn work(self, workshop: &Workshop) -> Result<(), JobError> {
        match self {
            Task::DeleteProgram { program_id } => delete_program(workshop, &program_id).await,
            Task::WatchCards { program_id, inactivity_days, after, again } => {
                watch_cards(workshop, &program_id, inactivity_days, after, again).await
            }
            Task::EraseCustomer { customer_id } => {
                Ok(customers::finish_erase(&workshop.table, &customer_id).await?)
            }
        }
    }
}

/// Number of customers whose cards one run removes, before other jobs can run.
const PURGED_AT_ONCE: usize = 500;
/// Number of cards that one run checks, before other jobs can run.
const WATCHED_AT_ONCE: usize = 500;
/// Seconds to wait after a change of a program. No request that began before the change takes longer.
const STRAGGLERS: i32 = 15;

async fn delete_program(workshop: &Workshop, id: &ProgramId) -> Result<(), JobError> {
    let Some(program) = programs::find(&workshop.table, id).await? else { return Ok(()) };
    if !program.deleting {
        return Ok(());
    }
    let again = Task::DeleteProgram { program_id: id.clone() };
    let removed = programs::purge_some(&workshop.table, id, PURGED_AT_ONCE).await?;
    if removed > 0 {
        return workshop.again(&again, pause(removed, PURGED_AT_ONCE, STRAGGLERS)).await;
    }
    if Timestamp::now() < program.updated_at + i64::from(STRAGGLERS).seconds() {
        return workshop.again(&again, STRAGGLERS).await;
    }
    Ok(programs::finish_delete(&workshop.table, &program).await?)
}

async fn watch_cards(
    workshop: &Workshop,
    id: &ProgramId,
    inactivity_days: InactivityDays,
    after: Option<String>,
    again: bool,
) -> Result<(), JobError> {
    let found = programs::find(&workshop.table, id).await?;
    // A later change of the setting has a job of its own.
    let current =
        |program: &Program| !program.deleting && program.settings.inactivity_days == inactivity_days;
    let Some(program) = found.filter(current) else { return Ok(()) };
    let job = |after, again| Task::WatchCards { program_id: id.clone(), inactivity_days, after, again };
    // An unparsable cursor restarts from the beginning.
    let cursor = after.and_then(|after| after.parse().ok());
    let page = customers::of_program(&workshop.table, id, cursor, WATCHED_AT_ONCE).await?;
    for card in &page.data {
        programs::watch(&workshop.table, &program, card).await?;
    }
    match page.next {
        Some(next) => workshop.again(&job(Some(next.to_string()), again), 0).await,
        None if again => workshop.again(&job(None, false), STRAGGLERS).await,
        None => Ok(()),
    }
}

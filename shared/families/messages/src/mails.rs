//! Mails that somebody waits for: confirmations, invitations, word to owners. Each is sent at least once.
//!
//! A worker takes a mail under a lease, in the mail's record, before it hands the mail over. A mail whose lease lapsed,
//! or that is put off, lies in an index by when it is due; the schedule queues it again. So a queue message may be
//! acknowledged as soon as there is a record: the record, not the queue, keeps the mail.

use jiff::Timestamp;
use table::{Commit, Entity, Table, TableError};

use crate::{
    entities::{MessageRecord, mails_due},
    patterns, senders,
};

/// A mail as a worker finds it.
pub struct Found {
    /// `None` when no worker has seen the mail yet.
    pub record: Option<MessageRecord>,
    /// Until when Amazon SES is asked for nothing; may be over.
    pub stopped_until: Option<Timestamp>,
}

pub async fn read(table: &Table, id: &str) -> Result<Found, TableError> {
    let keys = [MessageRecord::key_of(id), senders::Sender::ses_account().key()];
    let mut found = table.batch_get(&patterns::MESSAGE, &keys).await?;
    let record = found.remove(&keys[0]).map(MessageRecord::from_item).transpose()?;
    let stopped_until = found.get(&keys[1]).and_then(table::counters::clock_of);
    Ok(Found { record, stopped_until })
}

/// Writes the next revision of a mail over the one that was read; `false` when it has changed meanwhile.
pub async fn write(table: &Table, after: &MessageRecord) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::MESSAGE_NOTE);
    let commit = match after.rev - 1 {
        0 => commit.create("message", after),
        rev => commit.replace("message", after, rev),
    };
    commit.applies(table).await
}

/// Mails of a shard that have to be queued again by now, the most overdue first.
pub async fn due(
    table: &Table,
    shard: u8,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<MessageRecord>, TableError> {
    table.due(&patterns::MESSAGES_DUE, mails_due(shard), now, limit).await
}

//! Transactional mails: confirmations, invitations and notices to owners. Each is sent at least once.
//!
//! A worker writes a lease into the mail's record before it hands the mail over to Amazon SES. A mail that is
//! queued, deferred or leased is listed in an index by the time at which it is due. Once that time has passed, the
//! schedule queues the mail again. Therefore a queue message can be acknowledged as soon as the mail has a record:
//! the record keeps the mail, not the queue.

use jiff::Timestamp;
use table::{Commit, Entity, Table, TableError};

use crate::{
    entities::{MessageRecord, mails_due},
    patterns, senders,
};

/// A mail's record, and the state of sending through Amazon SES.
pub struct Found {
    /// Record of the mail; `None` if no worker has handled the mail yet.
    pub record: Option<MessageRecord>,
    /// Time until which no mail is handed over to Amazon SES. May be in the past.
    pub stopped_until: Option<Timestamp>,
}

/// Reads a mail's record.
pub async fn read(table: &Table, id: &str) -> Result<Found, TableError> {
    let keys = [MessageRecord::key_of(id), senders::Sender::ses_account().key()];
    let mut found = table.batch_get(&patterns::MESSAGE, &keys).await?;
    let record = found.remove(&keys[0]).map(MessageRecord::from_item).transpose()?;
    let stopped_until = found.get(&keys[1]).and_then(table::counters::clock_of);
    Ok(Found { record, stopped_until })
}

/// Writes the next revision of a mail's record. Returns `false` if the record has changed since it was read.
pub async fn write(table: &Table, after: &MessageRecord) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::MESSAGE_NOTE);
    let commit = match after.rev - 1 {
        0 => commit.create("message", after),
        rev => commit.replace("message", after, rev),
    };
    commit.applies(table).await
}

/// Returns up to `limit` mails of a shard that are due to be queued again, longest overdue first.
pub async fn due(
    table: &Table,
    shard: u8,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<MessageRecord>, TableError> {
    table.due(&patterns::MESSAGES_DUE, mails_due(shard), now, limit).await
}

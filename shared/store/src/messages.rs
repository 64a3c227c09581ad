//! Messages sent once.

use crate::{
    Commit, CommitError, StoreError, Table,
    entities::{MessageRecord, MessageState},
    patterns,
};

/// Takes the message for sending. `false` when it was taken before.
pub async fn take(table: &Table, record: &MessageRecord) -> Result<bool, StoreError> {
    Commit::new(&patterns::MESSAGE).create("message", record).applies(table).await
}

pub async fn state(table: &Table, id: &str) -> Result<Option<MessageState>, StoreError> {
    let record: Option<MessageRecord> = table.get(&patterns::MESSAGE, &MessageRecord::key_of(id)).await?;
    Ok(record.map(|record| record.state))
}

/// Notes the outcome of a message that was taken.
pub async fn settle(table: &Table, record: &MessageRecord) -> Result<(), StoreError> {
    match Commit::new(&patterns::MESSAGE).overwrite("message", record).apply(table).await {
        Ok(()) => Ok(()),
        Err(CommitError::Store(error)) => Err(error),
        Err(CommitError::Condition(_)) => unreachable!("there is no condition"),
    }
}

/// Gives a message back that certainly was not sent, so that a later attempt may take it.
pub async fn release(table: &Table, id: &str) -> Result<(), StoreError> {
    match Commit::new(&patterns::MESSAGE).purge("message", &MessageRecord::key_of(id)).apply(table).await {
        Ok(()) => Ok(()),
        Err(CommitError::Store(error)) => Err(error),
        Err(CommitError::Condition(_)) => unreachable!("there is no condition"),
    }
}

//! Storage of accounts at Twilio.

use accounts::entities::AuditEntry;
use domain::id::AccountId;
use table::{Commit, Entity, Table, TableError};

use crate::{entities::TwilioAccount, patterns};

/// Reads the account at Twilio that belongs to this account, if there is one.
pub async fn read(table: &Table, account: &AccountId) -> Result<Option<TwilioAccount>, TableError> {
    table.get(&patterns::TWILIO, &TwilioAccount::key_of(account)).await
}

/// Returns the writes that set the account at Twilio, over the one that was read. The label `twilio` fails if it
/// has changed meanwhile.
pub fn set(new: &TwilioAccount, old: Option<&TwilioAccount>, audit: &AuditEntry) -> Commit {
    let commit = Commit::new(&patterns::TWILIO_WRITE).create("audit", audit);
    match old {
        None => commit.create("twilio", new),
        Some(old) => commit.replace("twilio", new, old.rev),
    }
}

/// Returns the writes that remove the account at Twilio.
pub fn forget(old: &TwilioAccount, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::TWILIO_WRITE).delete("twilio", &old.key(), old.rev).create("audit", audit)
}

//! Accounts at Twilio.

use accounts::entities::AuditEntry;
use domain::id::AccountId;
use table::{Commit, Entity, Table, TableError};

use crate::{entities::TwilioAccount, patterns};

/// The account's account at Twilio, if it has one.
pub async fn read(table: &Table, account: &AccountId) -> Result<Option<TwilioAccount>, TableError> {
    table.get(&patterns::TWILIO, &TwilioAccount::key_of(account)).await
}

/// The writes that set it, over what was read; the label `twilio` fails when it has changed meanwhile.
pub fn set(new: &TwilioAccount, old: Option<&TwilioAccount>, audit: &AuditEntry) -> Commit {
    let commit = Commit::new(&patterns::TWILIO_WRITE).create("audit", audit);
    match old {
        None => commit.create("twilio", new),
        Some(old) => commit.replace("twilio", new, old.rev),
    }
}

/// The writes that forget it.
pub fn forget(old: &TwilioAccount, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::TWILIO_WRITE).delete("twilio", &old.key(), old.rev).create("audit", audit)
}

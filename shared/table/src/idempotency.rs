//! `Idempotency-Key`: the answer is kept in the transaction that makes it true.
//!
//! Because the record rides along with the effects, a request either happened
//! with its answer on record or did not happen. Two at once conflict, and the
//! later one finds the earlier one's answer.

use domain::id::AccountId;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::{Commit, CommitError, Entity, Table, TableError, keys::Key, patterns};

/// What a caller was, or is about to be, answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// JSON text.
    pub body: String,
    pub location: Option<String>,
}

/// A request's key, if it has one, with what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub account_id: AccountId,
    pub principal: String,
    pub key: String,
    /// Hash of method, path and body.
    pub request: String,
}

/// What the record of a key says of a new request with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Never seen: go on.
    Fresh,
    /// The same request: answer as before.
    Answered(Answer),
    /// The key belongs to a different request.
    Mismatch,
}

/// What was answered to a request that carried an `Idempotency-Key`; kept 24 hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    pub account_id: AccountId,
    /// Who asked: two callers' keys are unrelated.
    pub principal: String,
    pub idempotency_key: String,
    /// Hash of method, path and body.
    pub request: String,
    pub status: u16,
    /// JSON text.
    pub body: String,
    pub location: Option<String>,
    pub at: Timestamp,
}

impl IdempotencyRecord {
    pub fn key_of(account: &AccountId, principal: &str, key: &str) -> Key {
        Key::new(&["IDEM", account.as_str(), principal, key], &["META"])
    }
}

impl Entity for IdempotencyRecord {
    const TYPE: &'static str = "idempotency";
    fn key(&self) -> Key {
        Self::key_of(&self.account_id, &self.principal, &self.idempotency_key)
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + 24.hours())
    }
}

const LABEL: &str = "idempotency";

impl Commit {
    /// Keeps the answer under the request's key.
    pub fn answering(self, idempotency: Option<&Idempotency>, answer: &Answer, now: Timestamp) -> Self {
        let Some(idempotency) = idempotency else { return self };
        let Idempotency { account_id, principal, key, request } = idempotency.clone();
        let record = IdempotencyRecord {
            account_id,
            principal,
            idempotency_key: key,
            request,
            status: answer.status,
            body: answer.body.clone(),
            location: answer.location.clone(),
            at: now,
        };
        self.create_or_renew(LABEL, &record, now)
    }
}

impl CommitError {
    /// Whether another request with the same key was first.
    pub fn lost_idempotency_race(&self) -> bool {
        self.failed(LABEL).is_some()
    }
}

impl Idempotency {
    fn judge(&self, record: Option<IdempotencyRecord>) -> Replay {
        match record {
            None => Replay::Fresh,
            Some(record) if record.request != self.request => Replay::Mismatch,
            Some(record) => Replay::Answered(Answer {
                status: record.status,
                body: record.body,
                location: record.location,
            }),
        }
    }

    /// Looks the key up.
    pub async fn replay(&self, table: &Table) -> Result<Replay, TableError> {
        let key = IdempotencyRecord::key_of(&self.account_id, &self.principal, &self.key);
        Ok(self.judge(table.get(&patterns::IDEMPOTENCY, &key).await?))
    }
}

//! `Idempotency-Key`: the response is stored in the same transaction as the writes of the request.
//!
//! A request has therefore either been applied with its response stored, or not been applied at all. Of two
//! concurrent requests with the same key, the later one fails its condition and returns the response of the earlier
//! one.

use domain::id::AccountId;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::{
    Commit, CommitError, Entity, Table, TableError,
    keys::Key,
    lookup::{Wanted, current},
    patterns,
};

/// Response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// JSON text.
    pub body: String,
    pub location: Option<String>,
}

/// `Idempotency-Key` of a request, with the caller and a hash of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub account_id: AccountId,
    pub principal: String,
    pub key: String,
    /// Hash of method, path and body.
    pub request: String,
}

/// Result of looking up the key of a new request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// No record exists: the request is new.
    Fresh,
    /// The same request was answered before, with this response.
    Answered(Answer),
    /// The key was used for a different request.
    Mismatch,
}

/// Stored response to a request with an `Idempotency-Key`. Expires after 24 hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    pub account_id: AccountId,
    /// Caller of the request. The same key from another caller is a different key.
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
    /// Adds the record of the response to the commit. Adds nothing if the request has no key.
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
    /// True if the commit failed because another request with the same key was applied first.
    pub fn lost_idempotency_race(&self) -> bool {
        self.failed(LABEL).is_some()
    }
}

impl Idempotency {
    fn key(&self) -> Key {
        IdempotencyRecord::key_of(&self.account_id, &self.principal, &self.key)
    }

    fn judge(request: &str, record: Option<IdempotencyRecord>) -> Replay {
        match record {
            None => Replay::Fresh,
            Some(record) if record.request != request => Replay::Mismatch,
            Some(record) => Replay::Answered(Answer {
                status: record.status,
                body: record.body,
                location: record.location,
            }),
        }
    }

    /// Looks up the record of the key.
    pub async fn replay(&self, table: &Table) -> Result<Replay, TableError> {
        Ok(Self::judge(&self.request, table.get(&patterns::IDEMPOTENCY, &self.key()).await?))
    }

    /// Wants the record of the key, to read it together with other items.
    pub fn wanted(&self) -> impl Wanted<Found = Replay> + use<> {
        let request = self.request.clone();
        current(self.key()).map(move |record| Self::judge(&request, record))
    }
}

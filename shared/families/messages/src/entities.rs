//! Table items of mails, and keys of the clocks of senders.

use accounts::id::MemberId;
use domain::id::{AccountId, SubscriberId, WebhookEndpointId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, REPLAYED_WITHIN, due_at, join, keys::GSI2, list_shard};

/// Returns the key of a sender's clock.
pub fn sender_key(account: &str, address: &str) -> Key {
    Key::new(&["RATE", "sender", account, address], &["META"])
}

/// Minimum lease of a worker on a mail. Two minutes are longer than the 60 seconds after which Lambda ends a worker,
/// so two workers never send the same mail at the same time.
const LEASE: SignedDuration = SignedDuration::from_mins(2);
/// Back-off after the first attempt that may have sent the mail. It doubles with each such attempt.
const MAYBE_SENT_REST: SignedDuration = SignedDuration::from_mins(1);
/// Maximum back-off after an attempt that may have sent the mail.
const MAYBE_SENT_REST_AT_MOST: SignedDuration = SignedDuration::from_hours(6);

/// State of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// The mail is in the queue again. If no worker takes the mail until `due_at`, the schedule queues it once more.
    Queued,
    /// The mail was not sent, or the outcome is unknown. The schedule queues the mail again at `due_at`.
    Deferred,
    /// A worker hands the mail over under a lease that ends at `due_at`. If the worker is lost, the schedule then
    /// queues the mail again.
    Sending,
    /// SES has taken the mail.
    Sent,
    /// The mail was not wanted any more when a worker handled it, or SES rejected it permanently.
    Dropped,
    /// Given up after the maximum number of attempts whose outcome is unknown.
    Unknown,
}

impl MessageState {
    fn is_final(self) -> bool {
        matches!(self, Self::Sent | Self::Dropped | Self::Unknown)
    }
}

/// Content of a mail by reference: the ids from which a worker composes the mail. Contains no personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MailTask {
    /// Mail that fits the subscriber's status.
    Subscriber { subscriber_id: SubscriberId },
    /// Notice to an owner that a webhook endpoint was disabled. Sent only if the endpoint is still at revision `rev`.
    Endpoint { account_id: AccountId, endpoint_id: WebhookEndpointId, rev: u64, member_id: MemberId },
}

/// Record of a mail that is sent at least once. Kept for [`REPLAYED_WITHIN`] after its last change, so that a
/// repeated request does not send the mail again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    pub id: String,
    pub state: MessageState,
    /// Content of the mail. Absent in records of earlier versions, which the schedule does not queue again.
    pub task: Option<MailTask>,
    pub due_at: Option<Timestamp>,
    /// Number of attempts that may have sent the mail: the current one, those of lost workers, and those with an
    /// unknown outcome.
    #[serde(default)]
    pub tries: u32,
    pub at: Timestamp,
    /// Revision of the record; 0 if it is not stored yet.
    pub rev: u64,
}

impl MessageRecord {
    pub fn key_of(id: &str) -> Key {
        Key::new(&["MSG", id], &["META"])
    }

    /// Creates the record of a requested mail, which is not stored yet.
    pub fn new(id: &str, task: MailTask, now: Timestamp) -> Self {
        let (id, task) = (id.to_owned(), Some(task));
        Self { id, state: MessageState::Queued, task, due_at: None, tries: 0, at: now, rev: 0 }
    }

    /// Returns true if a worker may take the mail: the mail is not in a final state, not deferred and not leased by
    /// another worker.
    pub fn is_free(&self, now: Timestamp) -> bool {
        match self.state {
            MessageState::Queued => true,
            MessageState::Deferred => self.due_at.is_none_or(|due| due <= now),
            MessageState::Sending => self.due_at.unwrap_or(self.at + LEASE) <= now,
            MessageState::Sent | MessageState::Dropped | MessageState::Unknown => false,
        }
    }

    /// Returns the next revision: queued again. The schedule queues the mail once more at `again_at` if no worker
    /// takes it.
    pub fn queued(&self, again_at: Timestamp, now: Timestamp) -> Self {
        self.next(MessageState::Queued, Some(again_at), now)
    }

    /// Returns the next revision: leased by a worker. The lease is at least as long as the back-off, in case this
    /// worker is lost as well.
    pub fn taken(&self, now: Timestamp) -> Self {
        let tries = self.tries + 1;
        let lease = LEASE.max(maybe_sent_rest(tries));
        Self { tries, ..self.next(MessageState::Sending, Some(now + lease), now) }
    }

    /// Returns the next revision after a hand-over with an unknown outcome: deferred by the back-off.
    pub fn maybe_sent(&self, now: Timestamp) -> Self {
        self.deferred(now + maybe_sent_rest(self.tries), now)
    }

    /// Returns the next revision: deferred.
    pub fn deferred(&self, until: Timestamp, now: Timestamp) -> Self {
        self.next(MessageState::Deferred, Some(until), now)
    }

    /// Returns the next revision, in a final state.
    pub fn settled(&self, state: MessageState, now: Timestamp) -> Self {
        self.next(state, None, now)
    }

    fn next(&self, state: MessageState, due_at: Option<Timestamp>, now: Timestamp) -> Self {
        Self { state, due_at, at: now, rev: self.rev + 1, ..self.clone() }
    }
}

/// Returns the back-off after `tries` attempts that may have sent the mail.
fn maybe_sent_rest(tries: u32) -> SignedDuration {
    let doubled = MAYBE_SENT_REST.checked_mul(1 << tries.saturating_sub(1).min(16));
    doubled.unwrap_or(MAYBE_SENT_REST_AT_MOST).min(MAYBE_SENT_REST_AT_MOST)
}

/// Returns the index partition of a shard's mails by the time at which they are due.
pub(crate) fn mails_due(shard: u8) -> String {
    join(&["MAILDUE", &shard.to_string()])
}

impl Entity for MessageRecord {
    const TYPE: &'static str = "message";
    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let due = self.due_at.filter(|_| self.task.is_some() && !self.state.is_final());
        let due = due.map(|at| IndexKey {
            index: GSI2,
            pk: mails_due(list_shard(&self.id)),
            sk: join(&[&due_at(at), &self.id]),
        });
        due.into_iter().collect()
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + REPLAYED_WITHIN)
    }
}

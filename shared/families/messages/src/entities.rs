//! Mails and the clocks of senders, as they lie in the table.

use accounts::id::MemberId;
use domain::id::{AccountId, SubscriberId, WebhookEndpointId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, REPLAYED_WITHIN, due_at, join, keys::GSI2, list_shard};

/// The clock of one sender of messages.
pub fn sender_key(account: &str, address: &str) -> Key {
    Key::new(&["RATE", "sender", account, address], &["META"])
}

/// How long a worker holds a mail that it hands over: longer than Lambda lets a worker run (60 seconds), so that no two
/// workers send the same mail at the same time.
const LEASE: SignedDuration = SignedDuration::from_mins(2);
/// How long a mail rests after the first attempt that may have sent it, and at the most; each time twice as long.
const MAYBE_SENT_REST: SignedDuration = SignedDuration::from_mins(1);
const MAYBE_SENT_REST_AT_MOST: SignedDuration = SignedDuration::from_hours(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// In the queue again; queued once more at `due_at` if no worker took it by then.
    Queued,
    /// Not sent, or perhaps not sent: queued again at `due_at`.
    Deferred,
    /// A worker hands it over. The lease ends at `due_at`: then the worker is lost, and the mail is queued again.
    Sending,
    Sent,
    /// Not wanted any more when its turn came, or refused for good.
    Dropped,
    /// Given up after many attempts, the outcome of each of which is unknown.
    Unknown,
}

impl MessageState {
    fn is_final(self) -> bool {
        matches!(self, Self::Sent | Self::Dropped | Self::Unknown)
    }
}

/// All that a worker needs to write a mail. Names nobody but by ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MailTask {
    Subscriber {
        subscriber_id: SubscriberId,
    },
    /// An owner hears that a webhook endpoint was disabled, if the endpoint still is at this revision.
    Endpoint {
        account_id: AccountId,
        endpoint_id: WebhookEndpointId,
        rev: u64,
        member_id: MemberId,
    },
}

/// A mail that is sent at least once; kept for [`REPLAYED_WITHIN`] from its last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    pub id: String,
    pub state: MessageState,
    /// Absent in records of earlier versions, which no schedule queues again.
    pub task: Option<MailTask>,
    pub due_at: Option<Timestamp>,
    /// Attempts that may have sent the mail: the current one, those of lost workers, and those whose outcome is unknown.
    #[serde(default)]
    pub tries: u32,
    pub at: Timestamp,
    /// 0: not stored yet.
    pub rev: u64,
}

impl MessageRecord {
    pub fn key_of(id: &str) -> Key {
        Key::new(&["MSG", id], &["META"])
    }

    /// A mail that was asked for, and not stored yet.
    pub fn new(id: &str, task: MailTask, now: Timestamp) -> Self {
        let (id, task) = (id.to_owned(), Some(task));
        Self { id, state: MessageState::Queued, task, due_at: None, tries: 0, at: now, rev: 0 }
    }

    /// Whether a worker may take the mail: it is neither done, nor put off, nor held by another worker.
    pub fn is_free(&self, now: Timestamp) -> bool {
        match self.state {
            MessageState::Queued => true,
            MessageState::Deferred => self.due_at.is_none_or(|due| due <= now),
            MessageState::Sending => self.due_at.unwrap_or(self.at + LEASE) <= now,
            MessageState::Sent | MessageState::Dropped | MessageState::Unknown => false,
        }
    }

    /// The next revision: queued again, and once more at this time if no worker has taken it by then.
    pub fn queued(&self, again_at: Timestamp, now: Timestamp) -> Self {
        self.next(MessageState::Queued, Some(again_at), now)
    }

    /// The next revision: in the hands of a worker, who may be lost as the ones before it were.
    pub fn taken(&self, now: Timestamp) -> Self {
        let tries = self.tries + 1;
        let lease = LEASE.max(maybe_sent_rest(tries));
        Self { tries, ..self.next(MessageState::Sending, Some(now + lease), now) }
    }

    /// The next revision: handed over, and perhaps not sent. It is sent again after a while.
    pub fn maybe_sent(&self, now: Timestamp) -> Self {
        self.deferred(now + maybe_sent_rest(self.tries), now)
    }

    /// The next revision: put off.
    pub fn deferred(&self, until: Timestamp, now: Timestamp) -> Self {
        self.next(MessageState::Deferred, Some(until), now)
    }

    /// The next revision: done with.
    pub fn settled(&self, state: MessageState, now: Timestamp) -> Self {
        self.next(state, None, now)
    }

    fn next(&self, state: MessageState, due_at: Option<Timestamp>, now: Timestamp) -> Self {
        Self { state, due_at, at: now, rev: self.rev + 1, ..self.clone() }
    }
}

/// How long a mail rests after so many attempts that may have sent it.
fn maybe_sent_rest(tries: u32) -> SignedDuration {
    let doubled = MAYBE_SENT_REST.checked_mul(1 << tries.saturating_sub(1).min(16));
    doubled.unwrap_or(MAYBE_SENT_REST_AT_MOST).min(MAYBE_SENT_REST_AT_MOST)
}

/// Mails that have to be queued again, by when.
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

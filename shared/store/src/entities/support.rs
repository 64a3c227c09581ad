//! What serves all families: idempotency, events, jobs, exports, messages, rates.

use std::collections::BTreeMap;

use domain::{
    event::EventKind,
    id::{
        AccountId, CampaignId, CodePoolId, CustomerId, DeliveryId, EventId, ExportId, FeatureId, MemberId,
        ProgramId, SendId, SubscriberId, WaitlistId, WebhookEndpointId,
    },
    secret,
    stamp::InactivityDays,
};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::{Entity, REPLAYED_WITHIN, due_at};
use crate::keys::{GSI1, GSI2, IndexKey, Key, LIST_SHARDS, join, list_shard};

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

/// The clock of one caller's limit.
pub fn rate_key(account: &AccountId, limit: &str, caller: &str) -> Key {
    Key::new(&["RATE", account.as_str(), limit, caller], &["META"])
}

/// The clock of one sender of messages.
pub fn sender_key(account: &str, address: &str) -> Key {
    Key::new(&["RATE", "sender", account, address], &["META"])
}

/// Something that happened on a waitlist, to a feature, in a code pool, a stamp program or a campaign; names only ids,
/// nothing personal. Kept for [`REPLAYED_WITHIN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub account_id: AccountId,
    /// The id of the waitlist, feature, code pool, program or campaign.
    pub topic: String,
    #[serde(rename = "event_type")]
    pub kind: EventKind,
    pub subscriber_id: Option<SubscriberId>,
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    /// What else it is about: the id of a referral, a reward, a comment, a claim, a code, an import or a stamp.
    pub object_id: Option<String>,
    /// The numbers of the matter, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, u64>,
    pub at: Timestamp,
    /// It is kept from then on: nothing is noted twice as long as its record may come again.
    pub noted_at: Timestamp,
}

impl Event {
    /// Where the events of a topic lie: a partition takes 1,000 write units a second, what happens to a sought-after
    /// code pool takes more.
    pub fn partitions(topic: &str) -> [String; LIST_SHARDS as usize] {
        std::array::from_fn(|shard| join(&["EVENTS", topic, &shard.to_string()]))
    }
}

impl Entity for Event {
    const TYPE: &'static str = "event";
    fn key(&self) -> Key {
        let shard = list_shard(self.id.as_str());
        Key { pk: join(&["EVENTS", &self.topic, &shard.to_string()]), sk: self.id.as_str().to_owned() }
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.noted_at + REPLAYED_WITHIN)
    }
}

/// Something that was counted and that nobody is told of, so that it is not counted again; kept for [`REPLAYED_WITHIN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The id that its event would have.
    pub fact: EventId,
    pub noted_at: Timestamp,
}

impl Entity for Tally {
    const TYPE: &'static str = "tally";
    fn key(&self) -> Key {
        Key::new(&["TALLY", self.fact.as_str()], &["META"])
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.noted_at + REPLAYED_WITHIN)
    }
}

/// An item that nobody reads; kept an hour.
///
/// A request about something that is there already writes fillers in place of what it would have made, where the time
/// that it takes must not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filler {
    pub id: String,
    pub at: Timestamp,
}

impl Filler {
    /// One with an id of its own.
    pub fn random() -> Self {
        Self { id: secret::encode(&secret::random::<16>()), at: Timestamp::now() }
    }
}

impl Entity for Filler {
    const TYPE: &'static str = "filler";
    fn key(&self) -> Key {
        Key::new(&["FILLER", &self.id], &["META"])
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + 1.hour())
    }
}

/// Work that outlasts a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobKind {
    ExportSubscribers {
        export_id: ExportId,
    },
    DeleteWaitlist {
        waitlist_id: WaitlistId,
    },
    /// A merged feature's voters go to the other one.
    MergeFeature {
        feature_id: FeatureId,
    },
    DeleteFeature {
        feature_id: FeatureId,
    },
    /// All that an erased subscriber voted for and said.
    Silence {
        subscriber_id: SubscriberId,
    },
    DeleteCodePool {
        pool_id: CodePoolId,
    },
    DeleteProgram {
        program_id: ProgramId,
    },
    /// A program's cards are judged by its new settings, as long as they are its settings, from this customer on, and
    /// `again` after a pause: tills may still go by the old ones.
    WatchCards {
        program_id: ProgramId,
        inactivity_days: InactivityDays,
        after: Option<String>,
        again: bool,
    },
    /// All that a customer has: cards, stamps, rewards.
    EraseCustomer {
        customer_id: CustomerId,
    },
    DeleteCampaign {
        campaign_id: CampaignId,
    },
    /// Work of the message sender: a message that was asked for by hand.
    SendMessage {
        send_id: SendId,
    },
    /// Work of the campaign scheduler: a campaign was set going.
    StartCampaign {
        campaign_id: CampaignId,
        run: u32,
    },
    /// Work of the webhook sender: a delivery that was asked for by hand.
    Deliver {
        account_id: AccountId,
        delivery_id: DeliveryId,
        tried: u32,
    },
    /// Work of the message sender: the account's owners hear that an endpoint was disabled.
    TellOfEndpoint {
        account_id: AccountId,
        endpoint_id: WebhookEndpointId,
        rev: u64,
    },
    /// Codes that were used long ago leave the table.
    ArchiveCodes {
        pool_id: CodePoolId,
    },
    /// Somebody was erased: no export may keep them.
    PurgeExports {
        waitlist_id: WaitlistId,
    },
}

/// Asks the jobs function for work, in the transaction that makes it necessary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The id of what it works on: the same work is asked for once.
    pub id: String,
    pub job: JobKind,
    pub at: Timestamp,
}

impl Entity for Job {
    const TYPE: &'static str = "job";
    fn key(&self) -> Key {
        Key::new(&["JOB", &self.id], &["META"])
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + (7 * 24).hours())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportStatus {
    Running,
    Completed,
    /// Somebody in it was erased, or its file's time is over.
    Expired,
}

/// A CSV of a waitlist's subscribers; the file is kept 7 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub id: ExportId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub status: ExportStatus,
    pub rows: u64,
    /// The file's key in the bucket.
    pub object: String,
    pub created_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub rev: u64,
}

impl Export {
    pub fn key_of(id: &ExportId) -> Key {
        Key::new(&["EXPORT", id.as_str()], &["META"])
    }

    pub fn list_partition(waitlist: &WaitlistId) -> String {
        join(&["WLEXPORTS", waitlist.as_str()])
    }
}

impl Entity for Export {
    const TYPE: &'static str = "export";
    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        vec![IndexKey {
            index: GSI1,
            pk: Self::list_partition(&self.waitlist_id),
            sk: self.id.as_str().to_owned(),
        }]
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.created_at + (30 * 24).hours())
    }
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

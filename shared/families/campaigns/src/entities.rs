//! Stored items of message campaigns: campaigns, messages, frequency caps and accounts at Twilio.

use domain::{
    id::{AccountId, CampaignId, CustomerId, ProgramId, SendId},
    phone::Phone,
};
use jiff::Timestamp;
use messages::senders::Sender;
use serde::{Deserialize, Serialize};
use table::{
    Entity, IndexKey, Key, join,
    keys::{GSI1, GSI2},
    list_shard,
};

use crate::{
    campaign::{Campaign, CampaignStatus, FREQUENCY_CAP, Send, Trigger},
    keyword::StopWords,
    twilio::AuthToken,
};

pub fn campaign_key(id: &CampaignId) -> Key {
    Key::new(&["CAMP", id.as_str()], &["META"])
}

pub(crate) fn campaigns_of(account: &AccountId) -> String {
    join(&["ACCTCAMPS", account.as_str()])
}

/// Index partition of active campaigns with a date trigger: an absence or a birthday.
pub(crate) const TIMED: &str = "TIMED";

/// Returns the index partition of active campaigns that a number of visits in this program triggers.
pub(crate) fn milestone_campaigns(program: &ProgramId) -> String {
    join(&["MILESTONES", program.as_str()])
}

impl Entity for Campaign {
    const TYPE: &'static str = "campaign";
    fn key(&self) -> Key {
        campaign_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let sk = self.id.as_str().to_owned();
        let mut keys = vec![IndexKey { index: GSI1, pk: campaigns_of(&self.account_id), sk: sk.clone() }];
        if self.status == CampaignStatus::Active && !self.deleting {
            match self.settings.trigger {
                Trigger::Segment { .. } => {}
                Trigger::Inactivity { .. } | Trigger::Birthday => {
                    keys.push(IndexKey { index: GSI2, pk: TIMED.to_owned(), sk });
                }
                Trigger::Milestone { .. } => {
                    let pk = milestone_campaigns(&self.settings.program_id);
                    keys.push(IndexKey { index: GSI2, pk, sk });
                }
            }
        }
        keys
    }
}

/// Name of the counter of redeemed codes that the messages of a campaign told.
pub const REDEEMED: &str = "redeemed";

/// Counters of a campaign's messages, counted by the projector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CampaignStats {
    /// All messages that were created.
    pub audience: u64,
    pub refused: u64,
    pub sent: u64,
    pub failed: u64,
    pub delivered: u64,
    pub read: u64,
    /// Redeemed codes that the messages told.
    pub redeemed: u64,
}

impl CampaignStats {
    pub fn key_of(id: &CampaignId) -> Key {
        Key::new(&["CAMP", id.as_str()], &["STATS"])
    }
}

/// Returns the partition of one shard of the messages of a campaign.
pub(crate) fn sends_partition(campaign: &CampaignId, shard: u8) -> String {
    join(&["SENDS", campaign.as_str(), &shard.to_string()])
}

pub fn send_key(id: &SendId) -> Key {
    Key { pk: sends_partition(&id.campaign(), list_shard(id.number())), sk: id.number().to_owned() }
}

/// Returns the index partition of messages that the scheduler has to look at again, in the order of that time.
pub(crate) fn due_partition(shard: u8) -> String {
    join(&["DUE", &shard.to_string()])
}

/// Returns the beginning of a sort key in [`due_partition`]. All messages that are due before this time sort before
/// the key.
pub(crate) fn due_at(at: Timestamp) -> String {
    format!("{:015}", at.as_millisecond())
}

impl Entity for Send {
    const TYPE: &'static str = "send";
    fn key(&self) -> Key {
        send_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let due = self.due_at.filter(|_| !self.status.is_final()).map(|at| IndexKey {
            index: GSI2,
            pk: due_partition(list_shard(self.id.number())),
            sk: join(&[&due_at(at), self.id.as_str()]),
        });
        due.into_iter().collect()
    }
}

/// Frequency cap of a customer: the last campaign message that the customer received. No other is sent within seven
/// days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    pub customer_id: CustomerId,
    pub send_id: SendId,
    pub at: Timestamp,
    /// Revision, made from the time, which distinguishes a cap from the next one.
    pub rev: u64,
}

impl Cap {
    pub fn of(send: &Send, now: Timestamp) -> Self {
        Self {
            customer_id: send.customer_id.clone(),
            send_id: send.id.clone(),
            at: now,
            rev: now.as_microsecond().unsigned_abs(),
        }
    }

    pub fn key_of(customer: &CustomerId) -> Key {
        Key::new(&["CUST", customer.as_str()], &["CAP"])
    }
}

impl Entity for Cap {
    const TYPE: &'static str = "cap";
    fn key(&self) -> Key {
        Self::key_of(&self.customer_id)
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + FREQUENCY_CAP)
    }
}

/// Account at Twilio, with its senders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwilioAccount {
    pub account_id: AccountId,
    /// Id of the account at Twilio: `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    pub auth_token: AuthToken,
    pub whatsapp_sender: Option<Phone>,
    pub sms_sender: Option<Phone>,
    /// Replies that stop messages, in addition to the built-in ones.
    #[serde(default, skip_serializing_if = "StopWords::is_empty")]
    pub stop_words: StopWords,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl TwilioAccount {
    pub fn key_of(account: &AccountId) -> Key {
        Key::new(&["ACCT", account.as_str()], &["TWILIO"])
    }

    /// Returns the sender for one of the addresses of the account.
    pub fn sender(&self, address: String) -> Sender {
        Sender::at_provider(&self.account_sid, self.auth_token.reveal(), address)
    }
}

impl Entity for TwilioAccount {
    const TYPE: &'static str = "twilio_account";
    fn key(&self) -> Key {
        Self::key_of(&self.account_id)
    }
}

/// Job of the campaigns family: work that outlasts a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    DeleteCampaign {
        campaign_id: CampaignId,
    },
    /// Job of the message sender: sends a message that was requested as a test.
    SendMessage {
        send_id: SendId,
    },
    /// Job of the campaign scheduler: starts a campaign that was activated or resumed.
    StartCampaign {
        campaign_id: CampaignId,
        run: u32,
    },
}

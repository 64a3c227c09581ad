//! Table items of referrals, ledger entries, rewards and clicks.

use domain::{id::SubscriberId, text::Word};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use table::{
    Entity, IndexKey, Key, REPLAYED_WITHIN, join,
    keys::{GSI1, GSI2},
    list_shard,
};

use crate::{
    id::{ClickId, ReferralId, WaitlistId},
    subscriber::{LedgerEntry, Referral, Reward},
};

pub fn referral_key(id: &ReferralId) -> Key {
    Key::new(&["REF", id.as_str()], &["META"])
}

pub fn referrals_of(referrer: &SubscriberId) -> String {
    join(&["REFERRER", referrer.as_str()])
}

pub(crate) fn referrals_partition(waitlist: &WaitlistId, flagged: bool, shard: u8) -> String {
    let flag = if flagged { "flagged" } else { "clear" };
    join(&["WLREFS", waitlist.as_str(), flag, &shard.to_string()])
}

impl Entity for Referral {
    const TYPE: &'static str = "referral";
    fn key(&self) -> Key {
        referral_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let id = self.id.as_str();
        let list = referrals_partition(&self.waitlist_id, self.assessment.is_flagged(), list_shard(id));
        vec![
            IndexKey { index: GSI1, pk: referrals_of(&self.referrer_id), sk: id.to_owned() },
            IndexKey { index: GSI2, pk: list, sk: id.to_owned() },
        ]
    }
}

pub fn ledger_partition(subscriber: &SubscriberId) -> String {
    join(&["LEDGER", subscriber.as_str()])
}

impl Entity for LedgerEntry {
    const TYPE: &'static str = "ledger_entry";
    fn key(&self) -> Key {
        Key { pk: ledger_partition(&self.subscriber_id), sk: self.id.as_str().to_owned() }
    }
}

/// Returns the partition and the sort-key prefix of a subscriber's rewards.
pub fn rewards_partition(subscriber: &SubscriberId) -> (String, &'static str) {
    (join(&["SUB", subscriber.as_str()]), "REWARD#")
}

impl Entity for Reward {
    const TYPE: &'static str = "reward";
    fn key(&self) -> Key {
        // The threshold identifies the tier, so a subscriber has at most one reward for each threshold.
        Key::new(&["SUB", self.subscriber_id.as_str()], &["REWARD", &format!("{:07}", self.tier.referrals)])
    }
}

/// Returns the key of the item that counts visits through a subscriber's referral link.
pub fn clicks_key(subscriber: &SubscriberId) -> Key {
    Key::new(&["SUB", subscriber.as_str()], &["CLICKS"])
}

/// A visit through a referral link. Kept for [`REPLAYED_WITHIN`], so that a replayed record counts nothing twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Click {
    pub id: ClickId,
    pub waitlist_id: WaitlistId,
    pub referrer_id: SubscriberId,
    pub source: Option<Word>,
    pub at: Timestamp,
}

impl Entity for Click {
    const TYPE: &'static str = "click";
    fn key(&self) -> Key {
        Key::new(&["CLICK", self.id.as_str()], &["META"])
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + REPLAYED_WITHIN)
    }
}

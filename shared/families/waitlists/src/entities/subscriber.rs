//! Table items of subscribers, of the claims on their addresses and referral codes, and of their standings and
//! entries in line.

use domain::{
    email::Email,
    id::{AccountId, SubscriberId},
    secret,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use table::{
    Entity, IndexKey, Key, REPLAYED_WITHIN, join,
    keys::{GSI1, GSI2},
    list_shard,
};

use crate::{
    id::WaitlistId,
    line::{Leaf, Place},
    referral_code::ReferralCode,
    subscriber::{Subscriber, SubscriberStatus},
};

pub fn core_partition(id: &SubscriberId) -> String {
    join(&["SUB", id.as_str()])
}

pub fn subscriber_key(id: &SubscriberId) -> Key {
    Key::new(&["SUB", id.as_str()], &["CORE", "META"])
}

pub fn standing_key(id: &SubscriberId) -> Key {
    Key::new(&["SUB", id.as_str()], &["CORE", "STANDING"])
}

pub(crate) fn subscribers_partition(waitlist: &WaitlistId, shard: u8) -> String {
    join(&["WLSUBS", waitlist.as_str(), &shard.to_string()])
}

pub(crate) fn hot_partition(waitlist: &WaitlistId, shard: u8) -> String {
    join(&["HOT", waitlist.as_str(), &shard.to_string()])
}

pub(crate) fn leaderboard_partition(waitlist: &WaitlistId) -> String {
    join(&["TOP", waitlist.as_str()])
}

impl Entity for Subscriber {
    const TYPE: &'static str = "subscriber";
    fn key(&self) -> Key {
        subscriber_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        vec![IndexKey {
            index: GSI1,
            pk: subscribers_partition(&self.waitlist_id, list_shard(self.id.as_str())),
            sk: self.id.as_str().to_owned(),
        }]
    }
}

/// Claim on an email address. Makes the address unique on its waitlist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailClaim {
    pub waitlist_id: WaitlistId,
    /// SHA-256 hash of the normalised address.
    pub hash: String,
    pub subscriber_id: SubscriberId,
}

impl EmailClaim {
    pub fn of(subscriber: &Subscriber) -> Self {
        Self {
            waitlist_id: subscriber.waitlist_id.clone(),
            hash: secret::sha256(subscriber.email.identity().as_bytes()),
            subscriber_id: subscriber.id.clone(),
        }
    }

    pub fn key_of(waitlist: &WaitlistId, email: &Email) -> Key {
        Key::new(&["EMAIL", waitlist.as_str(), &secret::sha256(email.identity().as_bytes())], &["META"])
    }
}

impl Entity for EmailClaim {
    const TYPE: &'static str = "email";
    fn key(&self) -> Key {
        Key::new(&["EMAIL", self.waitlist_id.as_str(), &self.hash], &["META"])
    }
}

/// Claim on a referral code. Makes the code unique and leads to its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeClaim {
    pub code: ReferralCode,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub subscriber_id: SubscriberId,
}

impl CodeClaim {
    pub fn of(subscriber: &Subscriber) -> Self {
        Self {
            code: subscriber.referral_code.clone(),
            account_id: subscriber.account_id.clone(),
            waitlist_id: subscriber.waitlist_id.clone(),
            subscriber_id: subscriber.id.clone(),
        }
    }

    pub fn key_of(code: &ReferralCode) -> Key {
        Key::new(&["CODE", code.as_str()], &["META"])
    }
}

impl Entity for CodeClaim {
    const TYPE: &'static str = "referral_code";
    fn key(&self) -> Key {
        Self::key_of(&self.code)
    }
}

/// Standing of a subscriber: the values that the projector has counted.
///
/// `rev` is the revision of the subscriber that was counted. Counting another revision is conditional on `rev`, so a
/// stream record that is replayed or arrives late changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub subscriber_id: SubscriberId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    /// Status of the subscriber; `None` after erasure.
    pub status: Option<SubscriberStatus>,
    pub number: Option<u64>,
    /// True if the subscriber holds a seat of a waitlist with a capacity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seated: bool,
    pub places: u64,
    pub referrals: u32,
    pub hot: f64,
    pub unsubscribed: bool,
    pub mail_requests: u32,
    /// Time at which the erasure was counted. The standing then stays for [`REPLAYED_WITHIN`] as a tombstone, so
    /// that no replayed record brings the subscriber back.
    pub erased_at: Option<Timestamp>,
    pub rev: u64,
}

impl Standing {
    pub fn of(subscriber: &Subscriber) -> Self {
        Self {
            subscriber_id: subscriber.id.clone(),
            account_id: subscriber.account_id.clone(),
            waitlist_id: subscriber.waitlist_id.clone(),
            status: Some(subscriber.status),
            number: subscriber.number,
            seated: subscriber.seated,
            places: subscriber.places,
            referrals: subscriber.referrals,
            hot: subscriber.hot(),
            unsubscribed: subscriber.unsubscribed_at.is_some(),
            mail_requests: subscriber.mail_requests,
            erased_at: None,
            rev: subscriber.rev,
        }
    }

    /// Returns the place of the subscriber's entry; `None` if the subscriber is not in line.
    pub fn place(&self) -> Option<Place> {
        (self.status == Some(SubscriberStatus::Active))
            .then_some(self.number)
            .flatten()
            .map(|number| Place::new(number, self.places))
    }
}

/// Returns a text for a score. The texts sort in descending order of the scores.
fn descending(score: f64) -> String {
    let bits = score.to_bits();
    let ascending = if score.is_sign_negative() { !bits } else { bits | (1 << 63) };
    format!("{:020}", !ascending)
}

impl Entity for Standing {
    const TYPE: &'static str = "standing";
    fn key(&self) -> Key {
        standing_key(&self.subscriber_id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let id = self.subscriber_id.as_str();
        let Some(status) = self.status else { return Vec::new() };
        let mut keys = Vec::new();
        if self.referrals > 0 {
            let rank = format!("{:010}#{id}", u32::MAX - self.referrals);
            keys.push(IndexKey { index: GSI1, pk: leaderboard_partition(&self.waitlist_id), sk: rank });
        }
        if status != SubscriberStatus::Pending {
            let pk = hot_partition(&self.waitlist_id, list_shard(id));
            keys.push(IndexKey { index: GSI2, pk, sk: format!("{}#{id}", descending(self.hot)) });
        }
        keys
    }
    fn expires(&self) -> Option<Timestamp> {
        self.erased_at.map(|at| at + REPLAYED_WITHIN)
    }
}

/// Entry of a subscriber in a leaf of the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineEntry {
    pub waitlist_id: WaitlistId,
    pub subscriber_id: SubscriberId,
    pub number: u64,
    pub places: u64,
}

impl LineEntry {
    pub fn key_of(waitlist: &WaitlistId, place: Place) -> Key {
        Key { pk: leaf_partition(waitlist, place.leaf()), sk: place.sort_key() }
    }
}

impl Entity for LineEntry {
    const TYPE: &'static str = "line_entry";
    fn key(&self) -> Key {
        Self::key_of(&self.waitlist_id, Place::new(self.number, self.places))
    }
}

pub fn leaf_partition(waitlist: &WaitlistId, leaf: Leaf) -> String {
    join(&["LINE", waitlist.as_str(), &format!("{:03}", leaf.branch), &format!("{:03}", leaf.leaf)])
}

/// Returns the key of the root's counters `f1`…`f128`, a Fenwick tree over the numbers of entries under each branch.
pub fn line_root_key(waitlist: &WaitlistId) -> Key {
    Key::new(&["LINE", waitlist.as_str()], &["ROOT"])
}

/// Returns the key of a branch's counters `f1`…`f128`, a Fenwick tree over the numbers of entries in each leaf.
pub fn line_branch_key(waitlist: &WaitlistId, branch: u16) -> Key {
    Key::new(&["LINE", waitlist.as_str(), &format!("{branch:03}")], &["BRANCH"])
}

#[cfg(test)]
mod tests {
    use super::descending;

    #[test]
    fn scores_sort_highest_first() {
        let scores = [300.5, 2.0, 1.999, 0.0, -0.5, -300.0];
        assert!(scores.map(descending).is_sorted());
    }
}

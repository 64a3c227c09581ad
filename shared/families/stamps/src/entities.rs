//! Stored items of stamp cards: programs, customers, cards, stamps and card rewards.
//!
//! The items of one customer are in two partitions. The visits of that one customer bound the writes to them.

use domain::{
    id::{AccountId, CustomerId, ProgramId},
    phone::Phone,
    secret::SigningKey,
};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, join, keys::GSI1, list_shard};

use crate::{
    customer::Customer,
    id::{CardRewardId, StampId},
    stamp::{Card, CardReward, InactivityDays, Month, Program, Stamp},
};

pub fn program_key(id: &ProgramId) -> Key {
    Key::new(&["PROG", id.as_str()], &["META"])
}

pub(crate) fn programs_of(account: &AccountId) -> String {
    join(&["ACCTPROGS", account.as_str()])
}

impl Entity for Program {
    const TYPE: &'static str = "program";
    fn key(&self) -> Key {
        program_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        vec![IndexKey { index: GSI1, pk: programs_of(&self.account_id), sk: self.id.as_str().to_owned() }]
    }
}

/// Totals of a program since it was created, counted by the projector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramStats {
    pub customers: u64,
    pub visits: u64,
    pub stamps: u64,
    pub rewards_issued: u64,
    pub rewards_redeemed: u64,
}

impl ProgramStats {
    pub fn key_of(id: &ProgramId) -> Key {
        Key::new(&["PROG", id.as_str()], &["STATS"])
    }
}

pub(crate) fn program_partition(id: &ProgramId) -> String {
    join(&["PROG", id.as_str()])
}

/// Beginning of the sort keys of a program's months.
pub(crate) const MONTHS: &str = "MONTH#";

/// Returns the key of the counters of one month of a program, see [`crate::programs::ProgramMonth`].
pub fn program_month_key(id: &ProgramId, month: Month) -> Key {
    Key::new(&["PROG", id.as_str()], &["MONTH", &month.to_string()])
}

pub fn customer_key(id: &CustomerId) -> Key {
    Key::new(&["CUST", id.as_str()], &["META"])
}

pub fn customer_partition(id: &CustomerId) -> String {
    join(&["CUST", id.as_str()])
}

impl Entity for Customer {
    const TYPE: &'static str = "customer";
    fn key(&self) -> Key {
        customer_key(&self.id)
    }
}

/// Claim on a phone number, which makes the number unique in its account. The claim is stored under the identity
/// that all forms of the number share. Claims from before numbers had an identity are stored under the form that
/// was typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneClaim {
    pub account_id: AccountId,
    /// Pseudonym of the number. A plain hash would not hide the number: there are few enough phone numbers to try
    /// all of them.
    pub hash: String,
    pub customer_id: CustomerId,
}

impl PhoneClaim {
    pub fn of(key: &SigningKey, customer: &Customer) -> Self {
        Self {
            account_id: customer.account_id.clone(),
            hash: key.pseudonym("phone", &customer.phone.identity()),
            customer_id: customer.id.clone(),
        }
    }

    /// Returns all keys under which claims on this number may be stored, whenever they were made.
    pub(crate) fn keys_of(key: &SigningKey, account: &AccountId, phone: &Phone) -> Vec<Key> {
        let hashes = phone.spellings().into_iter().map(|spelling| key.pseudonym("phone", &spelling));
        hashes.map(|hash| Key::new(&["PHONE", account.as_str(), &hash], &["META"])).collect()
    }
}

impl Entity for PhoneClaim {
    const TYPE: &'static str = "phone";
    fn key(&self) -> Key {
        Key::new(&["PHONE", self.account_id.as_str(), &self.hash], &["META"])
    }
}

pub fn card_key(customer: &CustomerId, program: &ProgramId) -> Key {
    Key::new(&["CUST", customer.as_str()], &["CARD", program.as_str()])
}

/// Beginning of the sort keys of a customer's rewards.
pub(crate) const REWARDS: &str = "REWARD#";

pub fn program_customers(program: &ProgramId, shard: u8) -> String {
    join(&["PROGCUSTS", program.as_str(), &shard.to_string()])
}

impl Entity for Card {
    const TYPE: &'static str = "card";
    fn key(&self) -> Key {
        card_key(&self.customer_id, &self.program_id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let customer = self.customer_id.as_str();
        let pk = program_customers(&self.program_id, list_shard(customer));
        vec![IndexKey { index: GSI1, pk, sk: customer.to_owned() }]
    }
}

/// Returns the partition of a customer's stamps of all programs, in the order in which the stamps were taken.
pub(crate) fn stamps_partition(customer: &CustomerId) -> String {
    join(&["STAMPS", customer.as_str()])
}

pub fn stamp_key(id: &StampId) -> Key {
    Key { pk: stamps_partition(&id.customer()), sk: id.number().to_owned() }
}

impl Entity for Stamp {
    const TYPE: &'static str = "stamp";
    fn key(&self) -> Key {
        stamp_key(&self.id)
    }
}

pub fn card_reward_key(id: &CardRewardId) -> Key {
    Key { pk: customer_partition(&id.customer()), sk: format!("{REWARDS}{}", id.number()) }
}

impl Entity for CardReward {
    const TYPE: &'static str = "card_reward";
    fn key(&self) -> Key {
        card_reward_key(&self.id)
    }
}

/// Proof of a visit that counts only once: a QR code that a customer showed, or the number of a stamp that a till
/// took offline. Kept for 90 days, which is longer than either is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitProof {
    pub customer_id: CustomerId,
    /// SHA-256 hash of the proof, e.g. of `token:…` or `till:…`.
    pub fact: String,
    pub stamp_id: StampId,
    pub at: Timestamp,
}

impl VisitProof {
    pub fn key_of(customer: &CustomerId, fact: &str) -> Key {
        Key::new(&["CUST", customer.as_str()], &["ONCE", fact])
    }
}

impl Entity for VisitProof {
    const TYPE: &'static str = "once";
    fn key(&self) -> Key {
        Self::key_of(&self.customer_id, &self.fact)
    }
    fn expires(&self) -> Option<Timestamp> {
        Some(self.at + (90 * 24).hours())
    }
}

/// Job of the stamps family: work that outlasts a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    DeleteProgram {
        program_id: ProgramId,
    },
    /// Recalculates from when the customers of a program are at risk, after its `inactivity_days` changed. Begins
    /// after the cursor `after`. Stops if the setting has changed again. With `again`, the job runs a second time
    /// after a pause, because tills may still use the old setting.
    WatchCards {
        program_id: ProgramId,
        inactivity_days: InactivityDays,
        after: Option<String>,
        again: bool,
    },
    /// Removes everything that an erased customer had: cards, stamps and rewards.
    EraseCustomer {
        customer_id: CustomerId,
    },
}

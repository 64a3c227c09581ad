//! Storage of stamps and card rewards: giving, voiding and redeeming.
//!
//! A card changes only on condition that its revision is the one that was read, in one transaction with the stamp,
//! the rewards and the proof that counts once. So the card always equals its ledger, even if several tills stamp at
//! the same time.

use accounts::entities::{AccountSigning, AuditEntry};
use domain::{
    id::{AccountId, CustomerId, ProgramId},
    secret::{self, SigningKey},
};
use jiff::{SignedDuration, Timestamp};
use table::{
    Commit, CommitError, Cursor, Page, Query, Range, Table, TableError,
    lookup::{Lookup, Wanted, one},
};

use crate::{
    customer::Customer,
    customers,
    entities::{
        REWARDS, VisitProof, card_key, card_reward_key, customer_key, customer_partition, program_key,
        stamp_key, stamps_partition,
    },
    id::{CardRewardId, StampId},
    patterns,
    stamp::{Card, CardReward, CardRewardStatus, Program, Stamp, StampCount, StampStatus, Withdrawal},
};

/// Items that a visit depends on: the program, the customer and the card.
pub struct Till {
    pub signing: SigningKey,
    pub program: Program,
    pub customer: Customer,
    /// Card of the customer; `None` if the customer is not enrolled in the program.
    pub card: Option<Card>,
}

/// Lookup of what a visit depends on. Finds `None` unless the program and the customer belong to the account, or if the
/// program is being deleted.
pub fn till(
    account: &AccountId,
    program: &ProgramId,
    customer: &CustomerId,
) -> Lookup<impl Wanted<Found = Option<Till>> + use<>> {
    let wanted = (
        one::<AccountSigning>(AccountSigning::key_of(account)),
        one::<Program>(program_key(program)),
        one::<Customer>(customer_key(customer)),
        one::<Card>(card_key(customer, program)),
    );
    let account = account.clone();
    Lookup::new(&patterns::TILL, wanted).map(move |(signing, program, customer, card)| {
        let (signing, program, customer) = (signing?, program?, customer?);
        let own = program.account_id == account && customer.account_id == account && !program.deleting;
        own.then_some(Till { signing: signing.signing_key, program, customer, card })
    })
}

/// Reads the customer's valid stamps of a program that were taken within this duration before or after a time.
pub async fn around(
    table: &Table,
    customer: &CustomerId,
    program: &ProgramId,
    at: Timestamp,
    within: SignedDuration,
) -> Result<Vec<Stamp>, TableError> {
    // The first ten characters of an id's number are its time. They bound the ids of all stamps between the two times.
    let bound = |at: Timestamp| StampId::new(customer, at).number()[..10].to_owned();
    let query = Query {
        range: Range::Between(bound(at - within), format!("{}~", bound(at + within))),
        consistent: true,
        ..Query::partition(stamps_partition(customer))
    };
    let found: Vec<Stamp> = table.query(&patterns::STAMPS, query).await?;
    Ok(found.into_iter().filter(|stamp| counts(stamp, program)).collect())
}

fn counts(stamp: &Stamp, program: &ProgramId) -> bool {
    stamp.program_id == *program && stamp.status == StampStatus::Valid
}

/// Stamps to be given for a visit.
pub struct Visit {
    pub count: StampCount,
    pub taken_at: Timestamp,
    pub given_by: String,
    /// Proof that counts only once: a QR code, or the number that the till gave the stamp.
    pub once: Option<String>,
    pub now: Timestamp,
}

/// Result of a visit: the stamp, the changed card and the rewards that the visit earns.
pub struct Given {
    pub stamp: Stamp,
    pub card: Card,
    pub rewards: Vec<CardReward>,
}

/// Returns the result of a visit, with the writes that give the stamps. The label `card` fails if the card has
/// changed meanwhile. The label `once` fails if the proof was used before.
pub fn give(program: &Program, card: &Card, visit: Visit) -> (Given, Commit) {
    let Visit { count, taken_at, given_by, once, now } = visit;
    let settings = &program.settings;
    let stamp = Stamp {
        id: StampId::new(&card.customer_id, taken_at),
        account_id: card.account_id.clone(),
        program_id: card.program_id.clone(),
        customer_id: card.customer_id.clone(),
        count: count.get(),
        status: StampStatus::Valid,
        taken_at,
        recorded_at: now,
        given_by,
        voided_at: None,
        rev: 1,
    };
    let (after, filled) = card.stamped(count, taken_at, settings);
    let after = Card { updated_at: now, ..after };
    let valid_for =
        settings.reward_valid_days.map(|days| SignedDuration::from_hours(24 * i64::from(days.get())));
    let rewards: Vec<_> = (0..filled)
        .map(|_| CardReward {
            id: CardRewardId::new(&card.customer_id, now),
            account_id: card.account_id.clone(),
            program_id: card.program_id.clone(),
            customer_id: card.customer_id.clone(),
            reward: settings.reward.clone(),
            stamps: settings.stamps_required.get(),
            status: CardRewardStatus::Issued,
            issued_at: now,
            expires_at: valid_for.map(|valid| now + valid),
            redeemed_at: None,
            withdrawn_at: None,
            rev: 1,
        })
        .collect();
    let mut commit =
        Commit::new(&patterns::STAMP_WRITE).replace("card", &after, card.rev).create("stamp", &stamp);
    for reward in &rewards {
        commit = commit.create("reward", reward);
    }
    if let Some(once) = once {
        let once = VisitProof {
            customer_id: card.customer_id.clone(),
            fact: secret::sha256(once.as_bytes()),
            stamp_id: stamp.id.clone(),
            at: now,
        };
        commit = commit.create("once", &once);
    }
    (Given { stamp, card: after, rewards }, commit)
}

/// Adds to the writes of a visit that the visit confirms the data that a web page gave about the customer. The
/// label `customer` fails if the customer has changed meanwhile.
pub fn confirming(visit: Commit, customer: &Customer, seen: &Customer, audit: &AuditEntry) -> Commit {
    visit.replace("customer", seen, customer.rev).create("audit", audit)
}

/// Returns the stamp for which a proof that counts once was used.
pub async fn used_for(
    table: &Table,
    customer: &CustomerId,
    once: &str,
) -> Result<Option<StampId>, TableError> {
    let key = VisitProof::key_of(customer, &secret::sha256(once.as_bytes()));
    let found: Option<VisitProof> = table.get(&patterns::ONCE, &key).await?;
    Ok(found.map(|once| once.stamp_id))
}

/// Reads a stamp of this account. Returns `None` for a stamp of another account.
pub async fn read(table: &Table, account: &AccountId, id: &StampId) -> Result<Option<Stamp>, TableError> {
    let stamp: Option<Stamp> = table.get(&patterns::STAMP, &stamp_key(id)).await?;
    Ok(stamp.filter(|stamp| stamp.account_id == *account))
}

/// Outcome of the preparation to void a stamp.
#[must_use]
pub enum Voiding {
    /// Voided stamp, with the writes. The labels `card`, `stamp` and `reward` fail if that item has changed
    /// meanwhile.
    Possible(Box<Stamp>, Commit),
    /// The stamps were spent on rewards that cannot be withdrawn.
    Spent,
    /// The card has changed meanwhile. The caller retries.
    Overtaken,
}

/// Prepares the writes that void a stamp.
///
/// # Errors
/// When the table is unavailable.
pub async fn void(
    table: &Table,
    program: &Program,
    card: &Card,
    stamp: &Stamp,
    now: Timestamp,
) -> Result<Voiding, TableError> {
    let customer = &card.customer_id;
    let query = Query { consistent: true, ..Query::partition(stamps_partition(customer)) };
    let stamps: Vec<Stamp> = table.query(&patterns::STAMPS, query).await?;
    let others = stamps.iter().filter(|other| counts(other, &card.program_id) && other.id != stamp.id);
    let times: Vec<Timestamp> = others.map(|other| other.taken_at).collect();
    let unredeemed: Vec<CardReward> = rewards(table, customer)
        .await?
        .into_iter()
        .filter(|reward| reward.program_id == card.program_id && reward.is_redeemable(now))
        .collect();
    let prices: Vec<u32> = unredeemed.iter().map(|reward| reward.stamps).collect();
    let (after, withdrawal) = card.voided(stamp, &times, &prices, &program.settings);
    let withdrawn = match withdrawal {
        Withdrawal::None => 0,
        Withdrawal::Rewards(count) => count,
        Withdrawal::Spent => {
            // The rewards were read after the card. They belong to the card that was read only if the card is
            // unchanged.
            let now = customers::card(table, customer, &card.program_id).await?;
            let same = now.is_some_and(|now| now.rev == card.rev);
            return Ok(if same { Voiding::Spent } else { Voiding::Overtaken });
        }
    };
    let voided =
        Stamp { status: StampStatus::Voided, voided_at: Some(now), rev: stamp.rev + 1, ..stamp.clone() };
    let after = Card { updated_at: now, ..after };
    let mut commit = Commit::new(&patterns::STAMP_WRITE)
        .replace("card", &after, card.rev)
        .replace("stamp", &voided, stamp.rev);
    for reward in unredeemed.into_iter().take(withdrawn) {
        let gone = CardReward {
            status: CardRewardStatus::Withdrawn,
            withdrawn_at: Some(now),
            rev: reward.rev + 1,
            ..reward.clone()
        };
        commit = commit.replace("reward", &gone, reward.rev);
    }
    Ok(Voiding::Possible(Box::new(voided), commit))
}

/// Reads a page of a customer's stamps of all programs, newest first.
pub async fn list(
    table: &Table,
    customer: &CustomerId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Stamp>, TableError> {
    table.page(&patterns::STAMPS, &[stamps_partition(customer)], true, after, limit).await
}

/// Reads a customer's rewards of all programs, newest first.
pub async fn rewards(table: &Table, customer: &CustomerId) -> Result<Vec<CardReward>, TableError> {
    let query = Query {
        range: Range::BeginsWith(REWARDS.to_owned()),
        consistent: true,
        newest_first: true,
        ..Query::partition(customer_partition(customer))
    };
    table.query(&patterns::CARD_REWARDS, query).await
}

/// Reads a reward of this account. Returns `None` for a reward of another account.
pub async fn reward(
    table: &Table,
    account: &AccountId,
    id: &CardRewardId,
) -> Result<Option<CardReward>, TableError> {
    let reward: Option<CardReward> = table.get(&patterns::CARD_REWARD, &card_reward_key(id)).await?;
    Ok(reward.filter(|reward| reward.account_id == *account))
}

/// Returns the writes that redeem a reward. The label `reward` fails if the reward has changed meanwhile.
pub fn redeem(reward: &CardReward, now: Timestamp) -> (CardReward, Commit) {
    let redeemed = CardReward {
        status: CardRewardStatus::Redeemed,
        redeemed_at: Some(now),
        rev: reward.rev + 1,
        ..reward.clone()
    };
    let commit = Commit::new(&patterns::CARD_REWARD_WRITE).replace("reward", &redeemed, reward.rev);
    (redeemed, commit)
}

/// Returns an empty commit, for a request that only stores its answer.
pub fn unchanged() -> Commit {
    Commit::new(&patterns::STAMP_WRITE)
}

/// Returns true if a stamp was not given because its proof was used before.
pub fn is_used(error: &CommitError) -> bool {
    error.failed("once").is_some()
}

//! Joining, reading, changing and erasing subscribers.

use std::collections::HashMap;

use accounts::entities::{Account, AccountSigning, AuditEntry};
use domain::{
    email::Email,
    id::{AccountId, SubscriberId},
};
use jiff::{Timestamp, ToSpan};
use table::{
    Commit, CommitError, Cursor, Entity, Item, Key, LIST_SHARDS, Page, Query, Range, Table, TableError,
    counters::counters_of,
};

use crate::{
    entities::{
        CodeClaim, EmailClaim, Standing, core_partition, hot_partition, line_left_key, line_numbers_key,
        referral_key, subscriber_key, subscribers_partition, waitlist_key,
    },
    id::{ReferralId, WaitlistId},
    patterns,
    positions::{self, Position},
    referral_code::ReferralCode,
    seats::{self, Seat, Seats as _},
    subscriber::{Referral, ReferralStatus, Subscriber},
    waitlist::Waitlist,
};

/// All that an answer to "may I join?" depends on, read at once.
pub struct JoinContext {
    pub account: Account,
    pub signing: AccountSigning,
    pub waitlist: Waitlist,
    /// Who already joined with this address.
    pub existing: Option<SubscriberId>,
    /// Whose code was given, when it is one of this waitlist.
    pub referrer: Option<SubscriberId>,
    left: u64,
}

/// Reads the context of a join; `None` when the account has no such waitlist.
pub async fn join_context(
    table: &Table,
    account: &AccountId,
    waitlist: &WaitlistId,
    email: &Email,
    code: Option<&ReferralCode>,
) -> Result<Option<JoinContext>, TableError> {
    let account_key = Account::key_of(account);
    let signing_key = AccountSigning::key_of(account);
    let list_key = waitlist_key(waitlist);
    let left_key = line_left_key(waitlist);
    let email_key = EmailClaim::key_of(waitlist, email);
    let code_key = code.map(CodeClaim::key_of);
    let keys: Vec<Key> = [&account_key, &signing_key, &list_key, &left_key, &email_key]
        .into_iter()
        .chain(&code_key)
        .cloned()
        .collect();
    let mut found = table.batch_get(&patterns::JOIN_CONTEXT, &keys).await?;
    let (Some(owner), Some(signing), Some(list)) =
        (found.remove(&account_key), found.remove(&signing_key), found.remove(&list_key))
    else {
        return Ok(None);
    };
    let list = Waitlist::from_item(list)?;
    if list.account_id != *account {
        return Ok(None);
    }
    let existing = found.remove(&email_key).map(EmailClaim::from_item).transpose()?;
    let owner_of_code = code_key.and_then(|key| found.remove(&key)).map(CodeClaim::from_item).transpose()?;
    let left = found.get(&left_key).map(counters_of).unwrap_or_default();
    Ok(Some(JoinContext {
        account: Account::from_item(owner)?,
        signing: AccountSigning::from_item(signing)?,
        waitlist: list,
        existing: existing.map(|claim| claim.subscriber_id),
        referrer: owner_of_code
            .filter(|claim| claim.waitlist_id == *waitlist)
            .map(|claim| claim.subscriber_id),
        left: natural(&left, "left"),
    }))
}

fn natural(counters: &HashMap<String, i64>, name: &str) -> u64 {
    counters.get(name).and_then(|count| u64::try_from(*count).ok()).unwrap_or_default()
}

/// Takes the next number in line.
pub async fn take_number(table: &Table, waitlist: &WaitlistId) -> Result<u64, TableError> {
    table.next_number(&patterns::LINE_NUMBER, &line_numbers_key(waitlist), "entered").await
}

impl JoinContext {
    /// Where a number stands as long as nobody moves.
    pub fn position_of(&self, number: u64) -> Position {
        let position = number.saturating_sub(self.left).max(1);
        Position { position, total: position }
    }
}

/// Gives up a number at which certainly nobody will stand.
pub async fn waste_number(table: &Table, waitlist: &WaitlistId) -> Result<(), CommitError> {
    Commit::new(&patterns::LINE_NUMBER_WASTE)
        .add("left", &line_left_key(waitlist), &[("left", 1)])
        .apply(table)
        .await
}

/// The writes that add a subscriber, and the referral that brought it.
/// What it means when they are refused, [`JoinRefusal`] says.
///
/// The waitlist is not part of the transaction: checking one item in every join
/// would make all joins conflict. Who joins while it is being deleted is erased by
/// the deletion's last pass.
pub fn join(subscriber: &Subscriber, referral: Option<&Referral>, seat: Option<Seat>) -> Commit {
    let commit = Commit::new(&patterns::JOIN)
        .create("subscriber", subscriber)
        .create("email", &EmailClaim::of(subscriber))
        .create("code", &CodeClaim::of(subscriber))
        .seat(&subscriber.waitlist_id, seat);
    match referral {
        Some(referral) => commit.create("referral", referral),
        None => commit,
    }
}

/// The writes of a join with a known address: as many as of one with a new address, and of the same kind. The label
/// `subscriber` fails when the subscriber, who asks for a mail, is no longer as it was read.
pub fn join_again(asking: Option<&Subscriber>, rev: u64, referred: bool) -> Commit {
    let commit = Commit::new(&patterns::JOIN);
    let commit = match asking {
        Some(subscriber) => commit.replace("subscriber", subscriber, rev),
        None => commit,
    };
    commit.filled(3 + usize::from(referred))
}

/// A subscriber and what the projector has counted of it.
pub struct Found {
    pub subscriber: Subscriber,
    pub standing: Option<Standing>,
}

/// One subscriber of the account, with its standing.
pub async fn read(
    table: &Table,
    account: &AccountId,
    id: &SubscriberId,
) -> Result<Option<Found>, TableError> {
    let query = Query {
        range: Range::BeginsWith("CORE#".to_owned()),
        consistent: true,
        ..Query::partition(core_partition(id))
    };
    let (mut subscriber, mut standing) = (None, None);
    for item in table.query_items(&patterns::SUBSCRIBER, query).await? {
        if Subscriber::is(&item) {
            subscriber = Some(Subscriber::from_item(item)?);
        } else {
            standing = Some(Standing::from_item(item)?);
        }
    }
    Ok(subscriber
        .filter(|subscriber| subscriber.account_id == *account)
        .map(|subscriber| Found { subscriber, standing }))
}

impl Found {
    /// Where the subscriber stands; `None` when it isn't in line.
    ///
    /// Whoever has just entered the line stands at its end, also before the projector has seen it.
    pub async fn position(&self, table: &Table) -> Result<Option<Position>, TableError> {
        let counted = self.standing.as_ref().filter(|standing| standing.place().is_some());
        match (counted, self.subscriber.number) {
            _ if self.subscriber.place().is_none() => Ok(None),
            (Some(standing), _) => positions::position(table, standing).await,
            (None, None) => Ok(None),
            (None, Some(number)) => {
                let key = line_left_key(&self.subscriber.waitlist_id);
                let left = table.counters(&patterns::LINE_LEFT, &key).await?;
                let position = number.saturating_sub(natural(&left, "left")).max(1);
                Ok(Some(Position { position, total: position }))
            }
        }
    }
}

/// A page of one shard of the waitlist's subscribers: for work on all of them.
pub async fn list_shard(
    table: &Table,
    waitlist: &WaitlistId,
    shard: u8,
    after: Option<SubscriberId>,
    limit: usize,
) -> Result<Vec<Subscriber>, TableError> {
    let query = Query {
        range: after.map_or(Range::All, |id| Range::After(id.as_str().to_owned())),
        limit: Some(limit),
        ..Query::partition(subscribers_partition(waitlist, shard))
    };
    table.query(&patterns::SUBSCRIBERS, query).await
}

/// One subscriber, whosever it is: for the platform's own work.
pub async fn find(table: &Table, id: &SubscriberId) -> Result<Option<Subscriber>, TableError> {
    table.get(&patterns::SUBSCRIBER_ALONE, &subscriber_key(id)).await
}

/// Who joined the waitlist with this address.
pub async fn by_email(
    table: &Table,
    waitlist: &WaitlistId,
    email: &Email,
) -> Result<Option<SubscriberId>, TableError> {
    let claim: Option<EmailClaim> =
        table.get(&patterns::SUBSCRIBER_BY_EMAIL, &EmailClaim::key_of(waitlist, email)).await?;
    Ok(claim.map(|claim| claim.subscriber_id))
}

/// These subscribers, in the order asked for; those that are gone are left out.
pub async fn batch(table: &Table, ids: &[SubscriberId]) -> Result<Vec<Subscriber>, TableError> {
    let keys: Vec<_> = ids.iter().map(subscriber_key).collect();
    let mut found = table.batch_get(&patterns::SUBSCRIBER_BATCH, &keys).await?;
    keys.iter().filter_map(|key| found.remove(key)).map(Subscriber::from_item).collect()
}

/// The writes that change several subscribers, each over the revision before its own; at most 99.
pub fn update_all(subscribers: &[Subscriber]) -> Commit {
    subscribers.iter().fold(Commit::new(&patterns::SUBSCRIBER_WRITE), |commit, subscriber| {
        commit.replace("subscriber", subscriber, subscriber.rev - 1)
    })
}

/// The writes that change the subscriber read at `rev`.
pub fn update(subscriber: &Subscriber, rev: u64) -> Commit {
    Commit::new(&patterns::SUBSCRIBER_WRITE).replace("subscriber", subscriber, rev)
}

/// The writes that bring a pending subscriber in line, and confirm the referral that brought it.
pub fn verify(subscriber: &Subscriber, rev: u64, referral: Option<&Referral>, seat: Option<Seat>) -> Commit {
    let commit = update(subscriber, rev).seat(&subscriber.waitlist_id, seat);
    match referral {
        Some(referral) if referral.status == ReferralStatus::Pending => {
            let confirmed =
                Referral { status: ReferralStatus::Confirmed, rev: referral.rev + 1, ..referral.clone() };
            commit.replace("referral", &confirmed, referral.rev)
        }
        _ => commit,
    }
}

/// What returning adds to a commit.
pub trait Returning {
    /// Notes that a subscriber who had unsubscribed agreed to get mail again.
    fn returning(self, subscriber: &Subscriber) -> Self;
}

impl Returning for Commit {
    fn returning(self, subscriber: &Subscriber) -> Self {
        let Subscriber { id, account_id, consent, .. } = subscriber;
        let audit =
            AuditEntry::new(account_id, id.as_str(), "subscriber.resubscribed", id.as_str(), consent.at);
        self.create("audit", &audit)
    }
}

/// One referral, whosever it is.
pub async fn referral(table: &Table, id: &ReferralId) -> Result<Option<Referral>, TableError> {
    table.get(&patterns::REFERRAL, &referral_key(id)).await
}

/// A page of the waitlist's subscribers, oldest first.
pub async fn list(
    table: &Table,
    waitlist: &WaitlistId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Subscriber>, TableError> {
    let partitions = (0..LIST_SHARDS).map(|shard| subscribers_partition(waitlist, shard));
    table.page(&patterns::SUBSCRIBERS, &partitions.collect::<Vec<_>>(), false, after, limit).await
}

/// A page of the waitlist's verified subscribers, hottest first.
pub async fn list_hot(
    table: &Table,
    waitlist: &WaitlistId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Subscriber>, TableError> {
    let partitions = (0..LIST_SHARDS).map(|shard| hot_partition(waitlist, shard)).collect::<Vec<_>>();
    let page: Page<Standing> =
        table.page(&patterns::SUBSCRIBERS_HOT, &partitions, false, after, limit).await?;
    let ids: Vec<_> = page.data.into_iter().map(|standing| standing.subscriber_id).collect();
    Ok(Page { data: batch(table, &ids).await?, next: page.next })
}

/// How long after one mail another may be asked for without being signed in.
pub fn may_mail_again(subscriber: &Subscriber, now: Timestamp) -> bool {
    subscriber.mail_requested_at.is_none_or(|at| at + 10.minutes() <= now)
}

/// Whether somebody who unsubscribed may be asked by mail to confirm a return: once a day, since anybody may type
/// anybody's address.
pub fn may_ask_to_return(subscriber: &Subscriber, now: Timestamp) -> bool {
    subscriber.return_requested_at.is_none_or(|at| at + 24.hours() <= now)
}

/// Why a join was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// The address has an entry by now, or its entry has changed.
    Known,
    /// The referral code is another entry's: draw another one.
    CodeTaken,
    SeatTaken,
}

impl JoinRefusal {
    pub fn of(error: &CommitError) -> Option<Self> {
        let failed = |label| error.failed(label).is_some();
        if failed("email") || failed("subscriber") {
            Some(Self::Known)
        } else if failed("code") {
            Some(Self::CodeTaken)
        } else {
            failed(seats::LABEL).then_some(Self::SeatTaken)
        }
    }
}

/// The writes of a request to join that changes nothing: there is an answer to remember.
pub fn unchanged() -> Commit {
    Commit::new(&patterns::JOIN)
}

trait Is {
    fn is(item: &Item) -> bool;
}

impl<E: Entity> Is for E {
    fn is(item: &Item) -> bool {
        item.get(table::keys::TYPE).and_then(|value| value.as_s().ok()).is_some_and(|found| found == E::TYPE)
    }
}

//! Joining, reading and changing subscribers.

use std::collections::HashMap;

use accounts::entities::{Account, AccountSigning, AuditEntry};
use domain::{
    email::Email,
    id::{AccountId, SubscriberId},
};
use jiff::{Timestamp, ToSpan};
use table::{
    Commit, CommitError, Cursor, Entity, Item, LIST_SHARDS, Page, Query, Range, Table, TableError,
    lookup::{Lookup, Wanted, counters, one},
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

/// Everything that a join depends on, read in one call.
pub struct JoinContext {
    pub account: Account,
    pub signing: AccountSigning,
    pub waitlist: Waitlist,
    /// Subscriber who already joined with this address.
    pub existing: Option<SubscriberId>,
    /// Owner of the given referral code; `None` if the code does not belong to this waitlist.
    pub referrer: Option<SubscriberId>,
    /// Number of taken numbers without an entry in line.
    left: u64,
}

/// Lookup of what a join depends on. Finds `None` if the account has no such waitlist.
pub fn join_context(
    account: &AccountId,
    waitlist: &WaitlistId,
    email: &Email,
    code: Option<&ReferralCode>,
) -> Lookup<impl Wanted<Found = Option<JoinContext>> + use<>> {
    let wanted = (
        one::<Account>(Account::key_of(account)),
        one::<AccountSigning>(AccountSigning::key_of(account)),
        one::<Waitlist>(waitlist_key(waitlist)),
        counters(line_left_key(waitlist)),
        one::<EmailClaim>(EmailClaim::key_of(waitlist, email)),
        code.map(|code| one::<CodeClaim>(CodeClaim::key_of(code))),
    );
    Lookup::new(&patterns::JOIN_CONTEXT, wanted).map(|(account, signing, waitlist, left, email, code)| {
        let (account, signing, waitlist) = (account?, signing?, waitlist?);
        let referrer =
            code.flatten().filter(|code| code.waitlist_id == waitlist.id).map(|code| code.subscriber_id);
        let own = waitlist.account_id == account.id;
        own.then_some(JoinContext {
            account,
            signing,
            waitlist,
            existing: email.map(|claim| claim.subscriber_id),
            referrer,
            left: natural(&left, "left"),
        })
    })
}

fn natural(counters: &HashMap<String, i64>, name: &str) -> u64 {
    counters.get(name).and_then(|count| u64::try_from(*count).ok()).unwrap_or_default()
}

/// Takes the next number in line.
pub async fn take_number(table: &Table, waitlist: &WaitlistId) -> Result<u64, TableError> {
    table.next_number(&patterns::LINE_NUMBER, &line_numbers_key(waitlist), "entered").await
}

impl JoinContext {
    /// Returns the position of a new entry with this number: at the end of the line, if no entry moves in the
    /// meantime.
    pub fn position_of(&self, number: u64) -> Position {
        let position = number.saturating_sub(self.left).max(1);
        Position { position, total: position }
    }
}

/// Records that a number stays unused. Only for a number whose join has certainly not been written.
pub async fn waste_number(table: &Table, waitlist: &WaitlistId) -> Result<(), CommitError> {
    Commit::new(&patterns::LINE_NUMBER_WASTE)
        .add("left", &line_left_key(waitlist), &[("left", 1)])
        .apply(table)
        .await
}

/// Returns the writes that add a subscriber, the referral through which it joined, and a taken seat. [`JoinRefusal`]
/// tells which of them failed.
///
/// The waitlist is not part of the transaction: a condition on the same item in every join would make all joins
/// conflict. A subscriber who joins while the waitlist is being deleted is erased by the last pass of the deletion.
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

/// Returns the writes of a join with a known address. Fillers pad them to as many writes as a join with a new
/// address makes, so that the duration of the request does not tell the two apart. `asking` is the subscriber with
/// one more requested mail, and `rev` its revision as read. The write with the label `subscriber` fails if the
/// subscriber has changed since.
pub fn join_again(asking: Option<&Subscriber>, rev: u64, referred: bool) -> Commit {
    let commit = Commit::new(&patterns::JOIN);
    let commit = match asking {
        Some(subscriber) => commit.replace("subscriber", subscriber, rev),
        None => commit,
    };
    commit.filled(3 + usize::from(referred))
}

/// A subscriber with its standing.
pub struct Found {
    pub subscriber: Subscriber,
    pub standing: Option<Standing>,
}

/// Reads a subscriber of this account with its standing. Returns `None` if the subscriber belongs to another account.
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
    /// Returns the subscriber's position; `None` if the subscriber is not in line.
    ///
    /// A subscriber who has just entered the line, and whom the projector has not counted yet, is at the end of the
    /// line.
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

/// Returns a page of one shard of the waitlist's subscribers. For work that goes through all subscribers.
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

/// Reads a subscriber of any account. A caller that acts for an account must check `account_id`.
pub async fn find(table: &Table, id: &SubscriberId) -> Result<Option<Subscriber>, TableError> {
    table.get(&patterns::SUBSCRIBER_ALONE, &subscriber_key(id)).await
}

/// Returns the subscriber who joined the waitlist with this address.
pub async fn by_email(
    table: &Table,
    waitlist: &WaitlistId,
    email: &Email,
) -> Result<Option<SubscriberId>, TableError> {
    let claim: Option<EmailClaim> =
        table.get(&patterns::SUBSCRIBER_BY_EMAIL, &EmailClaim::key_of(waitlist, email)).await?;
    Ok(claim.map(|claim| claim.subscriber_id))
}

/// Reads several subscribers, in the order of `ids`. Subscribers that do not exist are left out.
pub async fn batch(table: &Table, ids: &[SubscriberId]) -> Result<Vec<Subscriber>, TableError> {
    let keys: Vec<_> = ids.iter().map(subscriber_key).collect();
    let mut found = table.batch_get(&patterns::SUBSCRIBER_BATCH, &keys).await?;
    keys.iter().filter_map(|key| found.remove(key)).map(Subscriber::from_item).collect()
}

/// Returns the writes that replace several subscribers, each conditional on the revision before its own. At most 99,
/// so that the transaction of at most 100 writes also holds the record of the answer.
pub fn update_all(subscribers: &[Subscriber]) -> Commit {
    subscribers.iter().fold(Commit::new(&patterns::SUBSCRIBER_WRITE), |commit, subscriber| {
        commit.replace("subscriber", subscriber, subscriber.rev - 1)
    })
}

/// Returns the writes that replace the subscriber that was read at revision `rev`.
pub fn update(subscriber: &Subscriber, rev: u64) -> Commit {
    Commit::new(&patterns::SUBSCRIBER_WRITE).replace("subscriber", subscriber, rev)
}

/// Returns the writes that add a pending subscriber to the line, and confirm the referral through which it joined.
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

/// Adds the audit entry of a resubscription to a commit.
pub trait Returning {
    /// Adds the audit entry that a subscriber who had unsubscribed agreed to receive mail again.
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

/// Reads a referral of any account.
pub async fn referral(table: &Table, id: &ReferralId) -> Result<Option<Referral>, TableError> {
    table.get(&patterns::REFERRAL, &referral_key(id)).await
}

/// Returns a page of the waitlist's subscribers, oldest first.
pub async fn list(
    table: &Table,
    waitlist: &WaitlistId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Subscriber>, TableError> {
    let partitions = (0..LIST_SHARDS).map(|shard| subscribers_partition(waitlist, shard));
    table.page(&patterns::SUBSCRIBERS, &partitions.collect::<Vec<_>>(), false, after, limit).await
}

/// Returns a page of the waitlist's subscribers without pending ones, highest hot score first.
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

/// Returns true if a join may request another mail to the subscriber: 10 minutes after the last one, because anybody
/// can type anybody's address.
pub fn may_mail_again(subscriber: &Subscriber, now: Timestamp) -> bool {
    subscriber.mail_requested_at.is_none_or(|at| at + 10.minutes() <= now)
}

/// Returns true if a mail may ask the unsubscribed subscriber to confirm a return: 24 hours after the last such
/// mail, because anybody can type anybody's address.
pub fn may_ask_to_return(subscriber: &Subscriber, now: Timestamp) -> bool {
    subscriber.return_requested_at.is_none_or(|at| at + 24.hours() <= now)
}

/// Reason why a join was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// Another join has added the address in the meantime, or the address's subscriber has changed.
    Known,
    /// Another subscriber has the referral code. The caller tries again with a new code.
    CodeTaken,
    /// Another subscriber has taken the seat in the meantime.
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

/// Returns an empty commit for a join that changes nothing. The caller adds the record of the answer to it.
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

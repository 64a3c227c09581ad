//! Projections of subscribers, referrals and clicks: positions, statistics, rewards, credits and events.
//!
//! The [`Standing`] of a subscriber stores the revision that was counted and what that revision contributed. A
//! change is counted as the difference between the standing and the new revision. One transaction writes the
//! differences and the new standing, on the condition that the old standing is unchanged. Therefore stream records
//! may arrive twice, late, split over batches or from several shards: each revision counts once, and an older
//! revision never undoes a newer one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::{
    event::EventKind,
    id::{AccountId, SubscriberId},
};
use jiff::Timestamp;
use messages::tasks::{self, MessageTask};
use projection::{
    Context, Event, Record,
    rollups::{Measure, Sources, Sums},
    stream::FollowError,
};
use queues::Grouped;
use table::{Commit, CommitError, Entity, Key, MAX_WRITES, Table, TableError};

use crate::{
    counted::{ENTERED, REFERRED, SEATED, counter_of},
    entities::{Click, LineEntry, Standing, line_left_key, standing_key, waitlist_stats_key},
    events,
    id::{RewardId, WaitlistId},
    patterns, positions, referrals, store,
    subscriber::{Referral, ReferralStatus, Reward, RewardStatus, Subscriber, SubscriberStatus},
};

/// Number of changes that are planned for one transaction. A change takes about four writes, and a transaction holds
/// 100.
const CHANGES_AT_ONCE: usize = 16;

/// A change of a subscriber, read from a stream record.
#[derive(Clone, Debug)]
pub enum Change {
    Saved(Box<Subscriber>),
    /// Last state of a subscriber before it was erased, and the time of the erasure.
    Erased(Box<Subscriber>, Timestamp),
}

impl Change {
    fn subscriber(&self) -> &Subscriber {
        match self {
            Self::Saved(subscriber) | Self::Erased(subscriber, _) => subscriber,
        }
    }

    pub fn account_id(&self) -> &AccountId {
        &self.subscriber().account_id
    }

    pub fn waitlist_id(&self) -> &WaitlistId {
        &self.subscriber().waitlist_id
    }

    fn standing(&self, now: Timestamp) -> Standing {
        match self {
            Self::Saved(subscriber) => Standing::of(subscriber),
            // The retention of the standing begins now, when the erasure is counted: the standing has to outlast
            // every stream record that may be replayed.
            Self::Erased(subscriber, _) => Standing {
                status: None,
                erased_at: Some(now),
                rev: subscriber.rev + 1,
                ..Standing::of(subscriber)
            },
        }
    }
}

/// A request to send a mail. Requesting the same number twice is harmless: the mail is sent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRequest {
    pub subscriber_id: SubscriberId,
    /// Number of the mail among the subscriber's mails, counted from 1.
    pub number: u32,
}

/// Writes and mails that follow from some changes on one waitlist.
pub struct Plan {
    commit: Commit,
    /// Mails to queue before the plan is applied: a crash in between then repeats the mails, and does not lose them.
    pub mails: Vec<MailRequest>,
}

impl Plan {
    /// Returns true if all changes were counted before.
    pub fn is_empty(&self) -> bool {
        self.commit.is_empty()
    }

    /// Returns true if the plan fits into one transaction.
    pub fn fits(&self) -> bool {
        self.commit.len() <= MAX_WRITES
    }

    /// Writes the plan in one transaction.
    ///
    /// # Errors
    /// [`CommitError::Condition`] if another projector counted some of the changes first. The caller then plans
    /// again.
    pub async fn apply(self, table: &Table) -> Result<(), CommitError> {
        self.commit.apply(table).await
    }
}

/// Plans what follows from changes on one waitlist. The changes must be in the order in which they were made.
pub async fn plan(table: &Table, changes: &[Change], now: Timestamp) -> Result<Plan, TableError> {
    let mut plan = Plan { commit: Commit::new(&patterns::PROJECT), mails: Vec::new() };
    let Some(waitlist_id) = changes.first().map(|change| change.waitlist_id().clone()) else {
        return Ok(plan);
    };
    let (counted, mut sources) = known(table, changes).await?;
    let mut current: BTreeMap<SubscriberId, Standing> = BTreeMap::new();
    let mut events = Vec::new();
    let mut sums = Sums::default();
    let stats = waitlist_stats_key(&waitlist_id);
    for change in changes {
        let subscriber = change.subscriber();
        let id = &subscriber.id;
        let after = change.standing(now);
        let before = current.get(id).or_else(|| counted.get(id));
        if before.is_some_and(|before| before.rev >= after.rev) {
            continue;
        }
        for kind in transitions(before, &after) {
            if kind == events::SUBSCRIBER_JOINED {
                joined(&mut sums, &mut sources, subscriber);
            }
            events.push(about(&after, kind, None, at_of(change, kind)));
        }
        if after.status.is_some_and(|status| status != SubscriberStatus::Pending)
            && before.is_none_or(|before| before.status == Some(SubscriberStatus::Pending))
        {
            let at = subscriber.verified_at.unwrap_or(subscriber.joined_at);
            sums.happened(&after.account_id, waitlist_id.as_str(), Measure::step(ENTERED), at, 1);
        }
        let mailed = before.map_or(0, |before| before.mail_requests);
        if after.status.is_some() {
            plan.mails.extend(
                (mailed + 1..=after.mail_requests)
                    .map(|number| MailRequest { subscriber_id: id.clone(), number }),
            );
        }
        current.insert(id.clone(), after);
    }

    for (id, after) in &current {
        let before = counted.get(id);
        let commit = std::mem::replace(&mut plan.commit, Commit::new(&patterns::PROJECT));
        let commit = match before {
            Some(before) => commit.replace("standing", after, before.rev),
            None => commit.create("standing", after),
        };
        plan.commit = moved(commit, &waitlist_id, before, after, &mut sums);
        let mut shift = |name: &str, by: i64| sums.add(stats.clone(), name, by);
        if let Some(status) = before.and_then(|before| before.status) {
            shift(counter_of(status), -1);
        }
        if let Some(status) = after.status {
            shift(counter_of(status), 1);
        }
        let referrals = before.map_or(0, |before| before.referrals);
        shift("referrals", i64::from(after.referrals) - i64::from(referrals));
        let change =
            |holds: fn(&Standing) -> bool| i64::from(holds(after)) - i64::from(before.is_some_and(holds));
        shift(SEATED, change(seated));
        sums.add(line_left_key(&waitlist_id), "left", change(departed));
        if after.status.is_some() && after.referrals != referrals {
            let commit = std::mem::replace(&mut plan.commit, Commit::new(&patterns::PROJECT));
            plan.commit = rewarded(table, commit, after, &mut events, now).await?;
        }
    }
    for (kind, event) in events {
        sums.event(&event, kind);
        plan.commit = plan.commit.create("event", &event);
    }
    plan.commit = sums.write(plan.commit);
    Ok(plan)
}

/// Creates an event about a subscriber.
fn about(
    standing: &Standing,
    kind: EventKind,
    object_id: Option<String>,
    at: Timestamp,
) -> (EventKind, Event) {
    let subscriber_id = Some(standing.subscriber_id.clone());
    let event = Event::new(&standing.account_id, standing.waitlist_id.as_str(), kind, at);
    (kind, Event { subscriber_id, object_id, ..event })
}

/// Counts a new subscriber's source, and the referral if there is one.
fn joined(sums: &mut Sums, sources: &mut Sources, subscriber: &Subscriber) {
    let (account, topic) = (&subscriber.account_id, subscriber.waitlist_id.as_str());
    let at = subscriber.joined_at;
    if subscriber.referred_by.is_some() {
        sums.happened(account, topic, Measure::of(REFERRED), at, 1);
    }
    if let Some(source) = &subscriber.source {
        let source = sources.name(topic, source.as_str(), at);
        sums.happened(account, topic, Measure::of(&source), at, 1);
    }
}

/// Returns the time of an event that follows from a change.
fn at_of(change: &Change, kind: EventKind) -> Timestamp {
    let subscriber = change.subscriber();
    let at = match (change, kind) {
        (Change::Erased(_, at), events::SUBSCRIBER_ERASED) => Some(*at),
        (_, events::SUBSCRIBER_VERIFIED) => subscriber.verified_at,
        (_, events::SUBSCRIBER_INVITED) => subscriber.invited_at,
        (_, events::SUBSCRIBER_CONVERTED) => subscriber.converted_at,
        (_, events::SUBSCRIBER_UNSUBSCRIBED) => subscriber.unsubscribed_at,
        (_, events::SUBSCRIBER_RESUBSCRIBED) => Some(subscriber.consent.at),
        _ => None,
    };
    at.unwrap_or(subscriber.joined_at)
}

/// Returns true if the subscriber has taken a number in line but has no entry in line any more.
fn departed(standing: &Standing) -> bool {
    standing.number.is_some() && standing.place().is_none()
}

/// Returns true if the subscriber holds a seat and was not erased.
fn seated(standing: &Standing) -> bool {
    standing.seated && standing.status.is_some()
}

/// Reads the standings of these subscribers, and the sources in the roll-ups of the hours in which they joined.
async fn known(
    table: &Table,
    changes: &[Change],
) -> Result<(HashMap<SubscriberId, Standing>, Sources), TableError> {
    let subscribers = || changes.iter().map(Change::subscriber);
    // Revision 1 is the one that the join wrote.
    let with_source = subscribers().filter(|subscriber| subscriber.rev == 1 && subscriber.source.is_some());
    let hours: BTreeSet<Key> = with_source
        .map(|subscriber| Sources::key(subscriber.waitlist_id.as_str(), subscriber.joined_at))
        .collect();
    let standings = subscribers().map(|subscriber| standing_key(&subscriber.id));
    let keys: Vec<_> = standings.chain(hours.iter().cloned()).collect();
    let mut found = table.batch_get(&patterns::STANDINGS, &keys).await?;
    let mut sources = Sources::default();
    for hour in hours {
        if let Some(item) = found.remove(&hour) {
            sources.know(hour, &item);
        }
    }
    let standings = found
        .into_values()
        .map(|item| Standing::from_item(item).map(|standing| (standing.subscriber_id.clone(), standing)));
    Ok((standings.collect::<Result<_, _>>()?, sources))
}

fn transitions(before: Option<&Standing>, after: &Standing) -> Vec<EventKind> {
    use SubscriberStatus::{Active, Converted, Invited, Pending};
    let was = before.and_then(|before| before.status);
    let mut kinds = Vec::new();
    if before.is_none() && after.status.is_some() {
        kinds.push(events::SUBSCRIBER_JOINED);
    }
    match (was, after.status) {
        (Some(Pending), Some(Active)) => kinds.push(events::SUBSCRIBER_VERIFIED),
        (from, Some(Invited)) if from != Some(Invited) => kinds.push(events::SUBSCRIBER_INVITED),
        (from, Some(Converted)) if from != Some(Converted) => kinds.push(events::SUBSCRIBER_CONVERTED),
        (Some(_), None) => kinds.push(events::SUBSCRIBER_ERASED),
        _ => {}
    }
    if after.unsubscribed && !before.is_some_and(|before| before.unsubscribed) {
        kinds.push(events::SUBSCRIBER_UNSUBSCRIBED);
    }
    if after.status.is_some() && !after.unsubscribed && before.is_some_and(|before| before.unsubscribed) {
        kinds.push(events::SUBSCRIBER_RESUBSCRIBED);
    }
    kinds
}

/// Moves a subscriber's entry to its new place in line, or adds or removes the entry.
fn moved(
    mut commit: Commit,
    waitlist: &WaitlistId,
    before: Option<&Standing>,
    after: &Standing,
    sums: &mut Sums,
) -> Commit {
    let from = before.and_then(Standing::place);
    let to = after.place();
    if from == to {
        return commit;
    }
    if let Some(place) = from {
        positions::add(sums, waitlist, place, -1);
        commit = commit.purge("line entry", &LineEntry::key_of(waitlist, place));
    }
    if let (Some(place), Some(number)) = (to, after.number) {
        positions::add(sums, waitlist, place, 1);
        let entry = LineEntry {
            waitlist_id: waitlist.clone(),
            subscriber_id: after.subscriber_id.clone(),
            number,
            places: after.places,
        };
        commit = commit.overwrite("line entry", &entry);
    }
    commit
}

/// Issues and revokes rewards to match the subscriber's number of referrals. The condition on the standing ensures
/// that only one projector at a time does this for a subscriber.
async fn rewarded(
    table: &Table,
    mut commit: Commit,
    standing: &Standing,
    events: &mut Vec<(EventKind, Event)>,
    now: Timestamp,
) -> Result<Commit, TableError> {
    let Some(waitlist) = store::find(table, &standing.waitlist_id).await? else { return Ok(commit) };
    let held = referrals::rewards(table, &standing.subscriber_id).await?;
    let reached = |threshold: u32| standing.referrals >= threshold;
    for tier in waitlist.settings.reward_tiers.iter().filter(|tier| reached(tier.referrals)) {
        if held.iter().all(|reward| reward.tier.referrals != tier.referrals) {
            let reward = Reward {
                id: RewardId::new(now),
                subscriber_id: standing.subscriber_id.clone(),
                waitlist_id: standing.waitlist_id.clone(),
                tier: tier.clone(),
                status: RewardStatus::Issued,
                issued_at: now,
                rev: 1,
            };
            let object = Some(reward.id.as_str().to_owned());
            events.push(about(standing, events::REWARD_ISSUED, object, now));
            commit = commit.create("reward", &reward);
        }
    }
    for reward in held {
        let (status, kind) = match (reward.status, reached(reward.tier.referrals)) {
            (RewardStatus::Issued, false) => (RewardStatus::Revoked, events::REWARD_REVOKED),
            (RewardStatus::Revoked, true) => (RewardStatus::Issued, events::REWARD_ISSUED),
            _ => continue,
        };
        let object = Some(reward.id.as_str().to_owned());
        events.push(about(standing, kind, object, now));
        let changed = Reward { status, rev: reward.rev + 1, ..reward.clone() };
        commit = commit.replace("reward", &changed, reward.rev);
    }
    Ok(commit)
}

/// Counts changes on one waitlist. Changes that do not fit into one transaction are split into halves.
async fn count(context: &Context, changes: &[Change], now: Timestamp) -> Result<(), FollowError> {
    // Another projector may count the same records at the same time. Each failed attempt means that one of the two
    // made progress.
    for _ in 0..50 {
        let plan = plan(&context.table, changes, now).await?;
        if plan.is_empty() {
            return Ok(());
        }
        if !plan.fits() && changes.len() > 1 {
            let (first, second) = changes.split_at(changes.len() / 2);
            Box::pin(count(context, first, now)).await?;
            return Box::pin(count(context, second, now)).await;
        }
        context.send_all(tasks::QUEUE, plan.mails.iter().map(mail).collect()).await?;
        match plan.apply(&context.table).await {
            Ok(()) => return Ok(()),
            Err(CommitError::Condition(_)) => {}
            Err(CommitError::Table(error)) => return Err(error.into()),
        }
    }
    Err(FollowError::Contended("subscribers"))
}

fn mail(mail: &MailRequest) -> Grouped<MessageTask> {
    let subscriber_id = mail.subscriber_id.clone();
    let message_id = format!("{subscriber_id}:{}", mail.number);
    (None, MessageTask::SubscriberMail { subscriber_id, message_id })
}

impl projection::Change for Change {
    const READS: &'static [&'static str] = &[Subscriber::TYPE];
    const SENDS_TO: &'static [&'static str] = &[tasks::QUEUE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        if let Some(subscriber) = record.after()? {
            return Ok(Some(Self::Saved(subscriber)));
        }
        Ok(record.before()?.map(|subscriber| Self::Erased(subscriber, record.written_at)))
    }

    fn lane(&self) -> String {
        self.account_id().to_string()
    }

    fn group(&self) -> String {
        self.waitlist_id().to_string()
    }

    async fn follow(context: &Context, changes: &[Self]) -> Result<(), FollowError> {
        let now = Timestamp::now();
        for chunk in changes.chunks(CHANGES_AT_ONCE) {
            count(context, chunk, now).await?;
        }
        Ok(())
    }
}

/// A confirmed referral, whose referrer is to be credited.
pub struct Confirmed(Box<Referral>);

impl projection::Change for Confirmed {
    const READS: &'static [&'static str] = &[Referral::TYPE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        let referral = record.after::<Referral>()?;
        Ok(referral.filter(|referral| referral.status == ReferralStatus::Confirmed).map(Self))
    }

    fn lane(&self) -> String {
        self.0.account_id.to_string()
    }

    fn group(&self) -> String {
        self.0.referrer_id.to_string()
    }

    async fn follow(context: &Context, confirmed: &[Self]) -> Result<(), FollowError> {
        let Some(Self(first)) = confirmed.first() else { return Ok(()) };
        let referrals: Vec<_> = confirmed.iter().map(|Self(referral)| referral.id.clone()).collect();
        Ok(referrals::credit(&context.table, &first.referrer_id, &referrals, Timestamp::now()).await?)
    }
}

/// A visit through a referral link.
pub struct Visit(Box<Click>);

impl projection::Change for Visit {
    const READS: &'static [&'static str] = &[Click::TYPE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        Ok(record.after()?.map(Self))
    }

    /// Returns the waitlist: stream records of visits do not name their account.
    fn lane(&self) -> String {
        self.group()
    }

    fn group(&self) -> String {
        self.0.waitlist_id.to_string()
    }

    async fn follow(context: &Context, visits: &[Self]) -> Result<(), FollowError> {
        let Some(Self(first)) = visits.first() else { return Ok(()) };
        let clicks: Vec<_> = visits.iter().map(|Self(click)| (**click).clone()).collect();
        Ok(referrals::count_clicks(&context.table, &first.waitlist_id, &clicks).await?)
    }
}

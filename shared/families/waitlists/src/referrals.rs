//! Referrals: clicks, credits, review, rewards.
//!
//! One transaction writes a credit, its ledger entry, the referrer's new totals and the event, on the condition that
//! neither the referral nor the referrer has changed. Therefore each credit is given once, even if several workers
//! try, or one worker retries.

use accounts::entities::{Account, AccountSigning, AuditEntry};
use domain::{
    event::EventKind,
    id::{AccountId, SubscriberId},
};
use jiff::{Timestamp, ToSpan};
use projection::{
    events::Event,
    facts::{Actor, Fact, FactLog, Kind},
    rollups::{Measure, Sums},
};
use table::{
    Commit, CommitError, Cursor, Entity, LIST_SHARDS, Page, Query, Range, Table, TableError,
    lookup::{Lookup, one},
};

use crate::{
    counted::CLICKED,
    entities::{
        Click, CodeClaim, Standing, clicks_key, leaderboard_partition, ledger_partition, referral_key,
        referrals_of, referrals_partition, rewards_partition,
    },
    events, fraud,
    id::{LedgerId, ReferralId, WaitlistId},
    patterns,
    referral_code::ReferralCode,
    store,
    subscriber::{LedgerChange, LedgerEntry, Referral, ReferralStatus, Reward, Subscriber},
    subscribers,
};

/// Everything that the handling of a visit depends on.
pub struct ClickContext {
    /// Owner of the referral code; `None` if nobody has the code.
    pub owner: Option<CodeClaim>,
    pub account: Account,
    pub signing: AccountSigning,
}

/// Reads the context of a visit through the link with this code. Returns `None` if the account does not exist.
///
/// # Errors
/// If the table is unavailable.
pub async fn click_context(
    table: &Table,
    account: &AccountId,
    code: Option<&ReferralCode>,
) -> Result<Option<ClickContext>, TableError> {
    let wanted = (
        one(Account::key_of(account)),
        one(AccountSigning::key_of(account)),
        code.map(|code| one(CodeClaim::key_of(code))),
    );
    let (account, signing, owner) = table.look_up(Lookup::new(&patterns::REFERRAL_CODE, wanted)).await?;
    let found = account.zip(signing);
    Ok(found.map(|(account, signing)| ClickContext { owner: owner.flatten(), account, signing }))
}

/// Returns the writes that record a click and count it.
pub fn click(click: &Click) -> Commit {
    Commit::new(&patterns::CLICK).create("click", click).add(
        "clicks",
        &clicks_key(&click.referrer_id),
        &[("clicks", 1)],
    )
}

/// Returns an empty commit for a visit with an unknown code. The caller adds the record of the answer to it.
pub fn click_of_nobody() -> Commit {
    Commit::new(&patterns::CLICK)
}

/// Adds visits through referral links to the roll-ups of the waitlist. A visit that was counted before is left out.
///
/// # Errors
/// If the table is unavailable.
pub async fn count_clicks(table: &Table, waitlist: &WaitlistId, clicks: &[Click]) -> Result<(), TableError> {
    // The waitlist was deleted, and its roll-ups with it.
    let Some(waitlist) = store::find(table, waitlist).await? else { return Ok(()) };
    let log = FactLog {
        pattern: &patterns::CLICKS_COUNT,
        account: &waitlist.account_id,
        topic: waitlist.id.as_str(),
    };
    let facts = clicks.iter().map(|click| Fact {
        object_id: Some(click.id.as_str().to_owned()),
        ..Fact::new(Kind::Counted(Measure::step(CLICKED)), Actor::Nobody, click.at)
    });
    log.note(table, &facts.collect::<Vec<_>>(), || async { Ok(Some(())) }).await
}

/// Returns the number of visits through a subscriber's referral link.
pub async fn clicks(table: &Table, subscriber: &SubscriberId) -> Result<u64, TableError> {
    let counters = table.counters(&patterns::CLICKS, &clicks_key(subscriber)).await?;
    Ok(counters.get("clicks").and_then(|count| u64::try_from(*count).ok()).unwrap_or_default())
}

/// Number of credits given in one transaction. Each takes three writes, besides the referrer and the counters.
const CREDITS_AT_ONCE: usize = 30;

/// Gives a referrer the credits for confirmed referrals. Referrals in any other status stay unchanged.
///
/// # Errors
/// If the table is unavailable, or the referrer keeps changing. Credits that were already given stay.
pub async fn credit(
    table: &Table,
    referrer: &SubscriberId,
    referrals: &[ReferralId],
    now: Timestamp,
) -> Result<(), TableError> {
    for chunk in referrals.chunks(CREDITS_AT_ONCE) {
        let mut attempt = 0;
        while let Err(error) = credit_once(table, referrer, chunk, now).await {
            match error {
                // The referrer or a referral has changed since it was read: read again.
                CommitError::Condition(_) if attempt < 20 => attempt += 1,
                CommitError::Condition(_) => {
                    let detail = "the referrer keeps changing".to_owned();
                    return Err(TableError::Unavailable { operation: "credit", detail });
                }
                CommitError::Table(error) => return Err(error),
            }
            table::back_off(attempt).await;
        }
    }
    Ok(())
}

async fn credit_once(
    table: &Table,
    referrer_id: &SubscriberId,
    ids: &[ReferralId],
    now: Timestamp,
) -> Result<(), CommitError> {
    let keys: Vec<_> = ids.iter().map(referral_key).collect();
    let mut found = table.batch_get(&patterns::REFERRAL, &keys).await?;
    let mut confirmed = Vec::new();
    for item in keys.iter().filter_map(|key| found.remove(key)) {
        let referral = Referral::from_item(item)?;
        if referral.status == ReferralStatus::Confirmed {
            confirmed.push(referral);
        }
    }
    let Some(first) = confirmed.first() else { return Ok(()) };
    let waitlist = store::find(table, &first.waitlist_id).await?;
    let referrer = subscribers::find(table, referrer_id).await?;
    let (Some(waitlist), Some(referrer)) = (waitlist, referrer) else {
        return void(confirmed).apply(table).await;
    };
    let recent = recent_origins(table, referrer_id, ids, now).await?;

    let places = waitlist.settings.places_per_referral.get();
    let mut credited = Subscriber { active_at: now, rev: referrer.rev + 1, ..referrer.clone() };
    let mut commit = Commit::new(&patterns::CREDIT);
    let mut sums = Sums::default();
    let mut seen = recent;
    for referral in confirmed {
        // Two subscribers cannot refer each other, and a subscriber cannot refer itself.
        if referrer.referred_by.as_ref() == Some(&referral.referee_id) || referral.referee_id == referrer.id {
            commit = voided(commit, referral);
            continue;
        }
        let assessment = fraud::assess(referral.disposable, &referral.origin, &referrer.origin, &seen);
        seen.push(referral.origin.clone());
        let after = Referral {
            status: ReferralStatus::Credited,
            places,
            assessment,
            credited_at: Some(now),
            rev: referral.rev + 1,
            ..referral.clone()
        };
        credited.referrals += 1;
        credited.places += u64::from(places);
        let event = event(&after, events::REFERRAL_CREDITED, now);
        sums.event(&event, events::REFERRAL_CREDITED);
        commit = commit
            .replace("referral", &after, referral.rev)
            .create("ledger", &ledger_entry(&after, LedgerChange::Credited, "platform", now))
            .create("event", &event);
    }
    if credited.referrals > referrer.referrals {
        commit = commit.replace("referrer", &credited, referrer.rev);
    }
    sums.write(commit).apply(table).await
}

fn void(referrals: Vec<Referral>) -> Commit {
    referrals.into_iter().fold(Commit::new(&patterns::CREDIT), voided)
}

fn voided(commit: Commit, referral: Referral) -> Commit {
    let void = Referral { status: ReferralStatus::Void, rev: referral.rev + 1, ..referral.clone() };
    commit.replace("referral", &void, referral.rev)
}

/// Returns the origins of the subscribers whom the referrer brought within the last hour, without the referrals
/// `but`. The index is eventually consistent, so very recent referrals may be missing.
async fn recent_origins(
    table: &Table,
    referrer: &SubscriberId,
    but: &[ReferralId],
    now: Timestamp,
) -> Result<Vec<fraud::Origin>, TableError> {
    let query = Query { limit: Some(25), newest_first: true, ..Query::partition(referrals_of(referrer)) };
    let recent: Vec<Referral> = table.query(&patterns::REFERRALS_BY_REFERRER, query).await?;
    Ok(recent
        .into_iter()
        .filter(|referral| referral.created_at + 1.hour() > now && !but.contains(&referral.id))
        .map(|referral| referral.origin)
        .collect())
}

fn ledger_entry(referral: &Referral, change: LedgerChange, actor: &str, now: Timestamp) -> LedgerEntry {
    let sign: i32 = if change == LedgerChange::Revoked { -1 } else { 1 };
    LedgerEntry {
        id: LedgerId::new(now),
        subscriber_id: referral.referrer_id.clone(),
        referral_id: referral.id.clone(),
        change,
        referrals: sign,
        places: i64::from(sign) * i64::from(referral.places),
        actor: actor.to_owned(),
        at: now,
    }
}

fn event(referral: &Referral, kind: EventKind, now: Timestamp) -> Event {
    let object = Some(referral.id.as_str().to_owned());
    Event {
        subscriber_id: Some(referral.referrer_id.clone()),
        object_id: object,
        ..Event::new(&referral.account_id, referral.waitlist_id.as_str(), kind, now)
    }
}

/// Decision of a reviewer about a referral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// Revokes a credit.
    Revoke,
    /// Restores a revoked credit.
    Restore,
}

/// Returns the reviewed referral, and the writes of the review. Returns `None` if the referral's status does not
/// allow the review.
pub async fn review(
    table: &Table,
    referral: &Referral,
    review: Review,
    actor: &str,
    now: Timestamp,
) -> Result<Option<(Referral, Commit)>, TableError> {
    let (from, to, change, kind, action) = match review {
        Review::Revoke => (
            ReferralStatus::Credited,
            ReferralStatus::Revoked,
            LedgerChange::Revoked,
            events::REFERRAL_REVOKED,
            "referral.revoked",
        ),
        Review::Restore => (
            ReferralStatus::Revoked,
            ReferralStatus::Credited,
            LedgerChange::Restored,
            events::REFERRAL_RESTORED,
            "referral.restored",
        ),
    };
    if referral.status != from {
        return Ok(None);
    }
    let after = Referral { status: to, rev: referral.rev + 1, ..referral.clone() };
    let audit = AuditEntry::new(&referral.account_id, actor, action, referral.id.as_str(), now);
    let event = event(&after, kind, now);
    let mut sums = Sums::default();
    sums.event(&event, kind);
    let mut commit = Commit::new(&patterns::CREDIT)
        .replace("referral", &after, referral.rev)
        .create("audit", &audit)
        .create("event", &event);
    if let Some(referrer) = subscribers::find(table, &referral.referrer_id).await? {
        let mut changed = Subscriber { rev: referrer.rev + 1, ..referrer.clone() };
        if review == Review::Revoke {
            changed.referrals = changed.referrals.saturating_sub(1);
            changed.places = changed.places.saturating_sub(u64::from(referral.places));
        } else {
            changed.referrals += 1;
            changed.places += u64::from(referral.places);
        }
        commit = commit
            .replace("referrer", &changed, referrer.rev)
            .create("ledger", &ledger_entry(&after, change, actor, now));
    }
    Ok(Some((after, sums.write(commit))))
}

/// Lists the referrals of a waitlist, oldest first: only flagged ones, only others, or all.
pub async fn list(
    table: &Table,
    waitlist: &WaitlistId,
    flagged: Option<bool>,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Referral>, TableError> {
    let flags: &[bool] = match flagged {
        Some(true) => &[true],
        Some(false) => &[false],
        None => &[false, true],
    };
    let shards = flags.iter().flat_map(|flag| (0..LIST_SHARDS).map(move |shard| (*flag, shard)));
    let partitions: Vec<_> = shards.map(|(flag, shard)| referrals_partition(waitlist, flag, shard)).collect();
    table.page(&patterns::REFERRALS, &partitions, false, after, limit).await
}

/// Lists the entries of a subscriber's referral ledger, oldest first.
pub async fn ledger(
    table: &Table,
    subscriber: &SubscriberId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<LedgerEntry>, TableError> {
    table.page(&patterns::LEDGER, &[ledger_partition(subscriber)], false, after, limit).await
}

/// Returns a subscriber's rewards, lowest tier first. One query reads all of them, because a waitlist has at most 20
/// tiers at a time.
pub async fn rewards(table: &Table, subscriber: &SubscriberId) -> Result<Vec<Reward>, TableError> {
    let (pk, prefix) = rewards_partition(subscriber);
    let query =
        Query { range: Range::BeginsWith(prefix.to_owned()), consistent: true, ..Query::partition(pk) };
    table.query(&patterns::REWARDS, query).await
}

/// Returns at most `limit` subscribers with the most referrals, in descending order.
pub async fn leaderboard(
    table: &Table,
    waitlist: &WaitlistId,
    limit: usize,
) -> Result<Vec<Subscriber>, TableError> {
    let query = Query { limit: Some(limit), ..Query::partition(leaderboard_partition(waitlist)) };
    let standings: Vec<Standing> = table.query(&patterns::LEADERBOARD, query).await?;
    let ids: Vec<_> = standings.into_iter().take(limit).map(|standing| standing.subscriber_id).collect();
    subscribers::batch(table, &ids).await
}

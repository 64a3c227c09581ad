//! Referrals: clicks, credits, review, rewards.
//!
//! A credit, its ledger line, the referrer's new count and the event are one
//! transaction under the condition that neither the referral nor the referrer
//! has changed, so that a credit is given once whoever tries, and how often.

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
use table::{Commit, CommitError, Cursor, Entity, LIST_SHARDS, Page, Query, Range, Table, TableError};

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

/// All that a visit depends on.
pub struct ClickContext {
    /// The owner of the code.
    pub owner: Option<CodeClaim>,
    pub account: Account,
    pub signing: AccountSigning,
}

/// Reads the context of a visit by this code, if it is one; `None` without the account.
///
/// # Errors
/// When the table is out of reach.
pub async fn click_context(
    table: &Table,
    account: &AccountId,
    code: Option<&ReferralCode>,
) -> Result<Option<ClickContext>, TableError> {
    let fixed = [Account::key_of(account), AccountSigning::key_of(account)];
    let code = code.map(CodeClaim::key_of);
    let keys: Vec<_> = fixed.iter().chain(&code).cloned().collect();
    let mut found = table.batch_get(&patterns::REFERRAL_CODE, &keys).await?;
    let (Some(account), Some(signing)) = (found.remove(&fixed[0]), found.remove(&fixed[1])) else {
        return Ok(None);
    };
    let owner = code.and_then(|code| found.remove(&code)).map(CodeClaim::from_item).transpose()?;
    Ok(Some(ClickContext {
        owner,
        account: Entity::from_item(account)?,
        signing: Entity::from_item(signing)?,
    }))
}

/// The writes that count a click.
pub fn click(click: &Click) -> Commit {
    Commit::new(&patterns::CLICK).create("click", click).add(
        "clicks",
        &clicks_key(&click.referrer_id),
        &[("clicks", 1)],
    )
}

/// The writes of a visit by a code that nobody has: there is an answer to remember.
pub fn click_of_nobody() -> Commit {
    Commit::new(&patterns::CLICK)
}

/// Counts visits through the links of a waitlist's subscribers, as far as that has not been done before.
///
/// # Errors
/// When the table is out of reach.
pub async fn count_clicks(table: &Table, waitlist: &WaitlistId, clicks: &[Click]) -> Result<(), TableError> {
    // Without a waitlist there is nothing to count for.
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

/// Visits through a subscriber's link.
pub async fn clicks(table: &Table, subscriber: &SubscriberId) -> Result<u64, TableError> {
    let counters = table.counters(&patterns::CLICKS, &clicks_key(subscriber)).await?;
    Ok(counters.get("clicks").and_then(|count| u64::try_from(*count).ok()).unwrap_or_default())
}

/// Credits that fit one transaction beside the referrer: three writes each.
const CREDITS_AT_ONCE: usize = 30;

/// Credits confirmed referrals to their referrer. Those that were credited
/// before, or are not confirmed, are left as they are.
///
/// # Errors
/// When the table is unavailable; credits already given stay.
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
                // The referrer changed meanwhile: look again.
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
        // Whoever brought the referrer can't be brought by the referrer.
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

/// Where the friends of the last hour joined from. An index may lag, so that a
/// burst can be under-counted for a moment, never over-counted.
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

/// What a reviewer decides about a referral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// Take a credit back.
    Revoke,
    /// Give a credit that was taken back.
    Restore,
}

/// The referral as the review leaves it, and the writes that make it so.
/// `None` when the referral's status does not allow it.
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

/// The referrals of a waitlist, oldest first; only flagged ones, only others, or all.
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

/// How a subscriber's credits came about, oldest first.
pub async fn ledger(
    table: &Table,
    subscriber: &SubscriberId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<LedgerEntry>, TableError> {
    table.page(&patterns::LEDGER, &[ledger_partition(subscriber)], false, after, limit).await
}

/// The tiers that a subscriber reached, lowest first; there are at most 20 at a time.
pub async fn rewards(table: &Table, subscriber: &SubscriberId) -> Result<Vec<Reward>, TableError> {
    let (pk, prefix) = rewards_partition(subscriber);
    let query =
        Query { range: Range::BeginsWith(prefix.to_owned()), consistent: true, ..Query::partition(pk) };
    table.query(&patterns::REWARDS, query).await
}

/// The subscribers with the most referrals, most first; at most `limit`.
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

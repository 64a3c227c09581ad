//! The erasure of subscribers.

use accounts::entities::AuditEntry;
use jiff::Timestamp;
use projection::job::Job;
use table::{Commit, CommitError, Entity, Key, MAX_WRITES, Pattern, Table};

use crate::{
    entities::{CodeClaim, EmailClaim, Task, clicks_key, referral_key},
    fraud::Origin,
    id::ReferralId,
    patterns, referrals,
    seats::Seats as _,
    subscriber::{Referral, ReferralStatus, Subscriber},
    subscribers::referral,
};

/// Removes everything personal about a subscriber, and asks for the exports that
/// hold it, its votes and comments to be deleted. Counts and other people's credits stay.
pub async fn erase(
    table: &Table,
    subscriber: &Subscriber,
    actor: &str,
    now: Timestamp,
) -> Result<(), CommitError> {
    let id = subscriber.id.as_str();
    let purge = Task::PurgeExports { waitlist_id: subscriber.waitlist_id.clone() };
    let silence = Task::Silence { subscriber_id: subscriber.id.clone() };
    let audit = AuditEntry::new(&subscriber.account_id, actor, "subscriber.erased", id, now);
    let mut commit = removal(&patterns::ERASE, subscriber);
    if subscriber.referred_by.is_some()
        && let Some(referral) = referral(table, &ReferralId::of_referee(&subscriber.id)).await?
    {
        commit = commit.replace("referral", &anonymous(&referral), referral.rev);
    }
    if subscriber.seated {
        commit = commit.unseat(&subscriber.waitlist_id);
    }
    commit
        .overwrite("job", &Job::new(id, &purge, now))
        .overwrite("job", &Job::new(format!("{id}:voice"), &silence, now))
        .create("audit", &audit)
        .apply(table)
        .await
}

/// Removes everything about a subscriber of a waitlist that is being deleted.
///
/// The subscriber goes last: as long as it is listed, a repetition finds it.
pub async fn erase_with_waitlist(table: &Table, subscriber: &Subscriber) -> Result<(), CommitError> {
    let mut keys: Vec<Key> =
        referrals::rewards(table, &subscriber.id).await?.iter().map(Entity::key).collect();
    keys.push(referral_key(&ReferralId::of_referee(&subscriber.id)));
    loop {
        let lines = referrals::ledger(table, &subscriber.id, None, MAX_WRITES / 2).await?;
        keys.extend(lines.data.iter().map(Entity::key));
        for keys in keys.chunks(MAX_WRITES) {
            let commit = Commit::new(&patterns::ERASE_WITH_WAITLIST);
            keys.iter().fold(commit, |commit, key| commit.purge("rest", key)).apply(table).await?;
        }
        keys.clear();
        if lines.next.is_none() {
            break;
        }
    }
    removal(&patterns::ERASE_WITH_WAITLIST, subscriber).apply(table).await
}

/// The writes that remove a subscriber and what makes its address and code unique.
fn removal(pattern: &'static Pattern, subscriber: &Subscriber) -> Commit {
    Commit::new(pattern)
        .delete("subscriber", &subscriber.key(), subscriber.rev)
        .purge("email", &EmailClaim::of(subscriber).key())
        .purge("code", &CodeClaim::of(subscriber).key())
        .purge("clicks", &clicks_key(&subscriber.id))
}

/// The referral that brought a subscriber, without anything personal.
fn anonymous(referral: &Referral) -> Referral {
    Referral {
        origin: Origin::default(),
        status: match referral.status {
            ReferralStatus::Pending => ReferralStatus::Void,
            status => status,
        },
        rev: referral.rev + 1,
        ..referral.clone()
    }
}

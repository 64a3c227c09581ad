//! Erasure of subscribers.

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

/// Erases a subscriber: removes the subscriber's personal data, and gives the seat back if there is one. Creates two
/// jobs: one deletes the files of the waitlist's exports, the other the subscriber's votes and comments. Counts and
/// the credits of other subscribers stay.
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

/// Removes all items of a subscriber of a waitlist that is being deleted.
///
/// The subscriber's own item is removed last: as long as it is listed, a retry finds the subscriber again.
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

/// Returns the writes that remove a subscriber, the claims on its address and referral code, and its click counter.
fn removal(pattern: &'static Pattern, subscriber: &Subscriber) -> Commit {
    Commit::new(pattern)
        .delete("subscriber", &subscriber.key(), subscriber.rev)
        .purge("email", &EmailClaim::of(subscriber).key())
        .purge("code", &CodeClaim::of(subscriber).key())
        .purge("clicks", &clicks_key(&subscriber.id))
}

/// Returns the next revision of the referral through which a subscriber joined, without personal data. A pending
/// referral becomes void.
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

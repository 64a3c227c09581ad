//! Features, and the votes for them.
//!
//! A vote and its voter's number of votes change in one transaction. The feature's number follows by the projector
//! (see [`crate::feature_projection`]), so that thousands may vote for one feature at once.

use std::collections::HashSet;

use accounts::entities::AuditEntry;
use domain::id::{AccountId, SubscriberId};
use jiff::Timestamp;
use projection::{job::Job, rollups};
use table::{
    Commit, CommitError, Cursor, Entity, Key, LIST_SHARDS, Page, Query, Table, TableError, key_of, purge,
    retried,
};
use waitlists::{entities::subscriber_key, id::WaitlistId, subscriber::Subscriber};

use crate::{
    entities::{
        CommentRef, Task, comment_key, feature_key, feature_tally_key, features_by_votes, features_of,
        voice_partition, vote_key, votes_of,
    },
    feature::{Feature, FeatureStatus, FeatureTally, Vote},
    id::FeatureId,
    patterns,
};

/// Merges that are followed from one feature to the next.
const HOPS: usize = 32;
/// Pages read for one page of a list that is filtered.
const PAGES: usize = 10;

/// The feature, if it is this account's: another account's does not exist.
pub async fn read(table: &Table, account: &AccountId, id: &FeatureId) -> Result<Option<Feature>, TableError> {
    Ok(find(table, id).await?.filter(|feature| feature.account_id == *account))
}

/// The feature, whosever it is: for the platform's own work.
pub async fn find(table: &Table, id: &FeatureId) -> Result<Option<Feature>, TableError> {
    table.get(&patterns::FEATURE, &feature_key(id)).await
}

/// What is counted of a feature.
pub async fn tally(table: &Table, id: &FeatureId) -> Result<Option<FeatureTally>, TableError> {
    table.get(&patterns::FEATURE_TALLY, &feature_tally_key(id)).await
}

/// The writes that add a feature.
pub fn create(feature: &Feature, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::FEATURE_WRITE)
        .create("feature", feature)
        .create("tally", &FeatureTally::new(feature))
        .create("audit", audit)
}

/// The writes that change the feature read at `rev`; the label `feature` fails when it has changed meanwhile.
pub fn update(feature: &Feature, rev: u64, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::FEATURE_WRITE).replace("feature", feature, rev).create("audit", audit)
}

/// The writes that note a feature as merged into another one, which must be as it was read, and ask for its voters to
/// be given to that.
pub fn begin_merge(merged: &Feature, target: &Feature, audit: &AuditEntry, now: Timestamp) -> Commit {
    let job = Task::MergeFeature { feature_id: merged.id.clone() };
    update(merged, merged.rev - 1, audit)
        .expect("target", &target.key(), target.rev)
        .overwrite("job", &Job::new(merged.id.as_str().to_owned(), &job, now))
}

/// Where this feature's voters belong: the last one that it, and what it was merged into, were merged into. `None` when
/// it wasn't merged, or that one is gone or going.
async fn heir(table: &Table, feature: &Feature) -> Result<Option<Feature>, TableError> {
    let mut next = feature.merged_into.clone();
    for _ in 0..HOPS {
        let Some(id) = next else { return Ok(None) };
        match find(table, &id).await? {
            Some(found) if found.merged_into.is_some() => next = found.merged_into,
            found => return Ok(found.filter(|found| !found.deleting)),
        }
    }
    Ok(None)
}

/// Marks a feature as being deleted and asks for the work; again, if it is marked already.
pub async fn begin_delete(
    table: &Table,
    feature: &Feature,
    audit: &AuditEntry,
    now: Timestamp,
) -> Result<(), CommitError> {
    let marked = Feature { deleting: true, ..feature.next(now) };
    let job = Task::DeleteFeature { feature_id: feature.id.clone() };
    update(&marked, feature.rev, audit)
        .overwrite("job", &Job::new(feature.id.as_str().to_owned(), &job, now))
        .apply(table)
        .await
}

/// A feature and what is counted of it.
pub struct Listed {
    pub feature: Feature,
    pub tally: FeatureTally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Votes,
    Newest,
}

/// A page of a waitlist's features, but for those that were merged or are being deleted. Of many that are passed
/// over a page may be short, though more follows.
pub async fn list(
    table: &Table,
    waitlist: &WaitlistId,
    order: Order,
    status: Option<FeatureStatus>,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Listed>, TableError> {
    let mut page = Page { data: Vec::new(), next: after };
    for _ in 0..PAGES {
        let missing = limit - page.data.len();
        let ids = match order {
            Order::Newest => {
                let partition = [features_of(waitlist)];
                let found: Page<Feature> =
                    table.page(&patterns::FEATURES, &partition, true, page.next.take(), missing).await?;
                found.map(|feature| feature.id)
            }
            Order::Votes => {
                let partition = [features_by_votes(waitlist)];
                let found: Page<FeatureTally> = table
                    .page(&patterns::FEATURES_BY_VOTES, &partition, false, page.next.take(), missing)
                    .await?;
                found.map(|tally| tally.feature_id)
            }
        };
        // An index may lag behind: the items themselves are shown.
        let listed = batch(table, &ids.data).await?;
        for listed in listed {
            let feature = &listed.feature;
            let wanted = feature.is_shown() && status.is_none_or(|status| feature.settings.status == status);
            // Ranks may have moved since the page before.
            let again = page.data.iter().any(|before: &Listed| before.feature.id == feature.id);
            if wanted && !again {
                page.data.push(listed);
            }
        }
        page.next = ids.next;
        if page.next.is_none() || page.data.len() >= limit {
            break;
        }
    }
    Ok(page)
}

/// These features, in the order asked for; those that are gone are left out.
pub async fn batch(table: &Table, ids: &[FeatureId]) -> Result<Vec<Listed>, TableError> {
    let keys: Vec<Key> = ids.iter().flat_map(|id| [feature_key(id), feature_tally_key(id)]).collect();
    let mut found = table.batch_get(&patterns::FEATURE_BATCH, &keys).await?;
    let mut listed = Vec::with_capacity(ids.len());
    for id in ids {
        let (feature, tally) = (found.remove(&feature_key(id)), found.remove(&feature_tally_key(id)));
        if let (Some(feature), Some(tally)) = (feature, tally) {
            listed.push(Listed {
                feature: Feature::from_item(feature)?,
                tally: FeatureTally::from_item(tally)?,
            });
        }
    }
    Ok(listed)
}

/// For which of these features the subscriber's vote stands.
pub async fn voted(
    table: &Table,
    subscriber: &SubscriberId,
    features: &[FeatureId],
) -> Result<HashSet<FeatureId>, TableError> {
    let keys: Vec<_> = features.iter().map(|feature| vote_key(subscriber, feature)).collect();
    let found = table.batch_get(&patterns::VOTES_OWN, &keys).await?;
    let votes: Vec<Vote> = found.into_values().map(Vote::from_item).collect::<Result<_, _>>()?;
    Ok(votes.into_iter().filter(|vote| vote.stands).map(|vote| vote.feature_id).collect())
}

/// All that a vote depends on.
pub struct Ballot {
    /// The one that the vote is for: where the feature was merged into, if it was.
    pub feature: Feature,
    pub subscriber: Subscriber,
    vote: Option<Vote>,
    /// Votes for features that were merged into this one, which have yet to be moved.
    moving: Vec<Vote>,
}

/// Reads it; `None` unless both are there.
pub async fn ballot(
    table: &Table,
    feature: &FeatureId,
    subscriber: &SubscriberId,
) -> Result<Option<Ballot>, TableError> {
    let mut id = feature.clone();
    let mut moving = Vec::new();
    for _ in 0..HOPS {
        let keys = [feature_key(&id), subscriber_key(subscriber), vote_key(subscriber, &id)];
        let mut found = table.batch_get(&patterns::BALLOT, &keys).await?;
        let (Some(feature), Some(subscriber)) = (found.remove(&keys[0]), found.remove(&keys[1])) else {
            return Ok(None);
        };
        let feature = Feature::from_item(feature)?;
        let vote = found.remove(&keys[2]).map(Vote::from_item).transpose()?;
        match feature.merged_into {
            Some(target) => {
                id = target;
                moving.extend(vote.filter(|vote| vote.stands));
            }
            None => {
                let subscriber = Subscriber::from_item(subscriber)?;
                return Ok(Some(Ballot { feature, subscriber, vote, moving }));
            }
        }
    }
    Ok(None)
}

impl Ballot {
    /// The writes that cast the vote: none when it stands. The labels `vote` and `subscriber` fail when either has
    /// changed meanwhile.
    pub fn cast(&self, now: Timestamp) -> Commit {
        let Self { feature, subscriber, vote, .. } = self;
        let commit = Commit::new(&patterns::VOTE_WRITE);
        if vote.as_ref().is_some_and(|vote| vote.stands) {
            return commit;
        }
        let after = Vote::after(vote.as_ref(), &feature.id, subscriber, true, now);
        let voter = Subscriber {
            votes: subscriber.votes + 1,
            active_at: now,
            rev: subscriber.rev + 1,
            ..subscriber.clone()
        };
        put(commit, &after).replace("subscriber", &voter, subscriber.rev)
    }

    /// The writes that take the vote back, wherever it lies; `None` when there is none. The labels are the same.
    pub fn take_back(&self, now: Timestamp) -> Option<Commit> {
        let Self { subscriber, vote, moving, .. } = self;
        let standing: Vec<&Vote> = vote.iter().filter(|vote| vote.stands).chain(moving).collect();
        if standing.is_empty() {
            return None;
        }
        let taken = u32::try_from(standing.len()).unwrap_or(u32::MAX);
        let voter = Subscriber {
            votes: subscriber.votes.saturating_sub(taken),
            rev: subscriber.rev + 1,
            ..subscriber.clone()
        };
        let commit = Commit::new(&patterns::VOTE_WRITE);
        let commit = standing.into_iter().fold(commit, |commit, vote| {
            put(commit, &Vote::after(Some(vote), &vote.feature_id, subscriber, false, now))
        });
        Some(commit.replace("subscriber", &voter, subscriber.rev))
    }
}

/// Writes a vote over the one before it.
fn put(commit: Commit, vote: &Vote) -> Commit {
    match vote.rev {
        1 => commit.create("vote", vote),
        rev => commit.replace("vote", vote, rev - 1),
    }
}

/// A page of those who vote for a feature, in no particular order.
pub async fn voters(
    table: &Table,
    feature: &FeatureId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Vote>, TableError> {
    let shards: Vec<_> = (0..LIST_SHARDS).map(|shard| votes_of(feature, shard)).collect();
    table.page(&patterns::VOTES, &shards, false, after, limit).await
}

/// Some votes of a shard: for work on all of them.
async fn some_votes(table: &Table, feature: &FeatureId, limit: usize) -> Result<Vec<Vote>, TableError> {
    let mut votes = Vec::new();
    for shard in 0..LIST_SHARDS {
        let query = Query { limit: Some(limit), ..Query::partition(votes_of(feature, shard)) };
        votes.extend(table.query::<Vote>(&patterns::VOTES, query).await?);
    }
    Ok(votes)
}

/// Gives up to `limit` votes of each shard to the feature that this one was merged into in the end, or removes them if
/// there is none; how many there were.
///
/// # Errors
/// When the table is out of reach, or a voter keeps changing.
pub async fn move_votes(
    table: &Table,
    feature: &Feature,
    limit: usize,
    now: Timestamp,
) -> Result<usize, TableError> {
    let votes = some_votes(table, &feature.id, limit).await?;
    for vote in &votes {
        retried("merge", || move_vote(table, vote, feature, now)).await?;
    }
    Ok(votes.len())
}

async fn move_vote(
    table: &Table,
    listed: &Vote,
    source: &Feature,
    now: Timestamp,
) -> Result<(), CommitError> {
    let voter = &listed.subscriber_id;
    let target = heir(table, source).await?;
    // The index may lag behind: the items themselves decide.
    let target_key = target.as_ref().map(|target| vote_key(voter, &target.id));
    let keys: Vec<Key> =
        [listed.key(), subscriber_key(voter)].into_iter().chain(target_key.clone()).collect();
    let mut found = table.batch_get(&patterns::VOTES_MOVE, &keys).await?;
    let vote = found.remove(&keys[0]).map(Vote::from_item).transpose()?;
    let Some(vote) = vote.filter(|vote| vote.stands) else { return Ok(()) };
    let commit = Commit::new(&patterns::VOTES_MOVE);
    let Some(subscriber) = found.remove(&keys[1]) else {
        // Whoever is being erased has no voice.
        return commit.delete("vote", &vote.key(), vote.rev).apply(table).await;
    };
    let subscriber = Subscriber::from_item(subscriber)?;
    let there = target_key.and_then(|key| found.remove(&key)).map(Vote::from_item).transpose()?;
    let mut commit = match target {
        Some(_) => {
            let left = Vote::after(Some(&vote), &vote.feature_id, &subscriber, false, now);
            commit.replace("left", &left, vote.rev)
        }
        None => commit.delete("left", &vote.key(), vote.rev),
    };
    // Who votes for both votes once, and who took the other vote back since the merge has taken back both.
    let taken_back = |there: &Vote| source.merged_at.is_some_and(|merged| there.at >= merged);
    let joins = |there: &Vote| !there.stands && !taken_back(there);
    commit = match target.filter(|_| there.as_ref().is_none_or(joins)) {
        Some(target) => {
            let moved = Vote::after(there.as_ref(), &target.id, &subscriber, true, now);
            put(commit, &moved).expect("subscriber", &subscriber.key(), subscriber.rev).expect(
                "target",
                &target.key(),
                target.rev,
            )
        }
        None => {
            let votes = subscriber.votes.saturating_sub(1);
            let voter = Subscriber { votes, rev: subscriber.rev + 1, ..subscriber.clone() };
            commit.replace("subscriber", &voter, subscriber.rev)
        }
    };
    commit.apply(table).await
}

/// Removes the feature itself, which has no votes and comments any more. Of one that was merged what leads to the other
/// stays: voters may still be on their way through it.
pub async fn finish_delete(table: &Table, feature: &Feature) -> Result<(), CommitError> {
    rollups::forget(table, feature.id.as_str()).await?;
    let commit = Commit::new(&patterns::FEATURE_PURGE).purge("tally", &feature_tally_key(&feature.id));
    let commit = match feature.merged_into {
        Some(_) => commit,
        None => commit.purge("feature", &feature.key()),
    };
    commit.apply(table).await
}

/// The waitlist's features, merged and deleted ones too: for work on all of them.
pub async fn all(table: &Table, waitlist: &WaitlistId) -> Result<Vec<Feature>, TableError> {
    table.query(&patterns::FEATURES, Query::partition(features_of(waitlist))).await
}

/// Removes what an erased subscriber voted for and said.
pub async fn silence(table: &Table, subscriber: &SubscriberId) -> Result<(), TableError> {
    loop {
        let query =
            Query { consistent: true, limit: Some(1000), ..Query::partition(voice_partition(subscriber)) };
        let found = table.query_items(&patterns::VOICE_PURGE, query).await?;
        if found.is_empty() {
            return Ok(());
        }
        let comments = found.iter().filter_map(|item| CommentRef::from_item(item.clone()).ok());
        // What leads to a comment goes last.
        let comments: Vec<Key> = comments.map(|comment| comment_key(&comment.comment_id)).collect();
        purge(table, &patterns::VOICE_PURGE, comments).await?;
        purge(table, &patterns::VOICE_PURGE, found.iter().filter_map(key_of).collect()).await?;
    }
}

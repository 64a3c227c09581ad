//! Reads and writes of features and votes.
//!
//! One transaction changes a vote and the voter's number of votes. The projector updates the feature's number of
//! votes later (see [`crate::projection`]), so thousands of subscribers can vote for one feature at the same time
//! without conflicts.

use std::collections::HashSet;

use accounts::entities::{AccountSigning, AuditEntry};
use domain::id::{AccountId, SubscriberId};
use jiff::Timestamp;
use projection::{job::Job, rollups};
use table::{
    Commit, CommitError, Cursor, Entity, Key, LIST_SHARDS, Page, Query, Table, TableError, key_of,
    lookup::{Lookup, Wanted, one},
    purge, retried,
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

/// Maximum length of a chain of merged features that is followed.
const HOPS: usize = 32;
/// Maximum number of pages that are read to fill one page of a filtered list.
const PAGES: usize = 10;

/// Reads a feature of this account. Returns `None` if the feature does not exist or belongs to another account.
pub async fn read(table: &Table, account: &AccountId, id: &FeatureId) -> Result<Option<Feature>, TableError> {
    Ok(find(table, id).await?.filter(|feature| feature.account_id == *account))
}

/// Reads a feature of any account. A caller that acts for an account must check `account_id`.
pub async fn find(table: &Table, id: &FeatureId) -> Result<Option<Feature>, TableError> {
    table.get(&patterns::FEATURE, &feature_key(id)).await
}

/// Reads the numbers of votes and comments of a feature.
pub async fn tally(table: &Table, id: &FeatureId) -> Result<Option<FeatureTally>, TableError> {
    table.get(&patterns::FEATURE_TALLY, &feature_tally_key(id)).await
}

/// Returns the writes that add a feature.
pub fn create(feature: &Feature, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::FEATURE_WRITE)
        .create("feature", feature)
        .create("tally", &FeatureTally::new(feature))
        .create("audit", audit)
}

/// Returns the writes that replace the feature that was read at revision `rev`. The write with the label `feature`
/// fails if the feature has changed since.
pub fn update(feature: &Feature, rev: u64, audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::FEATURE_WRITE).replace("feature", feature, rev).create("audit", audit)
}

/// Returns the writes that mark a feature as merged into `target`, and create the job that moves its votes. They are
/// conditional on `target` being unchanged since it was read.
pub fn begin_merge(merged: &Feature, target: &Feature, audit: &AuditEntry, now: Timestamp) -> Commit {
    let job = Task::MergeFeature { feature_id: merged.id.clone() };
    update(merged, merged.rev - 1, audit)
        .expect("target", &target.key(), target.rev)
        .overwrite("job", &Job::new(merged.id.as_str().to_owned(), &job, now))
}

/// Returns the feature that receives the votes of a merged feature: the last one in the chain of merges. Returns
/// `None` if the feature was not merged, or the last one does not exist or is being deleted.
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

/// Marks a feature as being deleted and creates the job that deletes it. A feature that is already marked gets the
/// mark and the job again.
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

/// A feature with its numbers of votes and comments.
pub struct Listed {
    pub feature: Feature,
    pub tally: FeatureTally,
}

/// Order of a list of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Most votes first.
    Votes,
    /// Newest first.
    Newest,
}

/// Returns a page of a waitlist's features, without features that were merged or are being deleted. If many features
/// are filtered out, the page can be short although more pages follow.
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
        // The index is eventually consistent, so the features are read again from the table.
        let listed = batch(table, &ids.data).await?;
        for listed in listed {
            let feature = &listed.feature;
            let wanted = feature.is_shown() && status.is_none_or(|status| feature.settings.status == status);
            // A feature's rank can change between two reads, so that it appears twice.
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

/// Reads several features with their numbers, in the order of `ids`. Features that do not exist are left out.
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

/// Returns those of the features that the subscriber votes for.
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

/// Ballot: everything that a vote depends on.
pub struct Ballot {
    /// Feature that receives the vote. If the requested feature was merged, this is the last one in the chain of
    /// merges.
    pub feature: Feature,
    pub subscriber: Subscriber,
    vote: Option<Vote>,
    /// Votes of the subscriber for features that were merged into this one, and that the job has not moved yet.
    moving: Vec<Vote>,
}

/// Items of a ballot for one feature, which may have been merged into another.
pub struct BallotItems {
    feature: Feature,
    subscriber: Subscriber,
    vote: Option<Vote>,
}

fn items(feature: &FeatureId, subscriber: &SubscriberId) -> impl Wanted<Found = Option<BallotItems>> + use<> {
    let wanted =
        (one(feature_key(feature)), one(subscriber_key(subscriber)), one(vote_key(subscriber, feature)));
    wanted.map(|(feature, subscriber, vote)| {
        Some(BallotItems { feature: feature?, subscriber: subscriber?, vote })
    })
}

/// Lookup of the items of a ballot together with the signing key of an account, for callers that verify the subscriber's
/// token afterwards.
pub fn ballot_items(
    account: &AccountId,
    feature: &FeatureId,
    subscriber: Option<&SubscriberId>,
) -> Lookup<impl Wanted<Found = (Option<AccountSigning>, Option<BallotItems>)> + use<>> {
    let items = subscriber.map(|subscriber| items(feature, subscriber));
    let wanted = (one(AccountSigning::key_of(account)), items);
    Lookup::new(&patterns::BALLOT, wanted).map(|(signing, items)| (signing, items.flatten()))
}

/// Reads the ballot of a subscriber for a feature. Returns `None` if the feature or the subscriber does not exist.
pub async fn ballot(
    table: &Table,
    feature: &FeatureId,
    subscriber: &SubscriberId,
) -> Result<Option<Ballot>, TableError> {
    match table.look_up(Lookup::new(&patterns::BALLOT, items(feature, subscriber))).await? {
        Some(items) => items.ballot(table).await,
        None => Ok(None),
    }
}

impl BallotItems {
    /// Returns the ballot, for the feature into which this one was merged if it was. Returns `None` if that feature
    /// or the subscriber does not exist.
    pub async fn ballot(self, table: &Table) -> Result<Option<Ballot>, TableError> {
        let (mut found, mut moving) = (self, Vec::new());
        for _ in 0..HOPS {
            let Self { feature, subscriber, vote } = found;
            let Some(target) = &feature.merged_into else {
                return Ok(Some(Ballot { feature, subscriber, vote, moving }));
            };
            moving.extend(vote.filter(|vote| vote.stands));
            let lookup = Lookup::new(&patterns::BALLOT, items(target, &subscriber.id));
            match table.look_up(lookup).await? {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

impl Ballot {
    /// Returns the writes that cast the vote: none if the subscriber already votes for the feature. The write with
    /// the label `vote` or `subscriber` fails if that item has changed since it was read.
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

    /// Returns the writes that withdraw the vote, including votes that a merge has not moved yet. Returns `None` if
    /// there is no vote. The labels are those of [`Self::cast`].
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

/// Adds the write of a vote, conditional on the revision before it.
fn put(commit: Commit, vote: &Vote) -> Commit {
    match vote.rev {
        1 => commit.create("vote", vote),
        rev => commit.replace("vote", vote, rev - 1),
    }
}

/// Returns a page of the standing votes for a feature, in no particular order.
pub async fn voters(
    table: &Table,
    feature: &FeatureId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Vote>, TableError> {
    let shards: Vec<_> = (0..LIST_SHARDS).map(|shard| votes_of(feature, shard)).collect();
    table.page(&patterns::VOTES, &shards, false, after, limit).await
}

/// Returns up to `limit` votes of each shard. For work that goes through all votes.
async fn some_votes(table: &Table, feature: &FeatureId, limit: usize) -> Result<Vec<Vote>, TableError> {
    let mut votes = Vec::new();
    for shard in 0..LIST_SHARDS {
        let query = Query { limit: Some(limit), ..Query::partition(votes_of(feature, shard)) };
        votes.extend(table.query::<Vote>(&patterns::VOTES, query).await?);
    }
    Ok(votes)
}

/// Moves up to `limit` votes of each shard to the feature at the end of the chain of merges, or removes them if
/// there is none. Returns the number of votes.
///
/// # Errors
/// If the table is unavailable, or a voter keeps changing.
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
    // The index is eventually consistent, so vote and voter are read again from the table.
    let target_key = target.as_ref().map(|target| vote_key(voter, &target.id));
    let keys: Vec<Key> =
        [listed.key(), subscriber_key(voter)].into_iter().chain(target_key.clone()).collect();
    let mut found = table.batch_get(&patterns::VOTES_MOVE, &keys).await?;
    let vote = found.remove(&keys[0]).map(Vote::from_item).transpose()?;
    let Some(vote) = vote.filter(|vote| vote.stands) else { return Ok(()) };
    let commit = Commit::new(&patterns::VOTES_MOVE);
    let Some(subscriber) = found.remove(&keys[1]) else {
        // The voter was erased, so the vote is removed.
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
    // A subscriber who votes for both features keeps one vote. A subscriber who has withdrawn the vote for the
    // target since the merge has withdrawn both votes.
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

/// Removes a feature that has no votes and comments any more, with its numbers and roll-ups. The item of a merged
/// feature stays, because requests may still follow it to the feature that it was merged into.
pub async fn finish_delete(table: &Table, feature: &Feature) -> Result<(), CommitError> {
    rollups::forget(table, feature.id.as_str()).await?;
    let commit = Commit::new(&patterns::FEATURE_PURGE).purge("tally", &feature_tally_key(&feature.id));
    let commit = match feature.merged_into {
        Some(_) => commit,
        None => commit.purge("feature", &feature.key()),
    };
    commit.apply(table).await
}

/// Returns all features of a waitlist, including merged ones and those that are being deleted.
pub async fn all(table: &Table, waitlist: &WaitlistId) -> Result<Vec<Feature>, TableError> {
    table.query(&patterns::FEATURES, Query::partition(features_of(waitlist))).await
}

/// Removes the votes and comments of an erased subscriber.
pub async fn silence(table: &Table, subscriber: &SubscriberId) -> Result<(), TableError> {
    loop {
        let query =
            Query { consistent: true, limit: Some(1000), ..Query::partition(voice_partition(subscriber)) };
        let found = table.query_items(&patterns::VOICE_PURGE, query).await?;
        if found.is_empty() {
            return Ok(());
        }
        let comments = found.iter().filter_map(|item| CommentRef::from_item(item.clone()).ok());
        // References are removed after their comments, so that a retry still finds the comments.
        let comments: Vec<Key> = comments.map(|comment| comment_key(&comment.comment_id)).collect();
        purge(table, &patterns::VOICE_PURGE, comments).await?;
        purge(table, &patterns::VOICE_PURGE, found.iter().filter_map(key_of).collect()).await?;
    }
}

//! Projection of votes and comments: events, and the numbers of each feature.

use jiff::Timestamp;
use projection::{
    Context, Record,
    facts::{Actor, Counts, Fact, FactLog, Kind, NUMBERS, Numbers},
    rollups::Sums,
    stream::FollowError,
};
use table::{Commit, Entity, Table, TableError};

use crate::{
    events,
    feature::{Comment, CommentStatus, FeatureTally, Vote},
    id::FeatureId,
    patterns, store,
};

/// A change of a vote or a comment, read from a stream record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Vote { before: Option<Box<Vote>>, after: Option<Box<Vote>>, written_at: Timestamp },
    Comment { before: Option<Box<Comment>>, after: Option<Box<Comment>>, written_at: Timestamp },
}

impl Change {
    fn feature_id(&self) -> Option<&FeatureId> {
        match self {
            Self::Vote { before, after, .. } => Some(&after.as_ref().or(before.as_ref())?.feature_id),
            Self::Comment { before, after, .. } => Some(&after.as_ref().or(before.as_ref())?.feature_id),
        }
    }

    fn fact(&self) -> Option<Fact> {
        match self {
            Self::Vote { before, after, written_at } => {
                let stands = |vote: &Option<Box<Vote>>| vote.as_ref().is_some_and(|vote| vote.stands);
                let (kind, by) = match (stands(before), stands(after)) {
                    (false, true) => (events::FEATURE_VOTED, 1),
                    (true, false) => (events::FEATURE_UNVOTED, -1),
                    _ => return None,
                };
                let vote = after.as_ref().or(before.as_ref())?;
                // A removed vote does not store the time of its removal, so the time of the stream record is used.
                let at = after.as_ref().map_or(*written_at, |vote| vote.at);
                Some(Fact {
                    rev: vote.rev + u64::from(after.is_none()),
                    counts: vec![("votes", by)],
                    ..Fact::new(Kind::Event(kind), Actor::Subscriber(vote.subscriber_id.clone()), at)
                })
            }
            Self::Comment { before, after, written_at } => {
                let status = |comment: &Option<Box<Comment>>| comment.as_ref().map(|comment| comment.status);
                let approved = Some(CommentStatus::Approved);
                let (kind, counts) = match (status(before), status(after)) {
                    (from, to) if from == to => return None,
                    (_, Some(CommentStatus::Approved)) => (events::COMMENT_APPROVED, vec![("comments", 1)]),
                    (from, None) if from == approved => (events::COMMENT_ERASED, vec![("comments", -1)]),
                    (_, None) => (events::COMMENT_ERASED, Vec::new()),
                    (from, Some(CommentStatus::Rejected)) => {
                        let counts = if from == approved { vec![("comments", -1)] } else { Vec::new() };
                        (events::COMMENT_REJECTED, counts)
                    }
                    (_, Some(CommentStatus::Pending)) => (events::COMMENT_POSTED, Vec::new()),
                };
                let comment = after.as_ref().or(before.as_ref())?;
                let at = after.as_ref().map(|after| after.moderated_at.unwrap_or(after.created_at));
                let actor = Actor::Subscriber(comment.subscriber_id.clone());
                Some(Fact {
                    object_id: Some(comment.id.as_str().to_owned()),
                    rev: comment.rev + u64::from(after.is_none()),
                    counts,
                    ..Fact::new(Kind::Event(kind), actor, at.unwrap_or(*written_at))
                })
            }
        }
    }
}

/// Records and counts changes of votes and comments of one feature. A change that was counted before is left out.
///
/// # Errors
/// If the table is unavailable, or other workers keep changing the numbers.
pub async fn count(table: &Table, feature: &FeatureId, changes: &[Change]) -> Result<(), TableError> {
    let facts: Vec<Fact> = changes.iter().filter_map(Change::fact).collect();
    if facts.is_empty() {
        return Ok(());
    }
    // The feature was deleted, and its numbers with it.
    let Some(feature) = store::find(table, feature).await? else { return Ok(()) };
    let log = FactLog {
        pattern: &patterns::FEATURES_COUNT,
        account: &feature.account_id,
        topic: feature.id.as_str(),
    };
    let numbers = || async { store::tally(table, &feature.id).await };
    log.note(table, &facts, numbers).await
}

/// Replaces the numbers, on the condition that they are unchanged since they were read.
impl Numbers for FeatureTally {
    fn count(&self, _: &FactLog<'_>, counts: &Counts<'_>, _: &mut Sums, commit: Commit) -> Commit {
        if counts.are_zero() {
            return commit;
        }
        let after = Self {
            votes: self.votes + counts.of("votes"),
            comments: self.comments + counts.of("comments"),
            rev: self.rev + 1,
            ..self.clone()
        };
        commit.replace(NUMBERS, &after, self.rev)
    }
}

impl projection::Change for Change {
    const READS: &'static [&'static str] = &[Vote::TYPE, Comment::TYPE];

    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        let written_at = record.written_at;
        Ok(Some(if record.is::<Vote>() {
            Self::Vote { before: record.before()?, after: record.after()?, written_at }
        } else {
            Self::Comment { before: record.before()?, after: record.after()?, written_at }
        }))
    }

    /// Returns the feature: stream records of votes do not name their account.
    fn lane(&self) -> String {
        self.group()
    }

    fn group(&self) -> String {
        self.feature_id().map(FeatureId::to_string).unwrap_or_default()
    }

    async fn follow(context: &Context, changes: &[Self]) -> Result<(), FollowError> {
        match changes.first().and_then(Self::feature_id) {
            Some(feature) => Ok(count(&context.table, feature, changes).await?),
            None => Ok(()),
        }
    }
}

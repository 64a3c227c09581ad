//! Table items of features, votes and comments.
//!
//! A vote is stored in the partition of its voter. The rate of writes to that partition is bounded by the requests
//! of one subscriber.

use domain::id::SubscriberId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use table::{
    Entity, IndexKey, Key, REPLAYED_WITHIN, join,
    keys::{GSI1, GSI2},
    list_shard,
};
use waitlists::id::WaitlistId;

use crate::{
    feature::{Comment, CommentStatus, Feature, FeatureTally, Vote},
    id::{CommentId, FeatureId},
};

pub fn feature_key(id: &FeatureId) -> Key {
    Key::new(&["FEAT", id.as_str()], &["META"])
}

pub(crate) fn features_of(waitlist: &WaitlistId) -> String {
    join(&["WLFEATS", waitlist.as_str()])
}

impl Entity for Feature {
    const TYPE: &'static str = "feature";
    fn key(&self) -> Key {
        feature_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let sk = self.id.as_str().to_owned();
        vec![IndexKey { index: GSI1, pk: features_of(&self.waitlist_id), sk }]
    }
}

pub fn feature_tally_key(id: &FeatureId) -> Key {
    Key::new(&["FEAT", id.as_str()], &["TALLY"])
}

pub(crate) fn features_by_votes(waitlist: &WaitlistId) -> String {
    join(&["TOPFEATS", waitlist.as_str()])
}

impl Entity for FeatureTally {
    const TYPE: &'static str = "feature_tally";
    fn key(&self) -> Key {
        feature_tally_key(&self.feature_id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let rank = format!("{:020}#{}", i64::MAX - self.votes.max(0), self.feature_id);
        vec![IndexKey { index: GSI2, pk: features_by_votes(&self.waitlist_id), sk: rank }]
    }
}

/// Returns the partition of a subscriber's votes and references to comments.
pub(crate) fn voice_partition(subscriber: &SubscriberId) -> String {
    join(&["VOICE", subscriber.as_str()])
}

pub fn vote_key(subscriber: &SubscriberId, feature: &FeatureId) -> Key {
    Key::new(&["VOICE", subscriber.as_str()], &["VOTE", feature.as_str()])
}

pub(crate) fn votes_of(feature: &FeatureId, shard: u8) -> String {
    join(&["FEATVOTES", feature.as_str(), &shard.to_string()])
}

impl Entity for Vote {
    const TYPE: &'static str = "vote";
    fn key(&self) -> Key {
        vote_key(&self.subscriber_id, &self.feature_id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let voter = self.subscriber_id.as_str();
        let pk = votes_of(&self.feature_id, list_shard(voter));
        let listed = IndexKey { index: GSI1, pk, sk: voter.to_owned() };
        self.stands.then_some(listed).into_iter().collect()
    }
    /// Keeps a withdrawn vote as a tombstone for as long as its change may be replayed.
    fn expires(&self) -> Option<Timestamp> {
        (!self.stands).then(|| self.at + REPLAYED_WITHIN)
    }
}

pub fn comment_key(id: &CommentId) -> Key {
    Key::new(&["CMT", id.as_str()], &["META"])
}

pub(crate) fn comments_of(feature: &FeatureId, status: CommentStatus) -> String {
    join(&["FEATCMTS", feature.as_str(), status.name()])
}

pub(crate) fn moderation_of(waitlist: &WaitlistId) -> String {
    join(&["MODERATION", waitlist.as_str()])
}

impl Entity for Comment {
    const TYPE: &'static str = "comment";
    fn key(&self) -> Key {
        comment_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let sk = self.id.as_str().to_owned();
        let listed = IndexKey { index: GSI1, pk: comments_of(&self.feature_id, self.status), sk: sk.clone() };
        let waits = IndexKey { index: GSI2, pk: moderation_of(&self.waitlist_id), sk };
        let waits = (self.status == CommentStatus::Pending).then_some(waits);
        std::iter::once(listed).chain(waits).collect()
    }
}

/// Reference from a subscriber to one of the subscriber's comments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentRef {
    pub subscriber_id: SubscriberId,
    pub comment_id: CommentId,
}

impl CommentRef {
    pub fn of(comment: &Comment) -> Self {
        Self { subscriber_id: comment.subscriber_id.clone(), comment_id: comment.id.clone() }
    }
}

impl Entity for CommentRef {
    const TYPE: &'static str = "comment_ref";
    fn key(&self) -> Key {
        Key::new(&["VOICE", self.subscriber_id.as_str()], &["COMMENT", self.comment_id.as_str()])
    }
}

/// Task of a job: work that takes longer than a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Moves the votes of a merged feature to the feature that it was merged into.
    MergeFeature { feature_id: FeatureId },
    /// Deletes a feature with its votes and comments.
    DeleteFeature { feature_id: FeatureId },
}

//! What the feature-vote family takes and gives.

use domain::{
    id::SubscriberId,
    text::{Name, Prose},
};
use features::{
    Listed, Order,
    feature::{Comment, CommentStatus, Feature, FeatureSettings, FeatureStatus, Vote, demand_index},
    id::{CommentId, FeatureId},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waitlists::id::WaitlistId;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureRequest {
    /// Whose subscribers may vote.
    pub waitlist_id: WaitlistId,
    pub title: Name,
    pub description: Option<Prose>,
    /// `proposed` when left out.
    pub status: Option<FeatureStatus>,
}

impl FeatureRequest {
    pub fn settings(&self) -> FeatureSettings {
        FeatureSettings {
            title: self.title.clone(),
            description: self.description.clone(),
            status: self.status.unwrap_or(FeatureStatus::Proposed),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct FeatureView {
    pub id: FeatureId,
    pub waitlist_id: WaitlistId,
    pub title: Name,
    #[schema(required)]
    pub description: Option<Prose>,
    pub status: FeatureStatus,
    /// Votes that stand, up to a second behind.
    pub votes: u64,
    /// Approved comments.
    pub comments: u64,
    /// 0–100: the share of the list's members who want it, as far as the votes prove it (the lower bound of Wilson's
    /// 95 % interval, in percent).
    pub demand_index: f64,
    /// Whether the owner of the `X-Subscriber-Token` votes for it; left out without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voted: Option<bool>,
    /// The feature that has its voters now.
    #[schema(required)]
    pub merged_into: Option<FeatureId>,
    /// Being deleted: it takes nothing.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl FeatureView {
    /// Of a list with so many members.
    pub fn of(Listed { feature, tally }: Listed, members: u64, voted: Option<bool>) -> Self {
        let Feature { id, waitlist_id, settings, merged_into, deleting, created_at, updated_at, .. } =
            feature;
        let FeatureSettings { title, description, status } = settings;
        let [votes, comments] = [tally.votes, tally.comments].map(|count| count.max(0).unsigned_abs());
        Self {
            id,
            waitlist_id,
            title,
            description,
            status,
            votes,
            comments,
            demand_index: demand_index(votes, members),
            voted,
            merged_into,
            deleting,
            created_at,
            updated_at,
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Most wanted first.
    #[default]
    Votes,
    Newest,
}

impl From<Sort> for Order {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Votes => Self::Votes,
            Sort::Newest => Self::Newest,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FeatureFilter {
    #[param(value_type = String)]
    pub waitlist_id: WaitlistId,
    #[param(inline)]
    pub status: Option<FeatureStatus>,
    /// `votes` when left out.
    #[param(inline)]
    pub sort: Option<Sort>,
    /// Where to go on: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Entries in a page, 1–100; 20 when left out.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeRequest {
    /// The feature of the same waitlist that gets the voters.
    pub into: FeatureId,
}

/// How a subscriber's vote stands.
#[derive(Serialize, ToSchema)]
pub struct VoteView {
    /// The feature that the vote is for: where the one asked for was merged into, if it was.
    pub feature_id: FeatureId,
    pub voted: bool,
}

/// Who votes for a feature.
#[derive(Serialize, ToSchema)]
pub struct VoterView {
    pub subscriber_id: SubscriberId,
    pub at: Timestamp,
}

impl From<Vote> for VoterView {
    fn from(Vote { subscriber_id, at, .. }: Vote) -> Self {
        Self { subscriber_id, at }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommentRequest {
    pub feature_id: FeatureId,
    pub text: Prose,
}

#[derive(Serialize, ToSchema)]
pub struct CommentView {
    pub id: CommentId,
    pub feature_id: FeatureId,
    /// First name and initial, or the address with most of it hidden.
    pub author: String,
    /// Only with a secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_id: Option<SubscriberId>,
    pub text: Prose,
    pub status: CommentStatus,
    pub created_at: Timestamp,
}

impl CommentView {
    /// As moderators see it.
    pub fn whole(comment: Comment) -> Self {
        Self { subscriber_id: Some(comment.subscriber_id.clone()), ..Self::public(comment) }
    }

    pub fn public(comment: Comment) -> Self {
        let Comment { id, feature_id, author, text, status, created_at, .. } = comment;
        Self { id, feature_id, author, subscriber_id: None, text, status, created_at }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CommentFilter {
    /// Comments on this feature, newest first.
    #[param(value_type = Option<String>)]
    pub feature_id: Option<FeatureId>,
    /// Instead of a feature, with a secret key: all of a waitlist's that wait for a moderator, oldest first.
    #[param(value_type = Option<String>)]
    pub waitlist_id: Option<WaitlistId>,
    /// Of a feature; `approved` when left out. Others need a secret key.
    #[param(inline)]
    pub status: Option<CommentStatus>,
    /// Where to go on: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Entries in a page, 1–100; 20 when left out.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Moderation {
    /// `approved` or `rejected`.
    pub status: Verdict,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Approved,
    Rejected,
}

impl From<Verdict> for CommentStatus {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Approved => Self::Approved,
            Verdict::Rejected => Self::Rejected,
        }
    }
}

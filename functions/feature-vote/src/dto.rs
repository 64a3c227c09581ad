//! Request and response bodies of the feature-vote family.

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

/// Feature to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureRequest {
    /// Waitlist whose subscribers may vote for the feature.
    pub waitlist_id: WaitlistId,
    pub title: Name,
    pub description: Option<Prose>,
    /// Status of the feature. Default: `proposed`.
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

/// Feature with its votes and comments.
#[derive(Serialize, ToSchema)]
pub struct FeatureView {
    pub id: FeatureId,
    pub waitlist_id: WaitlistId,
    pub title: Name,
    #[schema(required)]
    pub description: Option<Prose>,
    pub status: FeatureStatus,
    /// Number of votes. The number can be up to a second behind.
    pub votes: u64,
    /// Number of approved comments.
    pub comments: u64,
    /// Estimated share of the waitlist's verified members who want the feature, 0–100 percent to one decimal: the
    /// lower bound of Wilson's 95 % interval.
    pub demand_index: f64,
    /// True if the owner of the `X-Subscriber-Token` votes for the feature. Present only in a list that was
    /// requested with this header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voted: Option<bool>,
    /// Feature into which this feature was merged; `null` if it was not merged.
    #[schema(required)]
    pub merged_into: Option<FeatureId>,
    /// True while the feature is being deleted. A feature that is being deleted accepts no votes, comments or
    /// changes.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl FeatureView {
    /// Creates the view of a feature on a waitlist with this number of verified members.
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

/// Order of a list of features.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Most votes first.
    #[default]
    Votes,
    /// Newest first.
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
    /// Only features with this status.
    #[param(inline)]
    pub status: Option<FeatureStatus>,
    /// Order: most votes first (`votes`) or newest first (`newest`). Default: `votes`.
    #[param(inline)]
    pub sort: Option<Sort>,
    /// Start of the page: `next_cursor` of the previous page. Leave it out for the first page.
    pub cursor: Option<String>,
    /// Maximum number of entries in the page, 1–100. Default: 20.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// Merge of a feature into another one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeRequest {
    /// Feature of the same waitlist that receives the votes.
    pub into: FeatureId,
}

/// State of a subscriber's vote for a feature.
#[derive(Serialize, ToSchema)]
pub struct VoteView {
    /// Feature that the vote counts for. If the requested feature was merged, this is the feature into which it was
    /// merged.
    pub feature_id: FeatureId,
    /// True if the subscriber votes for the feature.
    pub voted: bool,
}

/// Subscriber who votes for a feature.
#[derive(Serialize, ToSchema)]
pub struct VoterView {
    pub subscriber_id: SubscriberId,
    /// Time of the vote.
    pub at: Timestamp,
}

impl From<Vote> for VoterView {
    fn from(Vote { subscriber_id, at, .. }: Vote) -> Self {
        Self { subscriber_id, at }
    }
}

/// Comment to post on a feature.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommentRequest {
    pub feature_id: FeatureId,
    pub text: Prose,
}

/// Comment on a feature.
#[derive(Serialize, ToSchema)]
pub struct CommentView {
    pub id: CommentId,
    pub feature_id: FeatureId,
    /// First name and initial of the author, or the masked email address.
    pub author: String,
    /// Id of the author. Never present in a response to a publishable key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_id: Option<SubscriberId>,
    pub text: Prose,
    pub status: CommentStatus,
    pub created_at: Timestamp,
}

impl CommentView {
    /// Creates the view for moderators, with the author's id.
    pub fn whole(comment: Comment) -> Self {
        Self { subscriber_id: Some(comment.subscriber_id.clone()), ..Self::public(comment) }
    }

    /// Creates the view for web pages, without the author's id.
    pub fn public(comment: Comment) -> Self {
        let Comment { id, feature_id, author, text, status, created_at, .. } = comment;
        Self { id, feature_id, author, subscriber_id: None, text, status, created_at }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CommentFilter {
    /// Feature whose comments to list, newest first. Either `feature_id` or `waitlist_id` is required.
    #[param(value_type = Option<String>)]
    pub feature_id: Option<FeatureId>,
    /// Waitlist whose pending comments to list, oldest first. Not allowed with a publishable key.
    #[param(value_type = Option<String>)]
    pub waitlist_id: Option<WaitlistId>,
    /// Only comments with this status. Default: `approved` with `feature_id`, `pending` with `waitlist_id`. A
    /// publishable key may list only approved comments; with `waitlist_id`, only `pending` is allowed.
    #[param(inline)]
    pub status: Option<CommentStatus>,
    /// Start of the page: `next_cursor` of the previous page. Leave it out for the first page.
    pub cursor: Option<String>,
    /// Maximum number of entries in the page, 1–100. Default: 20.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// Decision on a comment.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Moderation {
    /// New status of the comment: `approved` or `rejected`.
    pub status: Verdict,
}

/// Decision of a moderator.
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

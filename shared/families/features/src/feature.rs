//! Features that subscribers vote for and comment on, and the demand index.

use crate::id::{CommentId, FeatureId};
use domain::{
    id::{AccountId, SubscriberId},
    text::{Name, Prose},
};
use jiff::Timestamp;
use waitlists::{id::WaitlistId, subscriber::Subscriber};

/// Status of a feature. Subscribers can vote while the status is `proposed`, `planned` or `in_progress`, and not
/// once it is `shipped` or `declined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureStatus {
    Proposed,
    Planned,
    InProgress,
    Shipped,
    Declined,
}

impl FeatureStatus {
    /// Returns true if subscribers can vote.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Proposed | Self::Planned | Self::InProgress)
    }
}

/// Settings of a feature.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureSettings {
    pub title: Name,
    #[serde(default)]
    pub description: Option<Prose>,
    #[serde(default = "proposed")]
    pub status: FeatureStatus,
}

fn proposed() -> FeatureStatus {
    FeatureStatus::Proposed
}

/// A feature that the subscribers of a waitlist can vote for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Feature {
    pub id: FeatureId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub settings: FeatureSettings,
    /// Feature that this one was merged into, and that receives its votes. `merged_at` is the time of the merge.
    pub merged_into: Option<FeatureId>,
    pub merged_at: Option<Timestamp>,
    /// True while the feature is being deleted. It accepts no votes and comments.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Feature {
    pub fn new(account: AccountId, waitlist: WaitlistId, settings: FeatureSettings, now: Timestamp) -> Self {
        Self {
            id: FeatureId::new(now),
            account_id: account,
            waitlist_id: waitlist,
            settings,
            merged_into: None,
            merged_at: None,
            deleting: false,
            created_at: now,
            updated_at: now,
            rev: 1,
        }
    }

    /// Returns the next revision, otherwise unchanged.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Self {
        Self { updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// Returns the next revision, merged into `target`.
    #[must_use]
    pub fn merged(&self, target: FeatureId, now: Timestamp) -> Self {
        Self { merged_into: Some(target), merged_at: Some(now), ..self.next(now) }
    }

    /// Returns true if the feature is listed.
    pub fn is_shown(&self) -> bool {
        self.merged_into.is_none() && !self.deleting
    }
}

/// Vote of one subscriber for one feature. A withdrawn vote stays stored, so that each change has a revision of its
/// own.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Vote {
    pub feature_id: FeatureId,
    pub subscriber_id: SubscriberId,
    pub waitlist_id: WaitlistId,
    /// True if the vote counts; false if it was withdrawn.
    pub stands: bool,
    /// Time at which the vote was cast or withdrawn.
    pub at: Timestamp,
    pub rev: u64,
}

impl Vote {
    /// Returns the next revision of the vote; the first one if there is none `before`.
    pub fn after(
        before: Option<&Self>,
        feature: &FeatureId,
        subscriber: &Subscriber,
        stands: bool,
        now: Timestamp,
    ) -> Self {
        Self {
            feature_id: feature.clone(),
            subscriber_id: subscriber.id.clone(),
            waitlist_id: subscriber.waitlist_id.clone(),
            stands,
            at: now,
            rev: before.map_or(0, |before| before.rev) + 1,
        }
    }
}

/// Status of a comment.
///
/// - `pending`: the comment waits for moderation and is not public.
/// - `approved`: the comment is public.
/// - `rejected`: the comment is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommentStatus {
    /// Waits for moderation; not public.
    Pending,
    /// Public.
    Approved,
    /// Not public.
    Rejected,
}

impl CommentStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

/// Comment of a subscriber on a feature.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Comment {
    pub id: CommentId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub feature_id: FeatureId,
    pub subscriber_id: SubscriberId,
    /// Public name of the author: a first name and an initial, or a masked address.
    pub author: String,
    pub text: Prose,
    pub status: CommentStatus,
    pub created_at: Timestamp,
    pub moderated_at: Option<Timestamp>,
    /// Id of the API key or member that moderated the comment.
    pub moderated_by: Option<String>,
    pub rev: u64,
}

/// Numbers of votes and approved comments of a feature, as counted by the projector. A number can be negative for a
/// moment, if changes are counted out of order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FeatureTally {
    pub feature_id: FeatureId,
    pub waitlist_id: WaitlistId,
    pub votes: i64,
    pub comments: i64,
    pub rev: u64,
}

impl FeatureTally {
    pub fn new(feature: &Feature) -> Self {
        Self {
            feature_id: feature.id.clone(),
            waitlist_id: feature.waitlist_id.clone(),
            votes: 0,
            comments: 0,
            rev: 1,
        }
    }
}

/// Returns the demand index: a conservative estimate of the share of a waitlist's members who want a feature, in
/// percent. The index is the lower bound of the Wilson score interval at 95 %, rounded to one decimal, so few votes
/// prove less than many: 3 of 4 members give 30.1, 300 of 400 give 70.5.
pub fn demand_index(votes: u64, members: u64) -> f64 {
    const Z: f64 = 1.96;
    if votes == 0 {
        return 0.0;
    }
    // There can be more votes than members, because voters may have left the list. Such voters count as members.
    #[expect(clippy::cast_precision_loss, reason = "waitlists have fewer than 2^53 members")]
    let (votes, all) = (votes as f64, members.max(votes) as f64);
    let share = votes / all;
    let z2 = Z * Z / all;
    let spread = Z * (share * (1.0 - share) / all + z2 / (4.0 * all)).sqrt();
    let bound = (share + z2 / 2.0 - spread) / (1.0 + z2);
    (bound * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_what_the_votes_prove() {
        // Expected values: `proportion_confint(votes, members, method="wilson")` of statsmodels.
        for (votes, members, index) in [
            (0, 0, 0.0),
            (0, 100, 0.0),
            (3, 4, 30.1),
            (300, 400, 70.5),
            (1, 1, 20.7),
            (50, 100, 40.4),
            (5, 3, 56.6),
        ] {
            assert_eq!(demand_index(votes, members), index, "{votes} of {members}");
        }
        assert!(demand_index(100, 1000) < demand_index(110, 1000));
    }
}

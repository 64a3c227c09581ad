//! Feature voting: what people want, how many of them, and what they say about it.

use crate::id::{CommentId, FeatureId};
use domain::{
    id::{AccountId, SubscriberId},
    text::{Name, Prose},
};
use jiff::Timestamp;
use waitlists::{id::WaitlistId, subscriber::Subscriber};

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
    /// Whether people may still vote.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Proposed | Self::Planned | Self::InProgress)
    }
}

/// Everything that the owner of a feature decides about it.
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

/// Something that those on a waitlist may vote for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Feature {
    pub id: FeatureId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub settings: FeatureSettings,
    /// The one that has its voters now, and since when.
    pub merged_into: Option<FeatureId>,
    pub merged_at: Option<Timestamp>,
    /// Being deleted: it takes nothing.
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

    /// The next revision, as it is.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Self {
        Self { updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// The next revision: its voters are another one's.
    #[must_use]
    pub fn merged(&self, target: FeatureId, now: Timestamp) -> Self {
        Self { merged_into: Some(target), merged_at: Some(now), ..self.next(now) }
    }

    /// Whether it is listed.
    pub fn is_shown(&self) -> bool {
        self.merged_into.is_none() && !self.deleting
    }
}

/// One subscriber's vote for one feature. Taken back it stays, so that each change has a number.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Vote {
    pub feature_id: FeatureId,
    pub subscriber_id: SubscriberId,
    pub waitlist_id: WaitlistId,
    /// Whether it counts.
    pub stands: bool,
    /// When it was cast or taken back.
    pub at: Timestamp,
    pub rev: u64,
}

impl Vote {
    /// The vote after this one, or the first.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommentStatus {
    /// Waits for a moderator; nobody else sees it.
    Pending,
    Approved,
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

/// What a subscriber says about a feature.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Comment {
    pub id: CommentId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub feature_id: FeatureId,
    pub subscriber_id: SubscriberId,
    /// The author as others see it; never a whole address.
    pub author: String,
    pub text: Prose,
    pub status: CommentStatus,
    pub created_at: Timestamp,
    pub moderated_at: Option<Timestamp>,
    /// The key or member that moderated it.
    pub moderated_by: Option<String>,
    pub rev: u64,
}

/// How many votes and approved comments a feature has, as far as the projector has counted: less than none, when what
/// came first was counted last.
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

/// The share of those on the list who want a feature, in percent, as far as the votes prove it: the lower bound of
/// Wilson's 95 % interval, to one decimal. Three votes among four prove less than 300 among 400.
pub fn demand_index(votes: u64, members: u64) -> f64 {
    const Z: f64 = 1.96;
    if votes == 0 {
        return 0.0;
    }
    // Who voted and left the list since is one of those who were asked.
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
        // As `proportion_confint(votes, members, method="wilson")` of statsmodels gives it.
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

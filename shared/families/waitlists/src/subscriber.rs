//! Subscribers, referrals, ledger entries and rewards.

use domain::{
    consent::Consent,
    email::Email,
    id::{AccountId, SubscriberId},
    text::{Metadata, Name, Word},
};
use jiff::Timestamp;

use crate::{
    fraud::{Assessment, Origin},
    id::{LedgerId, ReferralId, RewardId, WaitlistId},
    line::Place,
    referral_code::ReferralCode,
    waitlist::RewardTier,
};

/// Status of a subscriber.
///
/// - `pending`: the subscriber has joined and not yet confirmed the email address. The subscriber is not in line,
///   and the referrer has no credit yet.
/// - `active`: the subscriber is in line.
/// - `invited`: the subscriber was invited and has left the line.
/// - `converted`: the subscriber was marked as a customer and has left the line.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SubscriberStatus {
    /// Joined, address not yet verified. Not in line; the referrer has no credit yet.
    Pending,
    /// Is in line.
    Active,
    /// Invited; no longer in line.
    Invited,
    /// Marked as a customer; no longer in line.
    Converted,
}

impl SubscriberStatus {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Invited, Self::Converted];
}

/// Request of an unsubscribed subscriber to receive mail again, made by joining again. Anybody can type an address,
/// so the request takes effect only after it is confirmed through a mail to the address.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReturnRequest {
    /// Consent given in the new join.
    pub consent: Consent,
    /// Source named in the new join.
    pub source: Option<Word>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Subscriber {
    pub id: SubscriberId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub email: Email,
    pub name: Option<Name>,
    #[serde(with = "domain::text::as_text")]
    pub metadata: Metadata,
    pub consent: Consent,
    /// Source that the visitor came from, e.g. `newsletter`.
    pub source: Option<Word>,
    pub status: SubscriberStatus,
    pub referral_code: ReferralCode,
    /// Referrer, whose referral code was given. Set once, in the join.
    pub referred_by: Option<SubscriberId>,
    /// Number in line, counted from 1 and taken on entering the line. `None` while pending.
    pub number: Option<u64>,
    /// True if the subscriber holds a seat of a waitlist with a capacity. The erasure gives the seat back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seated: bool,
    /// Number of credited referrals.
    pub referrals: u32,
    /// Total number of places that the credited referrals move the entry up.
    pub places: u64,
    /// Number of standing votes for features.
    #[serde(default)]
    pub votes: u32,
    /// Number of approved comments.
    #[serde(default)]
    pub comments: u32,
    /// True if the address is at a provider of throw-away mailboxes.
    pub disposable: bool,
    pub origin: Origin,
    pub joined_at: Timestamp,
    pub verified_at: Option<Timestamp>,
    pub invited_at: Option<Timestamp>,
    pub converted_at: Option<Timestamp>,
    /// Time of the unsubscription. While set, the only mail sent is the one that asks to confirm a return.
    pub unsubscribed_at: Option<Timestamp>,
    /// Request to receive mail again that is not confirmed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_request: Option<ReturnRequest>,
    /// Time at which the last mail that asks to confirm a return was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_requested_at: Option<Timestamp>,
    /// Time of the last activity that counts for the hot score.
    pub active_at: Timestamp,
    /// Number of mails requested so far. Each number identifies one mail, so a repeated request sends no second mail.
    pub mail_requests: u32,
    pub mail_requested_at: Option<Timestamp>,
    /// Revision of the subscriber.
    pub rev: u64,
}

impl Subscriber {
    /// Returns the place of the subscriber's entry; `None` if the subscriber is not in line.
    pub fn place(&self) -> Option<Place> {
        (self.status == SubscriberStatus::Active)
            .then_some(self.number)
            .flatten()
            .map(|number| Place::new(number, self.places))
    }

    /// Returns the subscriber with one more mail requested.
    pub fn asking_for_mail(self, now: Timestamp) -> Self {
        Self { mail_requests: self.mail_requests + 1, mail_requested_at: Some(now), ..self }
    }

    /// Returns the subscriber after it confirmed to receive mail again: no longer unsubscribed, and with a new
    /// consent.
    pub fn returned(self, now: Timestamp) -> Self {
        let (consent, source) = match self.return_request {
            Some(request) => (request.consent, request.source.or(self.source)),
            None => (self.consent, self.source),
        };
        let consent = Consent { at: now, ..consent };
        let returned = Self { unsubscribed_at: None, return_request: None, consent, source, ..self };
        match returned.status {
            // The invitation was not mailed while the subscriber was unsubscribed, so it is mailed now.
            SubscriberStatus::Invited => returned.asking_for_mail(now),
            _ => returned,
        }
    }

    /// Returns the hot score, from engagement and recency; see [`hot_score`].
    pub fn hot(&self) -> f64 {
        hot_score(self.referrals, self.votes, self.comments, self.active_at)
    }

    /// Returns the name that other people see: the first name and an initial, or the masked address if there is no
    /// name, or if the given name does not look like one.
    pub fn public_name(&self) -> String {
        let is_name =
            |word: &&str| word.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '’' | '-' | '.'));
        let words: Vec<_> = self.name.iter().flat_map(|name| name.as_str().split_whitespace()).collect();
        match words.as_slice() {
            [] => self.email.masked(),
            words if !words.iter().all(is_name) || words[0].contains('.') => self.email.masked(),
            [first] => (*first).to_owned(),
            [first, .., last] => format!("{first} {}.", last.chars().take(1).collect::<String>()),
        }
    }
}

/// Returns the hot score: `log2(1 + 3·referrals + 2·comments + votes) + weeks from 2025-01-01 to the last activity`.
///
/// Twice the engagement is worth one week of recency. The score changes only when the subscriber's item changes, not
/// with time, so an index can keep the order. The formula follows Reddit's "hot" ranking.
pub fn hot_score(referrals: u32, votes: u32, comments: u32, last_active: Timestamp) -> f64 {
    const START: f64 = 1_735_689_600.0;
    const WEEK: f64 = 604_800.0;
    let engagement = 1.0 + 3.0 * f64::from(referrals) + 2.0 * f64::from(comments) + f64::from(votes);
    #[expect(clippy::cast_precision_loss, reason = "a second in 2^53 is no loss")]
    let weeks = (last_active.as_second() as f64 - START) / WEEK;
    engagement.log2() + weeks
}

/// Status of a referral. The friend is the subscriber who joined through the referral link.
///
/// - `pending`: the friend has not confirmed the email address.
/// - `confirmed`: the friend is in line. The referrer is credited shortly.
/// - `credited`: the referrer has the credit.
/// - `revoked`: a reviewer revoked the credit.
/// - `void`: no credit is given. The referrer or the pending friend was erased, or the friend had referred the
///   referrer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReferralStatus {
    /// The friend has not verified the address.
    Pending,
    /// The friend is in line. The projector gives the credit next.
    Confirmed,
    /// The referrer has the credit.
    Credited,
    /// A reviewer revoked the credit.
    Revoked,
    /// No credit is given: the referrer or the pending friend was erased, or the friend had referred the referrer.
    Void,
}

/// A referral: one subscriber, the friend, who joined through the referral link of another, the referrer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Referral {
    pub id: ReferralId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub referrer_id: SubscriberId,
    /// Subscriber who joined through the referral link.
    pub referee_id: SubscriberId,
    pub status: ReferralStatus,
    /// Number of places that the referral moves the referrer up. Set from the waitlist's settings when the referral
    /// is credited.
    pub places: u32,
    pub disposable: bool,
    pub origin: Origin,
    pub assessment: Assessment,
    pub created_at: Timestamp,
    pub credited_at: Option<Timestamp>,
    pub rev: u64,
}

/// Change of the credit for a referral.
///
/// - `credited`: the referrer received the credit.
/// - `revoked`: a reviewer revoked the credit.
/// - `restored`: a reviewer restored a revoked credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerChange {
    Credited,
    Revoked,
    Restored,
}

/// An entry in a subscriber's referral ledger. The sum of the entries is the subscriber's credits.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct LedgerEntry {
    pub id: LedgerId,
    pub subscriber_id: SubscriberId,
    pub referral_id: ReferralId,
    pub change: LedgerChange,
    /// Change of the number of credited referrals: 1 or −1.
    pub referrals: i32,
    /// Change of the number of places.
    pub places: i64,
    /// Id of the API key or member that made the change, or `platform`.
    pub actor: String,
    pub at: Timestamp,
}

/// Status of a subscriber's reward.
///
/// - `issued`: the subscriber has enough credited referrals for the tier.
/// - `revoked`: the number of credited referrals fell below the tier again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardStatus {
    /// The subscriber has enough credited referrals for the tier.
    Issued,
    /// The number of credited referrals fell below the tier again.
    Revoked,
}

/// Reward of a subscriber who reached a tier. A subscriber has at most one reward for each tier.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Reward {
    pub id: RewardId,
    pub subscriber_id: SubscriberId,
    pub waitlist_id: WaitlistId,
    pub tier: RewardTier,
    pub status: RewardStatus,
    pub issued_at: Timestamp,
    pub rev: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_engagement_is_worth_a_week() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let next_week = Timestamp::from_second(1_800_604_800).unwrap();
        assert!((hot_score(0, 0, 0, next_week) - hot_score(0, 1, 0, now)).abs() < 1e-9);
        assert!(hot_score(1, 0, 0, now) > hot_score(0, 0, 1, now));
        assert!(hot_score(0, 0, 1, now) > hot_score(0, 1, 0, now));
    }
}

//! Subscribers: their life on a waitlist, their referrals and rewards.

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
    /// Joined, address not yet verified: not in line, earns nobody a credit.
    Pending,
    /// In line.
    Active,
    /// Let in: no longer in line.
    Invited,
    /// Became a customer: no longer in line.
    Converted,
}

impl SubscriberStatus {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Invited, Self::Converted];
}

/// A wish to get mail again after unsubscribing, uttered by joining again. Anybody can type an address, so the wish
/// counts only once it is confirmed by a mail to it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReturnRequest {
    /// Consent given by joining again.
    pub consent: Consent,
    /// Where the visitor came from this time.
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
    /// Where the visitor came from, e.g. `newsletter`.
    pub source: Option<Word>,
    pub status: SubscriberStatus,
    pub referral_code: ReferralCode,
    /// Whose link was followed. Set once, at joining.
    pub referred_by: Option<SubscriberId>,
    /// The number taken when entering the line, from 1; none while pending.
    pub number: Option<u64>,
    /// Has one of the seats of a waitlist with a capacity; gives it back when erased.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seated: bool,
    /// Credited referrals.
    pub referrals: u32,
    /// How many places those referrals moved this entry up, in all.
    pub places: u64,
    /// Votes for features that stand.
    #[serde(default)]
    pub votes: u32,
    /// Comments that were approved.
    #[serde(default)]
    pub comments: u32,
    /// The address is at a provider of throw-away mailboxes.
    pub disposable: bool,
    pub origin: Origin,
    pub joined_at: Timestamp,
    pub verified_at: Option<Timestamp>,
    pub invited_at: Option<Timestamp>,
    pub converted_at: Option<Timestamp>,
    /// No mail is sent while this is set, but for the one that asks to confirm a return.
    pub unsubscribed_at: Option<Timestamp>,
    /// Waits to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_request: Option<ReturnRequest>,
    /// When a mail was last asked for that has a return confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_requested_at: Option<Timestamp>,
    /// When this subscriber last did something that counts.
    pub active_at: Timestamp,
    /// Mails asked for; each number is sent once.
    pub mail_requests: u32,
    pub mail_requested_at: Option<Timestamp>,
    /// Counts the changes.
    pub rev: u64,
}

impl Subscriber {
    /// Where this entry stands, if it is in line.
    pub fn place(&self) -> Option<Place> {
        (self.status == SubscriberStatus::Active)
            .then_some(self.number)
            .flatten()
            .map(|number| Place::new(number, self.places))
    }

    /// The subscriber with one more mail asked for.
    pub fn asking_for_mail(self, now: Timestamp) -> Self {
        Self { mail_requests: self.mail_requests + 1, mail_requested_at: Some(now), ..self }
    }

    /// The subscriber whose wish to get mail again has just been confirmed: a new consent.
    pub fn returned(self, now: Timestamp) -> Self {
        let (consent, source) = match self.return_request {
            Some(request) => (request.consent, request.source.or(self.source)),
            None => (self.consent, self.source),
        };
        let consent = Consent { at: now, ..consent };
        let returned = Self { unsubscribed_at: None, return_request: None, consent, source, ..self };
        match returned.status {
            // The invitation was not mailed.
            SubscriberStatus::Invited => returned.asking_for_mail(now),
            _ => returned,
        }
    }

    /// Engagement first, with recency: see [`hot_score`].
    pub fn hot(&self) -> f64 {
        hot_score(self.referrals, self.votes, self.comments, self.active_at)
    }

    /// How others see this subscriber: first name and initial, or the address with most
    /// of it hidden, also when what was given as a name isn't one.
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

/// `log2(1 + 3·referrals + 2·comments + votes) + weeks from 2025-01-01 to the last activity`.
///
/// Twice the engagement is worth a week of recency. The score of an entry changes
/// only when the entry does something, so that an index can keep the order.
/// The form is Reddit's "hot" ranking.
pub fn hot_score(referrals: u32, votes: u32, comments: u32, last_active: Timestamp) -> f64 {
    const START: f64 = 1_735_689_600.0;
    const WEEK: f64 = 604_800.0;
    let engagement = 1.0 + 3.0 * f64::from(referrals) + 2.0 * f64::from(comments) + f64::from(votes);
    #[expect(clippy::cast_precision_loss, reason = "a second in 2^53 is no loss")]
    let weeks = (last_active.as_second() as f64 - START) / WEEK;
    engagement.log2() + weeks
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReferralStatus {
    /// The friend has not verified the address.
    Pending,
    /// The friend is in; the credit is on its way.
    Confirmed,
    Credited,
    /// Taken back by review.
    Revoked,
    /// The referrer is gone, or was referred by this very friend: no credit to give.
    Void,
}

/// One subscriber brought by another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Referral {
    pub id: ReferralId,
    pub account_id: AccountId,
    pub waitlist_id: WaitlistId,
    pub referrer_id: SubscriberId,
    /// The friend.
    pub referee_id: SubscriberId,
    pub status: ReferralStatus,
    /// Places that this referral moves its owner up, fixed when it was credited.
    pub places: u32,
    pub disposable: bool,
    pub origin: Origin,
    pub assessment: Assessment,
    pub created_at: Timestamp,
    pub credited_at: Option<Timestamp>,
    pub rev: u64,
}

/// What happened to a referral's credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerChange {
    Credited,
    Revoked,
    Restored,
}

/// A line of a subscriber's referral ledger: credits are the sum of its lines.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct LedgerEntry {
    pub id: LedgerId,
    pub subscriber_id: SubscriberId,
    pub referral_id: ReferralId,
    pub change: LedgerChange,
    /// Referrals gained (1) or lost (−1).
    pub referrals: i32,
    /// Places gained or lost.
    pub places: i64,
    /// Who did it: a key, a member or the platform.
    pub actor: String,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardStatus {
    Issued,
    /// Referrals fell below the tier again.
    Revoked,
}

/// A tier that a subscriber reached. There is at most one per tier and subscriber.
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

//! Request and response bodies of the subscriber family.

use api::ConsentInput;
use domain::{
    consent::Consent,
    email::Email,
    id::SubscriberId,
    text::{Fingerprint, Metadata, Name, Word},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waitlists::{
    entities::{Export, ExportStatus},
    id::{ExportId, WaitlistId},
    positions::Position,
    referral_code::ReferralCode,
    subscriber::{Subscriber, SubscriberStatus},
    waitlist::Waitlist,
};

/// Request to join a waitlist.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    pub waitlist_id: WaitlistId,
    #[schema(value_type = String, format = "email", max_length = 254)]
    pub email: Email,
    #[schema(max_length = 200)]
    pub name: Option<Name>,
    /// Referral code from the link through which the visitor came. A value that is not a code of this waitlist is
    /// ignored.
    pub referral_code: Option<String>,
    #[serde(default)]
    pub metadata: Metadata,
    /// Consent to mail beyond the mails that joining needs.
    pub consent: ConsentInput,
    /// Traffic source of the visitor, such as `newsletter`.
    pub source: Option<Word>,
    /// Fingerprint of the browser. Stored as a pseudonym, to detect referrals of the same person under several
    /// addresses.
    pub fingerprint: Option<Fingerprint>,
    /// Honeypot field, which people do not see and robots fill in. Leave it empty: with any text, the response is
    /// 202 and nobody is added.
    pub website: Option<String>,
}

impl JoinRequest {
    /// Returns the referral code if it has the form of one.
    pub fn referral_code(&self) -> Option<ReferralCode> {
        ReferralCode::try_from(self.referral_code.clone()?).ok()
    }

    /// Returns true if the honeypot field is filled in.
    pub fn is_robot(&self) -> bool {
        self.website.as_ref().is_some_and(|text| !text.is_empty())
    }
}

/// Subscriber as returned to the person who joined.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct JoinedView {
    pub id: SubscriberId,
    pub status: SubscriberStatus,
    /// Position in line, counted from 1; `null` if the subscriber is not in line.
    pub position: Option<u64>,
    /// Number of subscribers in line; `null` if the subscriber is not in line.
    pub total: Option<u64>,
    pub referral_code: ReferralCode,
    /// Link that the subscriber shares.
    pub referral_url: String,
    /// Token that authenticates the subscriber in the header `X-Subscriber-Token`. Present only in the response
    /// that created the subscriber, and in the response to the verification of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl JoinedView {
    pub fn new(
        subscriber: &Subscriber,
        waitlist: &Waitlist,
        public_url: &str,
        position: Option<Position>,
        token: Option<String>,
    ) -> Self {
        Self {
            id: subscriber.id.clone(),
            status: subscriber.status,
            position: position.map(|position| position.position),
            total: position.map(|position| position.total),
            referral_code: subscriber.referral_code.clone(),
            referral_url: waitlist.referral_url(public_url, &subscriber.referral_code),
            token,
        }
    }
}

/// Response to a join with double opt-in, the same for new and known addresses.
#[derive(Serialize, ToSchema)]
pub struct PendingView {
    /// Always `pending`. Everything else is sent by mail.
    pub status: SubscriberStatus,
}

/// Position of a subscriber in line.
#[derive(Serialize, ToSchema)]
pub struct PositionView {
    pub id: SubscriberId,
    pub status: SubscriberStatus,
    /// Position in line, counted from 1; `null` if the subscriber is not in line.
    pub position: Option<u64>,
    /// Number of subscribers in line; `null` if the subscriber is not in line.
    pub total: Option<u64>,
    /// Credited referrals.
    pub referrals: u32,
}

/// Subscriber as returned to the account.
#[derive(Serialize, ToSchema)]
pub struct SubscriberView {
    pub id: SubscriberId,
    pub waitlist_id: WaitlistId,
    pub email: String,
    pub name: Option<Name>,
    pub metadata: Metadata,
    pub consent: Consent,
    /// Traffic source, such as `newsletter`.
    pub source: Option<Word>,
    pub status: SubscriberStatus,
    pub referral_code: ReferralCode,
    /// Link that the subscriber shares.
    pub referral_url: String,
    /// Subscriber whose referral link was followed.
    pub referred_by: Option<SubscriberId>,
    /// Credited referrals.
    pub referrals: u32,
    /// Votes of the subscriber that count.
    pub votes: u32,
    /// Approved comments of the subscriber.
    pub comments: u32,
    /// True if the address belongs to a provider of throw-away mailboxes.
    pub disposable: bool,
    /// Score of engagement and recency: `log2(1 + 3 · referrals + 2 · comments + votes)` plus the weeks from
    /// 2025-01-01T00:00Z to the last activity.
    pub hot_score: f64,
    pub joined_at: Timestamp,
    pub verified_at: Option<Timestamp>,
    pub invited_at: Option<Timestamp>,
    pub converted_at: Option<Timestamp>,
    pub unsubscribed_at: Option<Timestamp>,
}

impl SubscriberView {
    pub fn new(subscriber: Subscriber, waitlist: &Waitlist, public_url: &str) -> Self {
        Self {
            referral_url: waitlist.referral_url(public_url, &subscriber.referral_code),
            hot_score: subscriber.hot(),
            id: subscriber.id,
            waitlist_id: subscriber.waitlist_id,
            email: subscriber.email.into(),
            name: subscriber.name,
            metadata: subscriber.metadata,
            consent: subscriber.consent,
            source: subscriber.source,
            status: subscriber.status,
            referral_code: subscriber.referral_code,
            referred_by: subscriber.referred_by,
            referrals: subscriber.referrals,
            votes: subscriber.votes,
            comments: subscriber.comments,
            disposable: subscriber.disposable,
            joined_at: subscriber.joined_at,
            verified_at: subscriber.verified_at,
            invited_at: subscriber.invited_at,
            converted_at: subscriber.converted_at,
            unsubscribed_at: subscriber.unsubscribed_at,
        }
    }
}

/// Order of a list of subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Oldest first.
    Joined,
    /// Highest hot score first, without pending subscribers.
    Hot,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SubscriberFilter {
    #[param(value_type = String)]
    pub waitlist_id: WaitlistId,
    /// Only subscribers with this status. A page may then have fewer than `limit` entries although it is not the
    /// last one.
    pub status: Option<SubscriberStatus>,
    /// Only the subscriber with this email address. All spellings of one mailbox match.
    pub email: Option<String>,
    /// Order: `joined` lists the oldest subscriber first; `hot` lists the highest hot score first and leaves out
    /// pending subscribers. Default: `joined`.
    #[param(inline)]
    pub sort: Option<Sort>,
    /// Start of the page: `next_cursor` of the previous page. Leave it out for the first page.
    pub cursor: Option<String>,
    /// Maximum number of entries in the page, 1–100. Default: 20.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfWaitlist {
    #[param(value_type = String)]
    pub waitlist_id: WaitlistId,
}

/// Token from the link of a mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    pub token: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// Token from the link of a mail. Required if the body does not contain the token.
    pub token: Option<String>,
}

/// Conversion of a subscriber. Contains nothing personal, because answers to POST requests with an
/// `Idempotency-Key` are stored for 24 hours.
#[derive(Serialize, ToSchema)]
pub struct ConvertedView {
    pub id: SubscriberId,
    pub status: SubscriberStatus,
    pub converted_at: Option<Timestamp>,
}

/// Subscribers to invite: either a number from the front of the line, or their ids.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationRequest {
    /// Number of subscribers to invite from the front of the line, 1–99.
    #[schema(minimum = 1, maximum = 99)]
    pub count: Option<u32>,
    /// Ids of the subscribers to invite, 1–99.
    #[schema(max_items = 99)]
    pub subscriber_ids: Option<Vec<SubscriberId>>,
}

/// Result of an invitation.
#[derive(Serialize, ToSchema)]
pub struct InvitationView {
    /// Subscribers who were invited.
    pub invited: Vec<SubscriberId>,
    /// Requested subscribers who were not invited because they are not in line.
    pub skipped: Vec<SubscriberId>,
}

/// Kind of data to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportKind {
    Subscribers,
}

/// Export to start.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    #[expect(dead_code, reason = "there is one kind so far; anything else is refused by reading it")]
    pub kind: ExportKind,
    pub waitlist_id: WaitlistId,
}

/// Export of a waitlist's subscribers as CSV.
#[derive(Serialize, ToSchema)]
pub struct ExportView {
    pub id: ExportId,
    pub waitlist_id: WaitlistId,
    pub status: ExportStatus,
    /// Number of rows in the file; 0 until the export is completed.
    pub rows: u64,
    /// Download link of the CSV file, valid for 10 minutes. Each request creates a new link. `null` unless the
    /// status is `completed`.
    pub url: Option<String>,
    pub created_at: Timestamp,
    pub completed_at: Option<Timestamp>,
}

impl ExportView {
    pub fn new(export: Export, url: Option<String>) -> Self {
        let Export { id, waitlist_id, status, rows, created_at, completed_at, .. } = export;
        Self { id, waitlist_id, status, rows, url, created_at, completed_at }
    }
}

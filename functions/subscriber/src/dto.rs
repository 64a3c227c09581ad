//! What the subscriber family takes and gives.

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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    pub waitlist_id: WaitlistId,
    #[schema(value_type = String, format = "email", max_length = 254)]
    pub email: Email,
    #[schema(max_length = 200)]
    pub name: Option<Name>,
    /// Of the link that was followed. Anything that is no code of this waitlist is ignored.
    pub referral_code: Option<String>,
    #[serde(default)]
    pub metadata: Metadata,
    /// Whether mail beyond what joining needs may be sent.
    pub consent: ConsentInput,
    /// Where the visitor came from, e.g. `newsletter`.
    pub source: Option<Word>,
    /// What the browser is recognised by; kept as a pseudonym, to tell people from their doubles.
    pub fingerprint: Option<Fingerprint>,
    /// The honeypot: a field that people don't see and robots fill in. Leave it empty.
    pub website: Option<String>,
}

impl JoinRequest {
    pub fn referral_code(&self) -> Option<ReferralCode> {
        ReferralCode::try_from(self.referral_code.clone()?).ok()
    }

    pub fn is_robot(&self) -> bool {
        self.website.as_ref().is_some_and(|text| !text.is_empty())
    }
}

/// An entry, as whoever joined sees it.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct JoinedView {
    pub id: SubscriberId,
    pub status: SubscriberStatus,
    /// Counted from 1; `null` when not in line.
    pub position: Option<u64>,
    /// Entries in line.
    pub total: Option<u64>,
    pub referral_code: ReferralCode,
    pub referral_url: String,
    /// Proves to be this subscriber, as `X-Subscriber-Token`. Only for whoever made the
    /// entry or proved to own the address.
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

/// With double opt-in, all that anybody learns by joining.
#[derive(Serialize, ToSchema)]
pub struct PendingView {
    /// Always `pending`: the rest comes by mail.
    pub status: SubscriberStatus,
}

#[derive(Serialize, ToSchema)]
pub struct PositionView {
    pub id: SubscriberId,
    pub status: SubscriberStatus,
    /// Counted from 1; `null` when not in line.
    pub position: Option<u64>,
    /// Entries in line.
    pub total: Option<u64>,
    /// Credited referrals.
    pub referrals: u32,
}

/// An entry, as the account sees it.
#[derive(Serialize, ToSchema)]
pub struct SubscriberView {
    pub id: SubscriberId,
    pub waitlist_id: WaitlistId,
    pub email: String,
    pub name: Option<Name>,
    pub metadata: Metadata,
    pub consent: Consent,
    pub source: Option<Word>,
    pub status: SubscriberStatus,
    pub referral_code: ReferralCode,
    pub referral_url: String,
    pub referred_by: Option<SubscriberId>,
    /// Credited referrals.
    pub referrals: u32,
    /// Votes for features that stand.
    pub votes: u32,
    /// Approved comments.
    pub comments: u32,
    /// The address is at a provider of throw-away mailboxes.
    pub disposable: bool,
    /// Engagement with recency; see `docs/api.md`.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Oldest first.
    Joined,
    /// Most engaged first; without those who have not verified.
    Hot,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SubscriberFilter {
    #[param(value_type = String)]
    pub waitlist_id: WaitlistId,
    /// Only these. A page may then hold fewer than `limit` and still not be the last.
    pub status: Option<SubscriberStatus>,
    /// Only whoever joined with this address, however it is spelled.
    pub email: Option<String>,
    #[param(inline)]
    pub sort: Option<Sort>,
    /// Where to go on: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Entries in a page, 1–100; 20 when left out.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfWaitlist {
    #[param(value_type = String)]
    pub waitlist_id: WaitlistId,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    pub token: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// The token of the link, when it isn't in the body.
    pub token: Option<String>,
}

/// A conversion; names nobody, because answers to POSTs are remembered for a day.
#[derive(Serialize, ToSchema)]
pub struct ConvertedView {
    pub id: SubscriberId,
    pub status: SubscriberStatus,
    pub converted_at: Option<Timestamp>,
}

/// Either how many from the front of the line, or whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationRequest {
    /// 1–99.
    #[schema(minimum = 1, maximum = 99)]
    pub count: Option<u32>,
    /// At most 99.
    #[schema(max_items = 99)]
    pub subscriber_ids: Option<Vec<SubscriberId>>,
}

#[derive(Serialize, ToSchema)]
pub struct InvitationView {
    pub invited: Vec<SubscriberId>,
    /// Asked for, but not in line.
    pub skipped: Vec<SubscriberId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportKind {
    Subscribers,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    #[expect(dead_code, reason = "there is one kind so far; anything else is refused by reading it")]
    pub kind: ExportKind,
    pub waitlist_id: WaitlistId,
}

#[derive(Serialize, ToSchema)]
pub struct ExportView {
    pub id: ExportId,
    pub waitlist_id: WaitlistId,
    pub status: ExportStatus,
    /// Rows in the file, once it is complete.
    pub rows: u64,
    /// Where the CSV can be fetched for ten minutes; while `completed`.
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

//! Request and response bodies of the campaign family. The settings of a campaign are [`CampaignSettings`].

use campaigns::{
    campaign::{Campaign, CampaignSettings, CampaignStatus, Channel, Send, SendReason, SendStatus},
    entities::{CampaignStats, TwilioAccount},
    keyword::StopWords,
};
use codes::id::ClaimId;
use domain::{
    id::{AccountId, CampaignId, CustomerId, SendId},
    phone::Phone,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Campaign with its settings and state.
#[derive(Serialize, ToSchema)]
pub struct CampaignView {
    pub id: CampaignId,
    #[serde(flatten)]
    pub settings: CampaignSettings,
    pub status: CampaignStatus,
    /// True while the campaign is being deleted. No more messages of the campaign are sent.
    pub deleting: bool,
    pub created_at: Timestamp,
    /// Time of the first activation; `null` for a draft.
    #[schema(required)]
    pub activated_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

impl From<Campaign> for CampaignView {
    fn from(campaign: Campaign) -> Self {
        let Campaign { id, settings, status, deleting, created_at, activated_at, updated_at, .. } = campaign;
        Self { id, settings, status, deleting, created_at, activated_at, updated_at }
    }
}

/// Numbers of messages of a campaign, without test messages. The numbers lag behind a change by up to one second.
/// `audience` is the sum of `open`, `refused` and `sent`.
#[derive(Serialize, ToSchema)]
pub struct CampaignCounts {
    /// All messages of the campaign.
    pub audience: u64,
    /// Messages that wait to be sent, are being sent, or have an unknown outcome.
    pub open: u64,
    /// Messages that were not sent, for the `reason` of each.
    pub refused: u64,
    /// Messages that the provider accepted, including those in `failed`, `delivered` and `read`.
    pub sent: u64,
    /// Messages that the provider accepted and could not deliver.
    pub failed: u64,
    /// Messages that were delivered, including those in `read`.
    pub delivered: u64,
    /// Messages that the recipient read.
    pub read: u64,
    /// Redeemed codes whose last message was one of this campaign.
    pub redeemed: u64,
}

impl From<CampaignStats> for CampaignCounts {
    fn from(stats: CampaignStats) -> Self {
        let CampaignStats { audience, refused, sent, failed, delivered, read, redeemed } = stats;
        let open = audience.saturating_sub(refused + sent);
        Self { audience, open, refused, sent, failed, delivered, read, redeemed }
    }
}

/// Campaign with the numbers of its messages.
#[derive(Serialize, ToSchema)]
pub struct CampaignWithCounts {
    #[serde(flatten)]
    pub campaign: CampaignView,
    pub counts: CampaignCounts,
}

/// Request for a test message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// Recipient of the message: a customer of the campaign's program, for example yourself.
    pub customer_id: CustomerId,
}

/// Message of a campaign to one customer.
#[derive(Serialize, ToSchema)]
pub struct SendView {
    pub id: SendId,
    pub campaign_id: CampaignId,
    pub customer_id: CustomerId,
    pub channel: Channel,
    pub status: SendStatus,
    /// True for a test message.
    pub test: bool,
    /// Reason why the message was not sent or not delivered.
    #[schema(required)]
    pub reason: Option<SendReason>,
    /// Error code of the provider.
    #[schema(required)]
    pub provider_code: Option<u32>,
    /// Id of the message at the provider.
    #[schema(required)]
    pub provider_id: Option<String>,
    /// Claim of the code in the message.
    #[schema(required)]
    pub claim_id: Option<ClaimId>,
    /// Time of the next step: a deferred message is sent, or a message with an unknown outcome is given up.
    #[schema(required)]
    pub due_at: Option<Timestamp>,
    pub created_at: Timestamp,
    #[schema(required)]
    pub sent_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

impl From<Send> for SendView {
    fn from(send: Send) -> Self {
        let Send { id, campaign_id, customer_id, channel, status, test, reason, .. } = send;
        let Send { provider_code, provider_id, claim_id, due_at, created_at, sent_at, updated_at, .. } = send;
        Self {
            id,
            campaign_id,
            customer_id,
            channel,
            status,
            test,
            reason,
            provider_code,
            provider_id,
            claim_id,
            due_at,
            created_at,
            sent_at,
            updated_at,
        }
    }
}

/// Twilio account that sends an account's messages.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TwilioRequest {
    /// Account SID: `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// Auth token: 32 hexadecimal digits. The API never returns the token.
    pub auth_token: String,
    /// Phone number that sends WhatsApp messages. Required to activate a WhatsApp campaign.
    #[serde(default)]
    pub whatsapp_sender: Option<Phone>,
    /// Phone number that sends SMS. Required to activate an SMS campaign.
    #[serde(default)]
    pub sms_sender: Option<Phone>,
    /// Further replies that withdraw the customer's consent, besides the built-in stop words. The default is none.
    #[serde(default)]
    pub stop_words: StopWords,
}

/// Twilio account, without its auth token.
#[derive(Serialize, ToSchema)]
pub struct TwilioView {
    pub account_sid: String,
    #[schema(required)]
    pub whatsapp_sender: Option<Phone>,
    #[schema(required)]
    pub sms_sender: Option<Phone>,
    pub stop_words: StopWords,
    /// URL to set in Twilio as the webhook for incoming messages of the senders.
    pub inbound_url: String,
    pub updated_at: Timestamp,
}

impl TwilioView {
    pub fn of(account: TwilioAccount, public_url: &str) -> Self {
        let TwilioAccount {
            account_id,
            account_sid,
            whatsapp_sender,
            sms_sender,
            stop_words,
            updated_at,
            ..
        } = account;
        let inbound_url = campaigns::campaign::inbound_callback(public_url, &account_id);
        Self { account_sid, whatsapp_sender, sms_sender, stop_words, inbound_url, updated_at }
    }
}

/// Query of Twilio's status callback: the parameters of the callback URL, and `bodySHA256`, which Twilio adds.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatusQuery {
    pub account_id: AccountId,
    pub send_id: SendId,
    /// Number of times that the message was deferred by its provider before this attempt.
    pub attempt: u32,
    /// SHA-256 hash of a body that is not a form.
    #[serde(rename = "bodySHA256")]
    pub body_sha256: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InboundQuery {
    pub account_id: AccountId,
    /// SHA-256 hash of a body that is not a form.
    #[serde(rename = "bodySHA256")]
    pub body_sha256: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OptOutQuery {
    /// Token from the link in the mail.
    pub token: Option<String>,
}

/// Body of an unsubscription, for callers that don't pass the token in the query.
#[derive(Default, Deserialize, ToSchema)]
pub struct OptOutRequest {
    /// Token from the link in the mail.
    pub token: Option<String>,
}

//! What the campaign family takes and gives. What a campaign takes is [`CampaignSettings`].

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

#[derive(Serialize, ToSchema)]
pub struct CampaignView {
    pub id: CampaignId,
    #[serde(flatten)]
    pub settings: CampaignSettings,
    pub status: CampaignStatus,
    /// Being deleted: nothing of it is sent.
    pub deleting: bool,
    pub created_at: Timestamp,
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

/// What became of the messages; up to a second behind. `audience` are all, and each is open, refused, or sent.
#[derive(Serialize, ToSchema)]
pub struct CampaignCounts {
    pub audience: u64,
    /// To be sent, or on the way.
    pub open: u64,
    /// Not sent, with a reason.
    pub refused: u64,
    /// The provider took them; some of them failed, some were delivered, some of those read.
    pub sent: u64,
    pub failed: u64,
    pub delivered: u64,
    pub read: u64,
    /// Discount codes that they told.
    pub redeemed: u64,
}

impl From<CampaignStats> for CampaignCounts {
    fn from(stats: CampaignStats) -> Self {
        let CampaignStats { audience, refused, sent, failed, delivered, read, redeemed } = stats;
        let open = audience.saturating_sub(refused + sent);
        Self { audience, open, refused, sent, failed, delivered, read, redeemed }
    }
}

#[derive(Serialize, ToSchema)]
pub struct CampaignWithCounts {
    #[serde(flatten)]
    pub campaign: CampaignView,
    pub counts: CampaignCounts,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// Who gets the message, now: a customer of the campaign's program, for instance oneself.
    pub customer_id: CustomerId,
}

#[derive(Serialize, ToSchema)]
pub struct SendView {
    pub id: SendId,
    pub campaign_id: CampaignId,
    pub customer_id: CustomerId,
    pub channel: Channel,
    pub status: SendStatus,
    /// Asked for by hand.
    pub test: bool,
    #[schema(required)]
    pub reason: Option<SendReason>,
    /// The provider's code of an error.
    #[schema(required)]
    pub provider_code: Option<u32>,
    /// The provider's id of the message.
    #[schema(required)]
    pub provider_id: Option<String>,
    /// The claim of the code that it told.
    #[schema(required)]
    pub claim_id: Option<ClaimId>,
    /// When it is looked at again.
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TwilioRequest {
    /// `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// Of 32 hexadecimal digits. Never shown again.
    pub auth_token: String,
    /// Who sends over WhatsApp.
    #[serde(default)]
    pub whatsapp_sender: Option<Phone>,
    #[serde(default)]
    pub sms_sender: Option<Phone>,
    /// Replies that stop messages besides those that always do; none when left out.
    #[serde(default)]
    pub stop_words: StopWords,
}

#[derive(Serialize, ToSchema)]
pub struct TwilioView {
    pub account_sid: String,
    #[schema(required)]
    pub whatsapp_sender: Option<Phone>,
    #[schema(required)]
    pub sms_sender: Option<Phone>,
    pub stop_words: StopWords,
    /// To be set in Twilio, for the senders' incoming messages.
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

/// What Twilio was told to call, and what it adds.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatusQuery {
    pub account_id: AccountId,
    pub send_id: SendId,
    /// Counts how often the message was put off before.
    pub attempt: u32,
    /// Of a body that is no form.
    #[serde(rename = "bodySHA256")]
    pub body_sha256: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InboundQuery {
    pub account_id: AccountId,
    /// Of a body that is no form.
    #[serde(rename = "bodySHA256")]
    pub body_sha256: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OptOutQuery {
    pub token: Option<String>,
}

#[derive(Default, Deserialize, ToSchema)]
pub struct OptOutRequest {
    pub token: Option<String>,
}

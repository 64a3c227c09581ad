//! Tasks of the message sender, as queue messages.

use domain::id::{AccountId, SendId, SubscriberId, WebhookEndpointId};
use serde::{Deserialize, Serialize};

/// Environment variable with the URL of the queue for transactional mails.
pub const QUEUE: &str = "MESSAGES_QUEUE_URL";

/// Task of the message sender. Contains ids only: the message sender decides when it handles the task whether the
/// message is still wanted and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MessageTask {
    /// Sends the mail that fits the subscriber's status.
    SubscriberMail {
        subscriber_id: SubscriberId,
        /// Id of the mail. A repeated request has the same id, so that the mail is not sent again.
        message_id: String,
    },
    /// Sends a mail that is due again. The mail's record contains its [`MailTask`](crate::entities::MailTask).
    Mail { message_id: String },
    /// Sends a message of a campaign.
    CampaignMessage { send_id: SendId },
    /// Tells the account's owners by mail that a webhook endpoint was disabled.
    TellOfEndpoint { account_id: AccountId, endpoint_id: WebhookEndpointId, rev: u64 },
}

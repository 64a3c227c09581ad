//! What the message sender is asked for.

use domain::id::{AccountId, SendId, SubscriberId, WebhookEndpointId};
use serde::{Deserialize, Serialize};

/// The variable with the address of the queue of mails that somebody waits for.
pub const QUEUE: &str = "MESSAGES_QUEUE_URL";

/// Of the message sender: what it writes, and whether that is still wanted, is decided when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MessageTask {
    SubscriberMail {
        subscriber_id: SubscriberId,
        /// The same whenever the mail is asked for again.
        message_id: String,
    },
    /// A mail that is due again; its record says what it is about.
    Mail {
        message_id: String,
    },
    CampaignMessage {
        send_id: SendId,
    },
    /// A webhook endpoint was disabled: the account's owners are told.
    TellOfEndpoint {
        account_id: AccountId,
        endpoint_id: WebhookEndpointId,
        rev: u64,
    },
}

//! Work for the senders of webhooks and mails.

use domain::id::{AccountId, DeliveryId, WebhookEndpointId};
use messages::tasks::{self as mails, MessageTask};
use projection::job::{Jobs, Worker};
use queues::Grouped;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tasks::{self, WebhookTask};

/// Work that outlasts a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Work of the webhook sender: a delivery that was asked for by hand.
    Deliver { account_id: AccountId, delivery_id: DeliveryId, tried: u32 },
    /// Work of the message sender: the account's owners hear that an endpoint was disabled.
    TellOfEndpoint { account_id: AccountId, endpoint_id: WebhookEndpointId, rev: u64 },
}

pub const JOBS: &[Jobs] = &[
    Jobs { kinds: &["deliver"], by: Worker::Other { queue: tasks::QUEUE, message } },
    Jobs { kinds: &["tell_of_endpoint"], by: Worker::Other { queue: mails::QUEUE, message } },
];

fn message(task: projection::job::Task) -> Result<Grouped<Value>, serde_json::Error> {
    match task.read()? {
        Task::Deliver { account_id, delivery_id, tried } => {
            let (group, message) = WebhookTask::deliver(account_id, delivery_id, tried);
            Ok((group, serde_json::to_value(message)?))
        }
        Task::TellOfEndpoint { account_id, endpoint_id, rev } => {
            let message = MessageTask::TellOfEndpoint { account_id, endpoint_id, rev };
            Ok((None, serde_json::to_value(message)?))
        }
    }
}

//! Jobs of the webhooks family: work for the webhook sender and the message sender.

use messages::tasks::{self as mails, MessageTask};
use projection::job::{Jobs, Worker};
use queues::Grouped;
use serde_json::Value;

use crate::{
    entities::Task,
    tasks::{self, WebhookTask},
};

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

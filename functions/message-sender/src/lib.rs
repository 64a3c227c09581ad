//! Sends what the messages queue asks for: mail, by Amazon SES.
//!
//! A message names a subscriber and nothing personal; what to write, and whether
//! it is still wanted, is decided when its turn comes. Each message is taken in
//! the table before it is handed to SES, so that one which the queue delivers
//! twice is sent once. When the outcome of a hand-over is unknown the message
//! counts as sent: rather a mail too few than two.
//!
//! Access patterns: `message.state`, `subscriber.find`, `waitlist.read`, `account.read`.

mod mail;

use api::{
    StartError,
    metrics::{self, Unit},
};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sesv2::{
    error::{DisplayErrorContext, ProvideErrorMetadata as _, SdkError},
    types::{Body, Content, Destination, EmailContent, Message, MessageHeader},
};
use domain::id::SubscriberId;
use jiff::Timestamp;
use serde::Deserialize;
use store::{
    StoreError, Table, accounts,
    entities::{MessageRecord, MessageState},
    messages, subscribers, waitlists,
};

use crate::mail::Mail;

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SES certainly did not take the message.
    #[error("SES refused the message: {0}")]
    Refused(String),
    #[error("the message can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Request {
    SubscriberMail { subscriber_id: SubscriberId, message_id: String },
}

pub struct MessageSender {
    table: Table,
    ses: aws_sdk_sesv2::Client,
    from: String,
    public_url: String,
}

impl MessageSender {
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self {
            table: Table::from_env(env)?,
            // The SDK repeats no call here: it can't know whether the first one was taken.
            ses: aws::client!(aws_sdk_sesv2, env, "SESV2", retry_config = aws::RetryConfig::disabled())?,
            from: env.require("MAIL_FROM")?.to_owned(),
            public_url: env.require("PUBLIC_URL")?.trim_end_matches('/').to_owned(),
        })
    }

    /// Sends a batch; what failed is reported message by message and comes again.
    ///
    /// # Errors
    /// Never: the type is that of all workers.
    pub async fn handle(&self, event: SqsEvent) -> Result<SqsBatchResponse, SendError> {
        let mut response = SqsBatchResponse::default();
        let messages = event.records.len();
        for message in event.records {
            let id = message.message_id.clone().unwrap_or_default();
            if let Err(error) = self.one(message).await {
                tracing::error!(cause = %error, queue_message_id = id, "message not sent");
                response.add_failure(id);
            }
        }
        let failed = response.batch_item_failures.len();
        let measured = [("Messages", Unit::Count, messages as f64), ("Failed", Unit::Count, failed as f64)];
        metrics::record(&measured, &[]);
        Ok(response)
    }

    async fn one(&self, message: SqsMessage) -> Result<(), SendError> {
        let Request::SubscriberMail { subscriber_id, message_id } =
            serde_json::from_str(message.body.as_deref().unwrap_or_default())?;
        let record = |state, rev| MessageRecord { id: message_id.clone(), state, at: Timestamp::now(), rev };
        if messages::state(&self.table, &message_id).await?.is_some() {
            return Ok(());
        }
        let Some(mail) = self.compose(&subscriber_id).await? else {
            return Ok(messages::settle(&self.table, &record(MessageState::Dropped, 1)).await?);
        };
        if !messages::take(&self.table, &record(MessageState::Sending, 1)).await? {
            return Ok(());
        }
        match self.hand_over(mail).await {
            Ok(()) => Ok(messages::settle(&self.table, &record(MessageState::Sent, 2)).await?),
            Err(SendError::Refused(cause)) => {
                messages::release(&self.table, &message_id).await?;
                Err(SendError::Refused(cause))
            }
            Err(other) => Err(other),
        }
    }

    /// The mail that the subscriber should get as things are now, if any.
    async fn compose(&self, id: &SubscriberId) -> Result<Option<Mail>, SendError> {
        let Some(subscriber) = subscribers::find(&self.table, id).await? else { return Ok(None) };
        let waitlist = waitlists::find(&self.table, &subscriber.waitlist_id).await?;
        let account = accounts::read(&self.table, &subscriber.account_id).await?;
        let (Some(waitlist), Some((_, signing))) = (waitlist, account) else { return Ok(None) };
        Ok(Mail::to(&subscriber, &waitlist, &signing.signing_key, &self.public_url, Timestamp::now()))
    }

    async fn hand_over(&self, mail: Mail) -> Result<(), SendError> {
        let text = |data: String| Content::builder().data(data).charset("UTF-8").build();
        let header = |name: &str, value: String| MessageHeader::builder().name(name).value(value).build();
        let refused = |error: aws_sdk_sesv2::error::BuildError| SendError::Refused(error.to_string());
        let message = Message::builder()
            .subject(text(mail.subject).map_err(refused)?)
            .body(Body::builder().text(text(mail.text).map_err(refused)?).build())
            .headers(header("List-Unsubscribe", format!("<{}>", mail.unsubscribe_url)).map_err(refused)?)
            .headers(
                header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()).map_err(refused)?,
            )
            .build();
        let sent = self
            .ses
            .send_email()
            .from_email_address(&self.from)
            .destination(Destination::builder().to_addresses(mail.to).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            // SES answered, or was never asked: nothing was sent.
            Err(error @ (SdkError::ServiceError(_) | SdkError::ConstructionFailure(_))) => {
                // Its message may name the recipient, which is not for the log.
                Err(SendError::Refused(error.code().unwrap_or("no code").to_owned()))
            }
            Err(SdkError::DispatchFailure(failure)) if failure.is_io() || failure.is_user() => {
                Err(SendError::Refused("no connection".to_owned()))
            }
            // Asked, and no answer: it may have been sent.
            Err(error) => {
                tracing::warn!(cause = %DisplayErrorContext(error), "outcome unknown: counted as sent");
                Ok(())
            }
        }
    }
}

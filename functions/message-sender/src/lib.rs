//! Sends what the messages queues ask for: mail by Amazon SES, WhatsApp and SMS by Twilio.
//!
//! A message names a subscriber, a message of a campaign or a webhook endpoint, and nothing personal; what to write, and whether
//! it is still wanted, is decided when its turn comes. Each message is taken in the table before it is handed
//! over, so that one which the queue delivers twice is sent once. When the outcome of a hand-over is unknown it
//! is not tried again: rather a message too few than two.
//!
//! Access patterns: `message.state`, `subscriber.find`, `waitlist.read`, `account.read`, `send.*`, `claim.*`,
//! `customer.consent`, `rate.count`, `webhook.endpoint`, `account.members`.

mod campaign;
mod codes;
mod mail;
mod twilio;

use std::{
    collections::BTreeMap,
    num::NonZero,
    time::{Duration, Instant},
};

use api::{
    StartError,
    metrics::{self, Unit},
};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_sesv2::{
    error::{DisplayErrorContext, ProvideErrorMetadata as _, SdkError},
    types::{Body, Content, Destination, EmailContent, Message, MessageHeader},
};
use domain::{
    id::{AccountId, SendId, SubscriberId, WebhookEndpointId},
    scope::Role,
    secret,
};
use jiff::{SignedDuration, Timestamp};
use queues::MessageTask;
use store::{
    StoreError, Table, accounts,
    entities::{MessageRecord, MessageState},
    messages, subscribers, waitlists, webhooks,
};

use crate::{
    mail::Mail,
    twilio::{Answer, Twilio},
};

/// So long after its batch came a mail is begun: Lambda ends a worker after sixty seconds, and SES may take five.
const BEGUN_WITHIN: Duration = Duration::from_secs(40);

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The provider certainly did not take the message.
    #[error("the provider did not take the message: {0}")]
    Refused(String),
    #[error("the message can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the account has nobody who sends over this channel")]
    NoSender,
    #[error("no turn to send at: {0}")]
    Pace(String),
    #[error("no time left for it in this batch")]
    Late,
    #[error("the message keeps changing")]
    Busy,
}

pub struct MessageSender {
    table: Table,
    ses: aws_sdk_sesv2::Client,
    twilio: Twilio,
    from: String,
    /// Between two mails of campaigns.
    mail_pace: SignedDuration,
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
            twilio: Twilio::new(env.require("TWILIO_URL")?),
            from: env.require("MAIL_FROM")?.to_owned(),
            mail_pace: SignedDuration::from_secs(1)
                / env.parse::<NonZero<i32>>("CAMPAIGN_MAILS_PER_SECOND")?.get(),
            public_url: env.require("PUBLIC_URL")?.trim_end_matches('/').to_owned(),
        })
    }

    /// Sends a batch; what failed is reported message by message and comes again.
    ///
    /// # Errors
    /// Never: the type is that of all workers.
    pub async fn handle(&self, event: SqsEvent) -> Result<SqsBatchResponse, SendError> {
        let messages = event.records.len();
        let until = Instant::now() + BEGUN_WITHIN;
        let mut failures: Vec<(String, SendError)> = Vec::new();
        let mut campaign: BTreeMap<SendId, Vec<String>> = BTreeMap::new();
        for message in event.records {
            let id = message.message_id.unwrap_or_default();
            match serde_json::from_str(message.body.as_deref().unwrap_or_default()) {
                Ok(MessageTask::SubscriberMail { subscriber_id, message_id }) => {
                    if let Err(error) = self.mail(&subscriber_id, &message_id, until).await {
                        failures.push((id, error));
                    }
                }
                Ok(MessageTask::TellOfEndpoint { account_id, endpoint_id, rev }) => {
                    if let Err(error) = self.tell_owners(&account_id, &endpoint_id, rev, until).await {
                        failures.push((id, error));
                    }
                }
                Ok(MessageTask::CampaignMessage { send_id }) => campaign.entry(send_id).or_default().push(id),
                Err(error) => failures.push((id, error.into())),
            }
        }
        let sends: Vec<SendId> = campaign.keys().cloned().collect();
        for (send, error) in self.send_all(&sends).await {
            // The same message may have come several times in one batch: one of them is enough.
            failures.extend(campaign.remove(&send).and_then(|mut ids| ids.pop()).map(|id| (id, error)));
        }
        let mut response = SqsBatchResponse::default();
        let failed = failures.len();
        for (id, error) in failures {
            tracing::error!(cause = %error, queue_message_id = id, "message not sent");
            response.add_failure(id);
        }
        let measured = [("Messages", Unit::Count, messages as f64), ("Failed", Unit::Count, failed as f64)];
        metrics::record(&measured, &[]);
        Ok(response)
    }

    async fn mail(
        &self,
        subscriber: &SubscriberId,
        message_id: &str,
        until: Instant,
    ) -> Result<(), SendError> {
        if let Some(state) = messages::state(&self.table, message_id).await? {
            if state == MessageState::Sending {
                tracing::warn!(message_id, "a mail was begun by another worker and is not sent again");
            }
            return Ok(());
        }
        let mail = self.subscriber_mail(subscriber).await?;
        self.mail_once(mail, message_id, until).await
    }

    /// Tells each owner of an account that this endpoint was disabled, if it still is.
    async fn tell_owners(
        &self,
        account: &AccountId,
        endpoint: &WebhookEndpointId,
        rev: u64,
        until: Instant,
    ) -> Result<(), SendError> {
        let found = webhooks::endpoint(&self.table, account, endpoint).await?;
        let Some(endpoint) = found.filter(|endpoint| endpoint.rev == rev) else { return Ok(()) };
        let mut outcome = Ok(());
        for owner in accounts::members(&self.table, account).await? {
            if owner.role == Role::Owner {
                let message_id = format!("{}:{rev}:{}", endpoint.id, owner.id);
                let mail = Mail::of_endpoint(owner.email, &endpoint);
                // What is wrong with one of them is not the others' fate.
                outcome = self.mail_once(Some(mail), &message_id, until).await.and(outcome);
            }
        }
        outcome
    }

    /// Sends a mail, or notes that there is none to send; not again what was sent under this id.
    async fn mail_once(&self, mail: Option<Mail>, message_id: &str, until: Instant) -> Result<(), SendError> {
        let record =
            |state, rev| MessageRecord { id: message_id.to_owned(), state, at: Timestamp::now(), rev };
        let Some(mail) = mail else {
            return Ok(messages::settle(&self.table, &record(MessageState::Dropped, 1)).await?);
        };
        if Instant::now() > until {
            return Err(SendError::Late);
        }
        if !messages::take(&self.table, &record(MessageState::Sending, 1)).await? {
            return Ok(());
        }
        let answer = loop {
            match self.hand_over_mail(&mail).await {
                // SES takes so many a second. Left to the queue, the mail would use up its attempts by that.
                Answer::TooMany { .. } if Instant::now() < until => {
                    let [spread] = secret::random::<1>();
                    tokio::time::sleep(Duration::from_millis(500 + 4 * u64::from(spread))).await;
                }
                answer => break answer,
            }
        };
        match answer {
            Answer::Taken { .. } | Answer::Unknown(_) => {
                Ok(messages::settle(&self.table, &record(MessageState::Sent, 2)).await?)
            }
            // It always will be.
            Answer::Refused { .. } => {
                tracing::warn!(message_id, "a mail was refused for good");
                Ok(messages::settle(&self.table, &record(MessageState::Dropped, 2)).await?)
            }
            Answer::TooMany { .. } => Err(self.release(message_id, "too many").await?),
            Answer::NotSent(cause) => Err(self.release(message_id, &cause).await?),
        }
    }

    /// Gives back a mail that was not sent; why it comes again.
    async fn release(&self, message_id: &str, cause: &str) -> Result<SendError, SendError> {
        messages::release(&self.table, message_id).await?;
        Ok(SendError::Refused(cause.to_owned()))
    }

    /// The mail that the subscriber should get as things are now, if any.
    async fn subscriber_mail(&self, id: &SubscriberId) -> Result<Option<Mail>, SendError> {
        let Some(subscriber) = subscribers::find(&self.table, id).await? else { return Ok(None) };
        let waitlist = waitlists::find(&self.table, &subscriber.waitlist_id).await?;
        let account = accounts::read(&self.table, &subscriber.account_id).await?;
        let (Some(waitlist), Some((_, signing))) = (waitlist, account) else { return Ok(None) };
        Ok(Mail::to(&subscriber, &waitlist, &signing.signing_key, &self.public_url, Timestamp::now()))
    }

    async fn hand_over_mail(&self, mail: &Mail) -> Answer {
        let message = match simple(mail) {
            Ok(message) => message,
            Err(error) => return Answer::NotSent(error.to_string()),
        };
        let sent = self
            .ses
            .send_email()
            .from_email_address(&self.from)
            .destination(Destination::builder().to_addresses(&mail.to).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await;
        match sent {
            Ok(sent) => Answer::Taken { sid: sent.message_id.unwrap_or_default() },
            Err(error)
                if matches!(error.code(), Some("TooManyRequestsException" | "ThrottlingException")) =>
            {
                Answer::TooMany { retry_after: None }
            }
            // It may have been taken before what failed failed.
            Err(SdkError::ServiceError(failed)) if failed.raw().status().is_server_error() => {
                Answer::Unknown(format!("status {}", failed.raw().status().as_u16()))
            }
            // Of a sender that is not verified SES says so, by the same code as of a mail that it rejects.
            Err(error)
                if matches!(error.code(), Some("MessageRejected" | "BadRequestException"))
                    && !error.message().is_some_and(|message| message.contains("not verified")) =>
            {
                Answer::Refused { code: None }
            }
            // SES answered, or was never asked: nothing was sent. Its message may name the recipient, which
            // is not for the log.
            Err(error @ (SdkError::ServiceError(_) | SdkError::ConstructionFailure(_))) => {
                Answer::NotSent(error.code().unwrap_or("no code").to_owned())
            }
            Err(SdkError::DispatchFailure(failure))
                if failure.as_connector_error().is_some_and(aws::was_never_sent) =>
            {
                Answer::NotSent("no connection".to_owned())
            }
            // Asked, and no answer: it may have been sent.
            Err(error) => {
                tracing::warn!(cause = %DisplayErrorContext(&error), "outcome of a mail unknown");
                Answer::Unknown("no answer".to_owned())
            }
        }
    }
}

fn simple(mail: &Mail) -> Result<Message, aws_sdk_sesv2::error::BuildError> {
    let text = |data: &str| Content::builder().data(data).charset("UTF-8").build();
    let header = |name: &str, value: &str| MessageHeader::builder().name(name).value(value).build();
    let message = Message::builder()
        .subject(text(&mail.subject)?)
        .body(Body::builder().text(text(&mail.text)?).build());
    let Some(unsubscribe_url) = &mail.unsubscribe_url else { return Ok(message.build()) };
    Ok(message
        .headers(header("List-Unsubscribe", &format!("<{unsubscribe_url}>"))?)
        .headers(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")?)
        .build())
}

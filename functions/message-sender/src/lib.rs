//! Message sender: sends mails by Amazon SES, and WhatsApp messages and SMS by Twilio.
//!
//! A queue message contains ids only, no personal data: the id of a subscriber, a mail, a campaign message or a
//! webhook endpoint. When the worker receives a queue message, the worker reads the current items and decides whether
//! to send and what to write. The worker takes each mail or message in the table, by a conditional write, before
//! handing it over to the provider. So a queue message that SQS delivers twice is sent once.
//!
//! **Campaign messages** are sent at most once: if the outcome of a hand-over is unknown, the message is not sent
//! again.
//!
//! **Confirmations, invitations and mails to owners** are sent at least once: a mail whose worker is lost, or whose
//! outcome is unknown, is sent again (`docs/adr/0018-mails-at-least-once.md`). Such a mail has a record in the table,
//! with the time at which the mail is due. The queue message is acknowledged even if SES refuses the mail. A queue
//! message fails, and uses up one of its receives, only if the table is unavailable.
//!
//! Access patterns: `message.state`, `message.note`, `subscriber.find`, `waitlist.read`, `account.read`, `send.*`,
//! `claim.*`, `customer.consent`, `rate.count`, `webhook.endpoint`, `account.members`.

mod campaign;
mod codes;
mod mail;
mod ses;
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
    types::{Destination, EmailContent},
};
use domain::{
    id::{AccountId, SendId, SubscriberId, WebhookEndpointId},
    scope::Role,
    secret,
};
use jiff::{SignedDuration, Timestamp};
use messages::tasks::MessageTask;
use messages::{
    entities::{MailTask, MessageRecord, MessageState},
    mails,
    senders::{self, Sender},
};
use table::{Table, TableError};
use waitlists::subscribers;

use crate::{
    mail::Mail,
    ses::Refusal,
    twilio::{SendOutcome, Twilio},
};

/// Time after the arrival of a batch within which its mails are handed over. Lambda ends a worker after 60 seconds,
/// and SES may take 5 seconds to answer.
const BEGUN_WITHIN: Duration = Duration::from_secs(40);
/// Time for which no mail is sent after SES has refused all mails of the account. For a used-up daily quota, SES
/// advises to wait for up to ten minutes before a retry.
const STOPPED_FOR: Duration = Duration::from_secs(600);
/// Delay before the retry of a mail that was not handed over in time, or certainly not sent.
const NOT_SENT_REST: SignedDuration = SignedDuration::from_mins(1);
/// Maximum number of attempts that may have sent a mail. With their back-off, these attempts take some three days;
/// then the mail is given up.
const TRIES: u32 = 18;
/// Delay before the retry of a mail whose contents can't be read from the table.
const UNREADABLE_REST: SignedDuration = SignedDuration::from_mins(15);

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Store(#[from] TableError),
    /// The provider certainly did not accept a campaign's message.
    #[error("the provider did not take the message: {0}")]
    Refused(String),
    #[error("the message can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("no sender is configured for this channel")]
    NoSender,
    #[error("no turn to send at: {0}")]
    Pace(String),
    #[error("the message keeps changing")]
    Busy,
}

pub struct MessageSender {
    table: Table,
    ses: aws_sdk_sesv2::Client,
    twilio: Twilio,
    from: String,
    /// Time between two mails of campaigns.
    mail_pace: SignedDuration,
    lead: campaign::Lead,
    public_url: String,
}

impl MessageSender {
    /// Creates the worker from its environment.
    ///
    /// # Errors
    /// When an environment variable is missing or invalid.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self {
            table: Table::from_env(env)?,
            // The SDK must not retry: it can't know whether SES accepted the first call.
            ses: aws::client!(aws_sdk_sesv2, env, "SESV2", retry_config = aws::RetryConfig::disabled())?,
            twilio: Twilio::new(env.require("TWILIO_URL")?),
            from: env.require("MAIL_FROM")?.to_owned(),
            mail_pace: SignedDuration::from_secs(1)
                / env.parse::<NonZero<i32>>("CAMPAIGN_MAILS_PER_SECOND")?.get(),
            lead: campaign::Lead::default(),
            public_url: env.require("PUBLIC_URL")?.trim_end_matches('/').to_owned(),
        })
    }

    /// Processes a batch of queue messages. Failed queue messages are reported one by one, so that SQS delivers them
    /// again.
    ///
    /// # Errors
    /// Never. The return type is the same for all workers.
    pub async fn handle(&self, event: SqsEvent) -> Result<SqsBatchResponse, SendError> {
        let messages = event.records.len();
        let until = Instant::now() + BEGUN_WITHIN;
        let mut failures: Vec<(String, SendError)> = Vec::new();
        let mut campaign: BTreeMap<SendId, Vec<String>> = BTreeMap::new();
        for message in event.records {
            let id = message.message_id.unwrap_or_default();
            match serde_json::from_str(message.body.as_deref().unwrap_or_default()) {
                Ok(MessageTask::SubscriberMail { subscriber_id, message_id }) => {
                    let task = MailTask::Subscriber { subscriber_id };
                    if let Err(error) = self.mail(&message_id, Some(task), until).await {
                        failures.push((id, error));
                    }
                }
                Ok(MessageTask::Mail { message_id }) => {
                    if let Err(error) = self.mail(&message_id, None, until).await {
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
            // A batch may contain a campaign message several times: reporting one of the queue messages is enough.
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

    /// Sends each owner of an account a mail about a disabled webhook endpoint, if the endpoint has not changed
    /// since.
    async fn tell_owners(
        &self,
        account_id: &AccountId,
        endpoint_id: &WebhookEndpointId,
        rev: u64,
        until: Instant,
    ) -> Result<(), SendError> {
        let mut outcome = Ok(());
        for member in accounts::members(&self.table, account_id).await? {
            if member.role == Role::Owner {
                let message_id = format!("{endpoint_id}:{rev}:{}", member.id);
                let (account_id, endpoint_id) = (account_id.clone(), endpoint_id.clone());
                let task = MailTask::Endpoint { account_id, endpoint_id, rev, member_id: member.id };
                // The failure of one mail does not stop the others.
                outcome = self.mail(&message_id, Some(task), until).await.and(outcome);
            }
        }
        outcome
    }

    /// Sends a mail, unless it is finished, deferred, or held by another worker. The schedule queues deferred and
    /// abandoned mails again. Without `task`, the task is in the mail's record.
    async fn mail(&self, id: &str, task: Option<MailTask>, until: Instant) -> Result<(), SendError> {
        let now = Timestamp::now();
        let mails::Found { record, stopped_until } = mails::read(&self.table, id).await?;
        let known = record.as_ref().and_then(|record| record.task.clone());
        let Some(task) = task.or(known) else { return Ok(()) };
        let record = match record {
            Some(record) if !record.is_free(now) => return Ok(()),
            Some(record) => MessageRecord { task: Some(task.clone()), ..record },
            None => MessageRecord::new(id, task.clone(), now),
        };
        if let Some(stopped) = stopped_until.filter(|stopped| *stopped > now) {
            return self.note(&record.deferred(stopped, now)).await;
        }
        if Instant::now() > until {
            return self.note(&record.deferred(now + NOT_SENT_REST, now)).await;
        }
        if record.tries >= TRIES {
            tracing::error!(message_id = id, "mail given up: the outcome of its attempts is unknown");
            return self.note(&record.settled(MessageState::Unknown, now)).await;
        }
        let mail = match self.mail_of(&task).await {
            Ok(Some(mail)) => mail,
            Ok(None) => return self.note(&record.settled(MessageState::Dropped, now)).await,
            Err(error) => {
                tracing::error!(message_id = id, cause = %error, "contents of a mail can't be read");
                return self.note(&record.deferred(now + UNREADABLE_REST, now)).await;
            }
        };
        let held = record.taken(Timestamp::now());
        if !mails::write(&self.table, &held).await? {
            return Ok(());
        }
        let answer = loop {
            match self.hand_over_mail(&mail).await {
                // The sending rate of SES is exceeded: wait for 0.5–1.5 s and retry.
                SendOutcome::TooMany { retry_after: None } if Instant::now() < until => {
                    let [spread] = secret::random::<1>();
                    tokio::time::sleep(Duration::from_millis(500 + 4 * u64::from(spread))).await;
                }
                answer => break answer,
            }
        };
        self.note(&after(&held, &record, answer, Timestamp::now())).await
    }

    /// Writes the new state of a mail. If the record has changed meanwhile, another worker has the mail, and nothing
    /// is written.
    async fn note(&self, after: &MessageRecord) -> Result<(), SendError> {
        if after.state == MessageState::Deferred {
            metrics::record(&[("Deferred", Unit::Count, 1.0)], &[]);
        }
        mails::write(&self.table, after).await?;
        Ok(())
    }

    /// Composes a mail from the current items; `None` if the mail is no longer wanted.
    async fn mail_of(&self, task: &MailTask) -> Result<Option<Mail>, SendError> {
        match task {
            MailTask::Subscriber { subscriber_id } => self.subscriber_mail(subscriber_id).await,
            MailTask::Endpoint { account_id, endpoint_id, rev, member_id } => {
                let found = webhooks::endpoint(&self.table, account_id, endpoint_id).await?;
                let Some(endpoint) = found.filter(|endpoint| endpoint.rev == *rev) else { return Ok(None) };
                let members = accounts::members(&self.table, account_id).await?;
                let owner =
                    members.into_iter().find(|member| member.id == *member_id && member.role == Role::Owner);
                Ok(owner.map(|owner| Mail::of_endpoint(owner.email, &endpoint)))
            }
        }
    }

    /// Composes the mail for the current status of a subscriber, if there is one to send.
    async fn subscriber_mail(&self, id: &SubscriberId) -> Result<Option<Mail>, SendError> {
        let Some(subscriber) = subscribers::find(&self.table, id).await? else { return Ok(None) };
        let waitlist = waitlists::find(&self.table, &subscriber.waitlist_id).await?;
        let account = accounts::read(&self.table, &subscriber.account_id).await?;
        let (Some(waitlist), Some((_, signing))) = (waitlist, account) else { return Ok(None) };
        Ok(Mail::to(&subscriber, &waitlist, &signing.signing_key, &self.public_url, Timestamp::now()))
    }

    async fn hand_over_mail(&self, mail: &Mail) -> SendOutcome {
        let message = match ses::message(mail) {
            Ok(message) => message,
            Err(error) => return SendOutcome::NotSent(error.to_string()),
        };
        let sent = self
            .ses
            .send_email()
            .from_email_address(&self.from)
            .destination(Destination::builder().to_addresses(&mail.to).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await;
        let error = match sent {
            Ok(sent) => return SendOutcome::Taken { sid: sent.message_id.unwrap_or_default() },
            Err(error) => error,
        };
        let code = error.code().unwrap_or("no code");
        // An error message of SES may contain the recipient's address, so it is not logged.
        let refusal = ses::refusal(code, error.message().unwrap_or_default(), &self.from);
        match error {
            SdkError::ServiceError(_) if refusal == Refusal::Rate => {
                SendOutcome::TooMany { retry_after: None }
            }
            // SES may have accepted the mail before the error.
            SdkError::ServiceError(failed) if failed.raw().status().is_server_error() => {
                SendOutcome::Unknown(format!("status {}", failed.raw().status().as_u16()))
            }
            SdkError::ServiceError(failed) => match refusal {
                Refusal::Stopped => {
                    self.stop(failed.err().code().unwrap_or("no code")).await;
                    SendOutcome::TooMany { retry_after: Some(STOPPED_FOR) }
                }
                Refusal::Mail => SendOutcome::Refused { code: None },
                Refusal::Rate | Refusal::Other => {
                    SendOutcome::NotSent(failed.err().code().unwrap_or("no code").to_owned())
                }
            },
            SdkError::ConstructionFailure(_) => SendOutcome::NotSent("no request".to_owned()),
            SdkError::DispatchFailure(failure)
                if failure.as_connector_error().is_some_and(aws::was_never_sent) =>
            {
                SendOutcome::NotSent("no connection".to_owned())
            }
            // No answer to a request that was sent: SES may have accepted the mail.
            error => {
                tracing::warn!(cause = %DisplayErrorContext(&error), "no answer from SES: outcome of a mail unknown");
                SendOutcome::Unknown("no answer".to_owned())
            }
        }
    }

    /// Stops all workers from calling SES for [`STOPPED_FOR`], because SES accepts no mail of the account.
    async fn stop(&self, code: &str) {
        tracing::error!(code, "Amazon SES takes no mail of this account; mails wait");
        metrics::record(&[("SendingStopped", Unit::Count, 1.0)], &[]);
        let until = Timestamp::now() + STOPPED_FOR;
        for sender in [Sender::ses_account(), Sender::ses(self.from.clone())] {
            if let Err(error) = senders::stop_until(&self.table, &sender, until).await {
                // SES refuses the next mail as well, which writes the stop again.
                tracing::warn!(cause = %error, "stop of a sender not written");
            }
        }
    }
}

/// Returns the next revision of a mail's record after SES has answered. `before` is the record before the worker took
/// the mail: an attempt that certainly sent nothing does not count as a try.
fn after(held: &MessageRecord, before: &MessageRecord, answer: SendOutcome, now: Timestamp) -> MessageRecord {
    let id = &*held.id;
    let not_sent = |rest| MessageRecord { tries: before.tries, ..held.deferred(now + rest, now) };
    match answer {
        SendOutcome::Taken { .. } => held.settled(MessageState::Sent, now),
        // SES rejects this mail permanently.
        SendOutcome::Refused { .. } => {
            tracing::warn!(message_id = id, "mail permanently refused");
            held.settled(MessageState::Dropped, now)
        }
        SendOutcome::TooMany { retry_after: Some(rest) } => {
            not_sent(SignedDuration::try_from(rest).unwrap_or(NOT_SENT_REST))
        }
        SendOutcome::TooMany { retry_after: None } => not_sent(NOT_SENT_REST),
        SendOutcome::NotSent(cause) => {
            tracing::error!(message_id = id, cause, "mail not sent; it will be retried");
            not_sent(NOT_SENT_REST)
        }
        SendOutcome::Unknown(cause) => {
            tracing::warn!(message_id = id, cause, "outcome of a mail unknown; it will be sent again");
            held.maybe_sent(now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_counts_when_it_may_have_sent_the_mail_and_eighteen_take_some_three_days() {
        let mut now: Timestamp = "2026-11-30T03:00:00Z".parse().unwrap();
        let subscriber_id = "sub_01m7yhxdqhbwa008tz019wpw3d".parse().unwrap();
        let mut mail = MessageRecord::new("sub_1:1", MailTask::Subscriber { subscriber_id }, now);
        let answers = [
            SendOutcome::TooMany { retry_after: None },
            SendOutcome::TooMany { retry_after: Some(STOPPED_FOR) },
            SendOutcome::NotSent("no connection".to_owned()),
        ];
        for answer in answers.iter().cycle().take(1000) {
            let held = mail.taken(now);
            assert!(!held.is_free(now));
            mail = after(&held, &mail, answer.clone(), now);
            now = mail.due_at.unwrap();
            assert!(mail.is_free(now) && mail.tries == 0);
        }
        let began = now;
        for tries in 1..=TRIES {
            mail = after(&mail.taken(now), &mail, SendOutcome::Unknown("status 500".to_owned()), now);
            assert_eq!(mail.tries, tries);
            now = mail.due_at.unwrap();
        }
        let took = now.duration_since(began);
        assert!(took > SignedDuration::from_hours(48) && took < SignedDuration::from_hours(96), "{took}");
    }
}

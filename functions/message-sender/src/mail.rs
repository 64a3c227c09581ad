//! Contents of mails.

use domain::{
    id::CustomerId,
    secret::SigningKey,
    token::{self, Purpose},
};
use jiff::{Timestamp, ToSpan};
use waitlists::{
    subscriber::{Subscriber, SubscriberStatus},
    waitlist::Waitlist,
};
use webhooks::webhook::{DisabledReason, WebhookEndpoint};

/// Lifetime of the links in mails that ask for a confirmation.
const VERIFY_WITHIN_DAYS: i64 = 7;

/// Mail that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
    /// URL for one-click unsubscription by `POST` (RFC 8058). `None` for mails to owners of an account, who can't
    /// unsubscribe.
    pub unsubscribe_url: Option<String>,
}

impl Mail {
    /// Composes a mail of a campaign, with a link to unsubscribe.
    pub fn of_campaign(
        to: String,
        subject: &str,
        text: &str,
        key: &SigningKey,
        customer: &CustomerId,
        public_url: &str,
    ) -> Self {
        let stop = token::issue(key, Purpose::OptOut, customer, None);
        Self {
            to,
            // A value that was filled in, such as a name, must not break the header.
            subject: subject.replace(char::is_control, " "),
            text: format!("{text}\n\n-- \nNo more messages: {public_url}/unsubscribe?token={stop}\n"),
            unsubscribe_url: Some(format!("{public_url}/api/v1/customers/unsubscribe?token={stop}")),
        }
    }

    /// Composes the mail to an owner about a disabled webhook endpoint.
    pub fn of_endpoint(to: String, endpoint: &WebhookEndpoint) -> Self {
        let why = match endpoint.disabled_reason {
            Some(DisabledReason::Gone) => "answered that it is gone (410)",
            _ => "has accepted no message for five days",
        };
        let (id, url) = (&endpoint.id, endpoint.url.as_str());
        Self {
            to,
            subject: "A webhook endpoint was disabled".to_owned(),
            text: format!(
                "Hello,\n\nGroundswell has disabled the webhook endpoint {id}, because the endpoint {why}:\n\n{url}\n\n\
                 The endpoint receives no more events. When the endpoint works again, enable it with this request:\n\n\
                 PATCH /api/v1/webhook-endpoints/{id}\nIf-Match: *\n\n{{\"status\": \"enabled\"}}\n\n\
                 GET /api/v1/webhook-endpoints/{id}/deliveries lists the deliveries of the last 30 days. They can be \
                 replayed once the endpoint is enabled.\n"
            ),
            unsubscribe_url: None,
        }
    }

    /// Composes the mail for a subscriber's status; `None` if there is nothing to send. A subscriber who unsubscribed
    /// gets only the mail that asks the owner of the address to confirm the return.
    pub fn to(
        subscriber: &Subscriber,
        waitlist: &Waitlist,
        key: &SigningKey,
        public_url: &str,
        now: Timestamp,
    ) -> Option<Self> {
        let returns = subscriber.return_request.is_some();
        if waitlist.deleting || (subscriber.unsubscribed_at.is_some() && !returns) {
            return None;
        }
        let list = waitlist.settings.name.as_str();
        // Until the address is verified, the name is not used: anybody could have typed it.
        let greeting = match (&subscriber.name, subscriber.status) {
            (None, _) | (_, SubscriberStatus::Pending) => "Hello,".to_owned(),
            (Some(name), _) => format!("Hello {},", name.as_str()),
        };
        let stop = token::issue(key, Purpose::Unsubscribe, &subscriber.id, None);
        let link = |purpose| {
            let expires = now + (VERIFY_WITHIN_DAYS * 24).hours();
            let token = token::issue(key, purpose, &subscriber.id, Some(expires));
            format!("{public_url}/verify?token={token}\n\nThe link works for {VERIFY_WITHIN_DAYS} days.")
        };
        let (subject, body) = match subscriber.status {
            _ if returns => (
                format!("Come back to {list}?"),
                format!(
                    "you had unsubscribed from this list. Somebody has now joined it again with your address. If it was \
                     you, please confirm, and you get mail from the list again:\n\n{}\n\
                     If it was not you, do nothing: you stay unsubscribed.",
                    link(Purpose::Return)
                ),
            ),
            SubscriberStatus::Pending => (
                format!("Confirm your place on {list}"),
                format!(
                    "please confirm that this is your address, and you are on the list:\n\n{} \
                     If you did not ask for this, do nothing.",
                    link(Purpose::Verify)
                ),
            ),
            SubscriberStatus::Active => (
                format!("You are on {list}"),
                format!(
                    "this address is on the list already. Move up by sharing your link:\n\n{}",
                    waitlist.referral_url(public_url, &subscriber.referral_code)
                ),
            ),
            SubscriberStatus::Invited => (
                format!("It's your turn: {list}"),
                match &waitlist.settings.page_url {
                    Some(page) => format!("the wait is over. Come in:\n\n{}", page.as_str()),
                    None => "the wait is over: you are invited.".to_owned(),
                },
            ),
            SubscriberStatus::Converted => return None,
        };
        Some(Self {
            to: subscriber.email.deliverable(),
            subject,
            text: format!(
                "{greeting}\n\n{body}\n\n-- \nNo more mail from {list}: {public_url}/unsubscribe?token={stop}\n"
            ),
            unsubscribe_url: Some(format!("{public_url}/api/v1/subscribers/unsubscribe?token={stop}")),
        })
    }
}

//! Amazon SES: composes messages and classifies refusals.
//!
//! Sources: the SESv2 API reference (`SendEmail`, errors), and the SES developer guide, "Errors related to the
//! sending quotas" and "Amazon SES email sending errors". The sending rate and the daily quota share their error
//! codes; only the error message distinguishes them. A paused account has error codes of its own, or is reported as a
//! rejected message.

use aws_sdk_sesv2::{
    error::BuildError,
    types::{Body, Content, Message, MessageHeader},
};

use crate::mail::Mail;

/// Error codes for the sending rate and for the daily quota: those of SESv2 in the guide and in the reference, and
/// those of the first API.
const THROTTLED: [&str; 4] =
    ["LimitExceededException", "ThrottlingException", "Throttling", "TooManyRequestsException"];
/// Error codes for an account or a domain that can't send until its operator intervenes.
const STOPPED: [&str; 5] = [
    "AccountSendingPausedException",
    "AccountSuspendedException",
    "ConfigurationSetSendingPausedException",
    "MailFromDomainNotVerifiedException",
    "SendingPausedException",
];
const REJECTED: [&str; 2] = ["BadRequestException", "MessageRejected"];

/// Reason why SES did not accept a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sending rate is exceeded at this moment.
    Rate,
    /// SES accepts no mail of the account or of the sender's address: the daily quota is used up, the account is
    /// paused or suspended, or the address is not verified.
    Stopped,
    /// SES rejects this mail permanently.
    Mail,
    /// Another cause, which may be temporary.
    Other,
}

/// Classifies the refusal of a mail from the address `from`, by the error code and the error message of SES.
pub fn refusal(code: &str, message: &str, from: &str) -> Refusal {
    let message = message.to_lowercase();
    let says = |part: &str| message.contains(part);
    if THROTTLED.contains(&code) {
        let rate = says("sending rate") || (code != "LimitExceededException" && !says("quota"));
        return if rate { Refusal::Rate } else { Refusal::Stopped };
    }
    if STOPPED.contains(&code) {
        return Refusal::Stopped;
    }
    if !REJECTED.contains(&code) {
        return Refusal::Other;
    }
    // "Sending paused for this account", "Sending suspended for this account", "Daily message quota exceeded".
    if says("for this account") || says("quota exceeded") {
        return Refusal::Stopped;
    }
    if says("not verified") {
        // In the sandbox of SES, the recipient must be verified as well. The message names the unverified address.
        let address = from.rsplit('<').next().unwrap_or(from).trim_end_matches('>').to_lowercase();
        return if says(&address) { Refusal::Stopped } else { Refusal::Other };
    }
    Refusal::Mail
}

/// Builds the SES message of a mail.
pub fn message(mail: &Mail) -> Result<Message, BuildError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_mean_what_ses_documents() {
        let (rate, quota) = ("Maximum sending rate exceeded.", "Daily message quota exceeded.");
        let paused = "Sending paused for this account. For more information, please check the inbox of the email \
                      address associated with your AWS account.";
        let unverified = |who: &str| {
            format!(
                "Email address is not verified. The following identities failed the check in region US-EAST-1: {who}"
            )
        };
        for (code, message, expected) in [
            ("TooManyRequestsException", rate, Refusal::Rate),
            ("ThrottlingException", rate, Refusal::Rate),
            ("Throttling", rate, Refusal::Rate),
            ("LimitExceededException", rate, Refusal::Rate),
            ("TooManyRequestsException", "Too many requests", Refusal::Rate),
            ("ThrottlingException", "Rate exceeded", Refusal::Rate),
            ("TooManyRequestsException", quota, Refusal::Stopped),
            ("ThrottlingException", quota, Refusal::Stopped),
            ("Throttling", quota, Refusal::Stopped),
            ("LimitExceededException", quota, Refusal::Stopped),
            ("LimitExceededException", "", Refusal::Stopped),
            ("MessageRejected", quota, Refusal::Stopped),
            ("SendingPausedException", "Email sending is disabled.", Refusal::Stopped),
            ("AccountSuspendedException", "", Refusal::Stopped),
            ("MailFromDomainNotVerifiedException", "", Refusal::Stopped),
            ("MessageRejected", paused, Refusal::Stopped),
            ("MessageRejected", &paused.replace("paused", "suspended"), Refusal::Stopped),
            ("MessageRejected", &unverified("Hello@example.com"), Refusal::Stopped),
            ("MessageRejected", &unverified("ada@example.org"), Refusal::Other),
            ("MessageRejected", "Email message contains viruses", Refusal::Mail),
            ("BadRequestException", "Missing final '@domain'", Refusal::Mail),
            ("AccessDeniedException", "not authorized to perform ses:SendEmail", Refusal::Other),
            ("", "", Refusal::Other),
        ] {
            for from in ["hello@example.com", "Groundswell <hello@example.com>"] {
                assert_eq!(refusal(code, message, from), expected, "{code} {message}");
            }
        }
    }
}

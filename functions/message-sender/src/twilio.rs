//! Twilio's Messages API.
//!
//! Source: Twilio, "Messages resource" (API version 2010-04-01) and its error dictionary.

use std::time::Duration;

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, error::display::DisplayErrorContext};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tokio::sync::OnceCell;

/// Maximum time for an answer of Twilio.
const PATIENCE: Duration = Duration::from_secs(20);

/// Parameters of the form that sends a message.
pub type Form = Vec<(&'static str, String)>;

/// Outcome of the hand-over of a message to Twilio or SES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The provider accepted the message. `sid` is the provider's id of the message.
    Taken { sid: String },
    /// The provider refused the message permanently.
    Refused { code: Option<u32> },
    /// The provider refused the message because there were too many. `retry_after` is the delay that the provider
    /// asks for, if any.
    TooMany { retry_after: Option<Duration> },
    /// The message was certainly not sent: the credentials or the sender are wrong, or the provider was not reached.
    /// A retry may succeed.
    NotSent(String),
    /// The provider may have accepted the message, or not.
    Unknown(String),
}

/// Client of Twilio's API, with its connections.
pub struct Twilio {
    url: String,
    connector: OnceCell<SharedHttpConnector>,
}

#[derive(Deserialize)]
struct Message {
    sid: String,
}

#[derive(Deserialize)]
struct Problem {
    code: Option<u32>,
}

impl Twilio {
    pub fn new(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), connector: OnceCell::new() }
    }

    /// Hands a message over to Twilio, without a retry.
    pub async fn send(&self, account_sid: &str, auth_token: &str, form: &Form) -> SendOutcome {
        // The connector is made when it is first needed, because reading the system's root certificates takes
        // milliseconds.
        let connector = self.connector.get_or_init(async || aws::web_connector(&self.url)).await;
        let url = format!("{}/2010-04-01/Accounts/{account_sid}/Messages.json", self.url);
        let mut request = match HttpRequest::get(&url) {
            Ok(request) => request,
            Err(error) => return SendOutcome::NotSent(error.to_string()),
        };
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let basic = STANDARD.encode(format!("{account_sid}:{auth_token}"));
        let set = request.set_method("POST").is_ok();
        if !set {
            return SendOutcome::NotSent("POST is no method".to_owned());
        }
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Basic {basic}"));
        headers.insert("content-type", "application/x-www-form-urlencoded");
        headers.insert("content-length", body.len().to_string());
        headers.insert("accept", "application/json");
        *request.body_mut() = SdkBody::from(body);
        let answer = async {
            let response = connector.call(request).await.map_err(|error| {
                // If the request was never sent, Twilio has not accepted the message.
                let cause = DisplayErrorContext(&error).to_string();
                if aws::was_never_sent(&error) {
                    SendOutcome::NotSent(cause)
                } else {
                    SendOutcome::Unknown(cause)
                }
            })?;
            let status = response.status().as_u16();
            let retry_after = response.headers().get("retry-after").and_then(|text| text.parse().ok());
            let body = aws_smithy_types::byte_stream::ByteStream::new(response.into_body()).collect().await;
            let body = body
                .map(|body| body.into_bytes())
                .map_err(|error| SendOutcome::Unknown(error.to_string()))?;
            Ok(read(status, retry_after.map(Duration::from_secs), &body))
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer) | Err(answer)) => answer,
            Err(_) => SendOutcome::Unknown("no answer in time".to_owned()),
        }
    }
}

fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> SendOutcome {
    let code = || serde_json::from_slice::<Problem>(body).ok().and_then(|problem| problem.code);
    match status {
        200..=299 => match serde_json::from_slice::<Message>(body) {
            Ok(message) => SendOutcome::Taken { sid: message.sid },
            Err(error) => SendOutcome::Unknown(format!("status {status}: {error}")),
        },
        429 => SendOutcome::TooMany { retry_after },
        401 | 403 | 404 => SendOutcome::NotSent(format!("status {status}, code {:?}", code())),
        // Twilio may have accepted the message before the error.
        500.. => SendOutcome::Unknown(format!("status {status}")),
        _ => match code() {
            // Too many messages: 63018 is the limit of the WhatsApp channel, 20429 the limit of the API.
            Some(20429 | 63018) => SendOutcome::TooMany { retry_after },
            // The account has no such sender, so a corrected account can send the message.
            Some(code @ (21212 | 21606 | 63007)) => {
                SendOutcome::NotSent(format!("status {status}, code {code}"))
            }
            Some(code) => SendOutcome::Refused { code: Some(code) },
            None => SendOutcome::Unknown(format!("status {status} without a code")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_twilio_documents() {
        let problem = |code: u32| format!("{{\"code\": {code}, \"message\": \"x\", \"status\": 400}}");
        let too_many =
            |seconds: Option<u64>| SendOutcome::TooMany { retry_after: seconds.map(Duration::from_secs) };
        for (status, body, expected) in [
            (
                201,
                r#"{"sid": "SM1", "status": "queued"}"#.to_owned(),
                SendOutcome::Taken { sid: "SM1".to_owned() },
            ),
            (400, problem(21211), SendOutcome::Refused { code: Some(21211) }),
            (400, problem(21610), SendOutcome::Refused { code: Some(21610) }),
            (400, problem(63016), SendOutcome::Refused { code: Some(63016) }),
            (400, problem(63018), too_many(Some(2))),
            (429, problem(20429), too_many(Some(2))),
            (429, String::new(), too_many(Some(2))),
        ] {
            assert_eq!(
                read(status, Some(Duration::from_secs(2)), body.as_bytes()),
                expected,
                "{status} {body}"
            );
        }
        for (status, body) in [(500, ""), (503, ""), (201, "<html>"), (400, "")] {
            assert!(matches!(read(status, None, body.as_bytes()), SendOutcome::Unknown(_)), "{status}");
        }
        for status in [401, 403, 404] {
            assert!(matches!(read(status, None, b"{}"), SendOutcome::NotSent(_)), "{status}");
        }
        for code in [21212, 21606, 63007] {
            assert!(matches!(read(400, None, problem(code).as_bytes()), SendOutcome::NotSent(_)), "{code}");
        }
    }
}

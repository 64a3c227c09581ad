//! Callbacks of providers and recipients: delivery statuses, replies, unsubscriptions.
//!
//! Twilio signs its requests. The signature covers the callback URL exactly as Twilio was given it, and the
//! parameters. A status may arrive late, twice or out of order: the most advanced status of a message wins.

use std::collections::BTreeMap;

use api::{App, Problem, Query, problems, retried};
use axum::{
    body::Bytes,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
};
use campaigns::{
    campaign::{Send, SendReason, SendStatus, inbound_callback, status_callback},
    entities::TwilioAccount,
    keyword::{Keyword, StopWords},
    sends, twilio_accounts,
};
use domain::{
    id::{AccountId, CustomerId},
    phone::Phone,
    token::{self, Purpose},
};
use jiff::SignedDuration;
use messages::senders;
use stamps::customers;

use crate::dto::{InboundQuery, OptOutQuery, OptOutRequest, StatusQuery};

/// Time for which a sender sends nothing after its channel rejected a message because there were too many.
const REST: SignedDuration = SignedDuration::from_secs(30);
/// Maximum number of times that a message is deferred because its channel rejected it as one too many. The next such
/// rejection makes the message fail.
const PUT_OFF: u32 = 10;

/// Verifies Twilio's signature of a request to this URL. Returns the account and the parameters of the request.
///
/// # Errors
/// [`problems::SIGNATURE_INVALID`] if the signature is missing or wrong, or the account does not exist.
/// [`problems::MALFORMED_JSON`] if a signed body is neither a form nor a JSON object of strings.
async fn signed(
    app: &App,
    account: &AccountId,
    url: &str,
    body_sha256: Option<&str>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(TwilioAccount, BTreeMap<String, String>), Problem> {
    let refused = || Problem::from(problems::SIGNATURE_INVALID);
    let account = twilio_accounts::read(&app.table, account).await?.ok_or_else(refused)?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signature = text("x-twilio-signature");
    let is_form = text(header::CONTENT_TYPE.as_str()).starts_with("application/x-www-form-urlencoded");
    let parameters: Vec<(String, String)> = match is_form {
        true => form_urlencoded::parse(body).into_owned().collect(),
        false => Vec::new(),
    };
    let genuine = match (is_form, body_sha256) {
        (true, None) => account.auth_token.verify_form(signature, url, &parameters),
        (false, Some(hash)) => {
            account.auth_token.verify_body(signature, &format!("{url}&bodySHA256={hash}"), body)
        }
        _ => false,
    };
    if !genuine {
        return Err(refused());
    }
    let parameters = match is_form {
        true => parameters.into_iter().collect(),
        false => serde_json::from_slice(body).map_err(|_| {
            Problem::because(problems::MALFORMED_JSON, "The body is not an object of strings.")
        })?,
    };
    Ok((account, parameters))
}

/// Receives the delivery status of a message from Twilio.
///
/// Only Twilio calls this route. A status that reports an opt-out also withdraws the consent of the message's
/// customer. An outdated status is ignored.
#[utoipa::path(post, path = "/api/v1/providers/twilio/status", tag = "campaign", params(StatusQuery),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = NO_CONTENT)))]
pub async fn status(
    State(app): State<App>,
    Query(query): Query<StatusQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let url = status_callback(app.public_url(), &query.account_id, &query.send_id, query.attempt);
    let hash = query.body_sha256.as_deref();
    let (account, said) = signed(&app, &query.account_id, &url, hash, &headers, &body).await?;
    let text = |name: &str| said.get(name).map(String::as_str).unwrap_or_default();
    let code: Option<u32> = text("ErrorCode").parse().ok();
    // An opt-out is recorded first, because it counts even if the message is unknown.
    if code.map(SendReason::of_provider) == Some(SendReason::OptedOut) {
        let customers = match own_send(&app, &query).await? {
            // The callback's URL names the message, so the customer is known without a phone number.
            Some(send) => vec![send.customer_id],
            None => {
                customers::by_phone_of(&app.table, &account.account_id, &number("To", text("To"))?).await?
            }
        };
        for customer in customers {
            customers::set_consent(&app.table, &customer, false, "said stop to the provider", app.now())
                .await?;
        }
    }
    let status = match text("MessageStatus") {
        "sent" => SendStatus::Sent,
        "delivered" => SendStatus::Delivered,
        "read" => SendStatus::Read,
        "failed" | "undelivered" => SendStatus::Failed,
        // Other statuses are ignored: the acceptance of the message is known already, and the rest has no meaning
        // here.
        _ => return Ok(StatusCode::NO_CONTENT),
    };
    let told = Told { status, code, sid: text("MessageSid"), from: text("From"), account: &account };
    retried(|| async {
        // A status of an earlier attempt is ignored.
        let current = own_send(&app, &query).await?.filter(|send| send.put_off == query.attempt);
        let Some(send) = current else {
            return Ok(StatusCode::NO_CONTENT);
        };
        match told.note(&app, &send).await? {
            true => Ok(StatusCode::NO_CONTENT),
            false => Err(Problem::contended()),
        }
    })
    .await
    .map_err(Problem::or_unavailable)
}

/// Reads the message that a callback names; `None` if the message does not belong to the account.
async fn own_send(app: &App, query: &StatusQuery) -> Result<Option<Send>, Problem> {
    let found = sends::read(&app.table, &query.send_id).await?.map(|found| found.send);
    Ok(found.filter(|send| send.account_id == query.account_id))
}

/// Status of a message, as Twilio reports it.
struct Told<'a> {
    status: SendStatus,
    code: Option<u32>,
    sid: &'a str,
    from: &'a str,
    account: &'a TwilioAccount,
}

impl Told<'_> {
    /// Writes the reported status to the message. Returns `false` if the message has changed since it was read.
    async fn note(&self, app: &App, send: &Send) -> Result<bool, Problem> {
        let now = app.now();
        let under_way = matches!(send.status, SendStatus::Sending | SendStatus::Unknown | SendStatus::Sent);
        // 63018: the channel rejected the message because there were too many. The message is deferred.
        if self.status == SendStatus::Failed
            && self.code == Some(63018)
            && under_way
            && send.put_off < PUT_OFF
        {
            let after = Send {
                due_at: Some(now + REST),
                put_off: send.put_off + 1,
                provider_id: None,
                ..send.now(SendStatus::Deferred, now)
            };
            let cap = sends::cap_of(&app.table, send).await?;
            let noted = sends::give_back(&app.table, &after, cap.as_ref()).await?;
            let sender = self.account.sender(sender(self.account, self.from));
            senders::stop_until(&app.table, &sender, now + REST).await?;
            return Ok(noted);
        }
        let later = send.status.later(self.status);
        if later == send.status {
            return Ok(true);
        }
        let failed = later == SendStatus::Failed;
        let reason = || self.code.map_or(SendReason::Provider, SendReason::of_provider);
        let after = Send {
            provider_id: send.provider_id.clone().or(Some(self.sid.to_owned())).filter(|sid| !sid.is_empty()),
            provider_code: self.code.filter(|_| failed),
            reason: failed.then(reason),
            sent_at: send.sent_at.or(Some(now)),
            ..send.now(later, now)
        };
        // A message that was given up has given back its cap. The message reached the customer after all, so it takes
        // the cap again, unless the customer has been erased.
        let given_up = send.status == SendStatus::Refused && !failed && !send.test;
        if given_up && customers::account_of(&app.table, &send.customer_id).await?.is_some() {
            return Ok(sends::regain(&app.table, &after, now).await?);
        }
        // A message that was not delivered gives back its cap, so that other campaigns may send to the customer.
        let cap = if failed { sends::cap_of(&app.table, send).await? } else { None };
        Ok(sends::give_back(&app.table, &after, cap.as_ref()).await?)
    }
}

const WHATSAPP: &str = "whatsapp:";

/// Returns the phone number of the address in this parameter. The address may begin with its channel (`whatsapp:`).
fn number(parameter: &'static str, address: &str) -> Result<Phone, Problem> {
    let number = address.strip_prefix(WHATSAPP).unwrap_or(address).to_owned();
    Phone::try_from(number).map_err(|invalid| Problem::invalid(parameter, &invalid))
}

/// Returns a sender's address in the form that the account has stored, because the sender's turns are counted under
/// that form.
fn sender(account: &TwilioAccount, address: &str) -> String {
    let (prefix, own) = match address.starts_with(WHATSAPP) {
        true => (WHATSAPP, account.whatsapp_sender.as_ref()),
        false => ("", account.sms_sender.as_ref()),
    };
    let named = number("From", address).ok().map(|number| number.identity());
    let own = own.filter(|own| Some(own.identity()) == named);
    own.map_or_else(|| address.to_owned(), |own| format!("{prefix}{}", own.as_str()))
}

/// Receives a customer's reply from Twilio.
///
/// Only Twilio calls this route. A reply such as STOP withdraws the consent of the customer with this phone number; a
/// reply such as START grants it. Other replies are ignored.
#[utoipa::path(post, path = "/api/v1/providers/twilio/inbound", tag = "campaign", params(InboundQuery),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = OK, body = String, content_type = "application/xml")))]
pub async fn inbound(
    State(app): State<App>,
    Query(query): Query<InboundQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<([(header::HeaderName, &'static str); 1], &'static str), Problem> {
    // Empty TwiML: Twilio sends no answer to the customer.
    let silence = ([(header::CONTENT_TYPE, "application/xml")], "<Response/>");
    let url = inbound_callback(app.public_url(), &query.account_id);
    let hash = query.body_sha256.as_deref();
    let (account, said) = signed(&app, &query.account_id, &url, hash, &headers, &body).await?;
    let text = |name: &str| said.get(name).map(String::as_str).unwrap_or_default();
    let Some(keyword) = keyword(&said, &account.stop_words) else { return Ok(silence) };
    let phone = number("From", text("From"))?;
    let words = [text("Body"), text("ButtonText")].into_iter().find(|words| !words.trim().is_empty());
    for customer in customers::by_phone_of(&app.table, &account.account_id, &phone).await? {
        let granted = keyword == Keyword::Start;
        customers::set_consent(&app.table, &customer, granted, words.unwrap_or_default(), app.now()).await?;
    }
    Ok(silence)
}

/// Returns the request of a reply. Twilio's `OptOutType` decides, if present; otherwise the button that the customer
/// pressed, or the text.
fn keyword(said: &BTreeMap<String, String>, own: &StopWords) -> Option<Keyword> {
    let text = |name: &str| said.get(name).map(String::as_str).unwrap_or_default();
    match text("OptOutType") {
        "STOP" => return Some(Keyword::Stop),
        "START" => return Some(Keyword::Start),
        _ => {}
    }
    let said = ["ButtonPayload", "ButtonText", "Body"].map(|name| Keyword::of(text(name), own));
    [Keyword::Stop, Keyword::Start].into_iter().find(|keyword| said.contains(&Some(*keyword)))
}

/// Withdraws a customer's consent to campaign messages.
///
/// The token from a campaign mail identifies the customer. Pass the token in the query (one-click unsubscription, RFC
/// 8058), or in the body. The request can be repeated.
#[utoipa::path(post, path = "/api/v1/customers/unsubscribe", tag = "campaign", params(OptOutQuery),
    request_body = OptOutRequest, responses((status = NO_CONTENT)))]
pub async fn unsubscribe(
    State(app): State<App>,
    Query(query): Query<OptOutQuery>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let token = match query.token {
        Some(token) => Some(token),
        // A mail program posts a form and has the token in the URL, so only other callers send JSON.
        None => api::Json::<OptOutRequest>::from_request(request, &()).await?.0.token,
    };
    let token = token.ok_or_else(|| Problem::field("token", "is missing"))?;
    let invalid = || Problem::from(problems::INVALID_TOKEN);
    let customer = token::claimed_subject::<CustomerId>(&token).ok_or_else(invalid)?;
    let account = customers::account_of(&app.table, &customer).await?.ok_or_else(invalid)?;
    let key = accounts::signing_key(&app.table, &account).await?;
    let customer: CustomerId =
        token::verify(&key, Purpose::OptOut, &token, app.now()).map_err(|_| invalid())?;
    customers::set_consent(&app.table, &customer, false, "unsubscribed", app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_is_named_by_another_form_is_the_account_s_own() {
        let account: TwilioAccount = serde_json::from_value(serde_json::json!({
            "account_id": "acct_01m7yhxdqhbwa008tz019wpw3d",
            "account_sid": format!("AC{}", "0".repeat(32)),
            "auth_token": "0".repeat(32),
            "whatsapp_sender": "+525500000001",
            "sms_sender": "+493012345678",
            "updated_at": "2026-11-21T08:00:00Z",
            "rev": 1,
        }))
        .unwrap();
        for (named, own) in [
            ("whatsapp:+5215500000001", "whatsapp:+525500000001"),
            ("whatsapp:+525500000001", "whatsapp:+525500000001"),
            ("+493012345678", "+493012345678"),
            ("+525500000001", "+525500000001"),
            ("whatsapp:+493012345678", "whatsapp:+493012345678"),
            ("MG0123", "MG0123"),
        ] {
            assert_eq!(sender(&account, named), own);
        }
    }
}

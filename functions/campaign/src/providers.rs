//! Routes of the Twilio account through which an account's messages are sent.

use accounts::entities::AuditEntry;
use api::{App, Json, Principal, Problem, problems, retried};
use axum::{extract::State, http::StatusCode};
use campaigns::{entities::TwilioAccount, twilio::AuthToken, twilio_accounts};

use crate::dto::{TwilioRequest, TwilioView};

/// Returns the Twilio account, without its auth token.
#[utoipa::path(get, path = "/api/v1/providers/twilio", tag = "campaign",
    responses((status = OK, body = TwilioView)))]
pub async fn get(State(app): State<App>, principal: Principal) -> Result<axum::Json<TwilioView>, Problem> {
    let found = twilio_accounts::read(&app.table, &principal.account_id).await?;
    let found = found.ok_or_else(|| Problem::because(problems::NOT_FOUND, "No Twilio account is set."))?;
    Ok(axum::Json(TwilioView::of(found, app.public_url())))
}

/// Sets the Twilio account and its senders.
///
/// The settings replace those of a Twilio account that was set before.
#[utoipa::path(put, path = "/api/v1/providers/twilio", tag = "campaign", request_body = TwilioRequest,
    responses((status = OK, body = TwilioView)))]
pub async fn put(
    State(app): State<App>,
    principal: Principal,
    Json(request): Json<TwilioRequest>,
) -> Result<axum::Json<TwilioView>, Problem> {
    let TwilioRequest { account_sid, auth_token, whatsapp_sender, sms_sender, stop_words } = request;
    let digits = account_sid.strip_prefix("AC").unwrap_or_default();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::field("account_sid", "is not AC and 32 hexadecimal digits"));
    }
    let auth_token =
        AuthToken::new(auth_token).map_err(|invalid| Problem::invalid("auth_token", &invalid))?;
    retried(|| async {
        let old = twilio_accounts::read(&app.table, &principal.account_id).await?;
        let new = TwilioAccount {
            account_id: principal.account_id.clone(),
            account_sid: account_sid.clone(),
            auth_token: auth_token.clone(),
            whatsapp_sender: whatsapp_sender.clone(),
            sms_sender: sms_sender.clone(),
            stop_words: stop_words.clone(),
            updated_at: app.now(),
            rev: old.as_ref().map_or(1, |old| old.rev + 1),
        };
        let audit = audit(&app, &principal, "twilio.set");
        twilio_accounts::set(&new, old.as_ref(), &audit).apply(&app.table).await?;
        Ok(axum::Json(TwilioView::of(new, app.public_url())))
    })
    .await
}

/// Removes the Twilio account. No more messages are sent through it.
#[utoipa::path(delete, path = "/api/v1/providers/twilio", tag = "campaign", responses((status = NO_CONTENT)))]
pub async fn delete(State(app): State<App>, principal: Principal) -> Result<StatusCode, Problem> {
    let Some(old) = twilio_accounts::read(&app.table, &principal.account_id).await? else {
        return Err(Problem::because(problems::NOT_FOUND, "No Twilio account is set."));
    };
    twilio_accounts::forget(&old, &audit(&app, &principal, "twilio.forgotten")).apply(&app.table).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn audit(app: &App, principal: &Principal, action: &str) -> AuditEntry {
    let account = &principal.account_id;
    AuditEntry::new(account, &principal.id, action, account.as_str(), app.now())
}

//! Actions of the links in mails: verifying an address, and unsubscribing.
//!
//! The links carry signed tokens instead of keys. Both actions are idempotent. Neither is triggered by a GET
//! request, because mail scanners follow links.

use api::{App, Problem, Query, problems, retried};
use axum::{
    extract::{FromRequest, Request, State},
    http::StatusCode,
    response::Redirect,
};
use domain::{
    id::{AccountId, SubscriberId},
    secret::SigningKey,
    token::{self, Purpose, TokenError},
};
use table::Table;
use waitlists::{
    id::ReferralId,
    seats::{self, Seating},
    subscriber::{Subscriber, SubscriberStatus},
    subscribers::{self, Returning as _},
    waitlist::Waitlist,
};

use crate::dto::{JoinedView, TokenQuery, TokenRequest};

/// Verifies the email address of a subscriber and puts the subscriber in line.
///
/// With the token of a mail that asks to confirm a return, also cancels the unsubscription. Repeating the request
/// with the same token returns the same subscriber.
#[utoipa::path(post, path = "/api/v1/subscribers/verify", tag = "subscriber", request_body = TokenRequest,
    responses((status = OK, body = JoinedView)))]
pub async fn verify(
    State(app): State<App>,
    api::Json(request): api::Json<TokenRequest>,
) -> Result<axum::Json<JoinedView>, Problem> {
    // Retries if another request changed the subscriber, for example by a credit, or took the free seat.
    retried(|| async {
        let (subscriber, key, purpose) =
            holder(&app, &[Purpose::Verify, Purpose::Return], &request.token).await?;
        let waitlist =
            waitlists::find(&app.table, &subscriber.waitlist_id).await?.ok_or(problems::NOT_FOUND)?;
        let is_pending = subscriber.status == SubscriberStatus::Pending;
        let returns = purpose == Purpose::Return && subscriber.return_request.is_some();
        let confirmed = match (is_pending, returns) {
            (false, false) => subscriber,
            _ if waitlist.deleting => return Err(waitlists::problems::WAITLIST_DELETING.into()),
            (true, _) => bring_in_line(&app, subscriber, &waitlist).await?,
            (false, true) => bring_back(&app, subscriber).await?,
        };
        Ok(axum::Json(view(&app, &confirmed.account_id, &confirmed, &waitlist, &key).await?))
    })
    .await
}

/// Cancels the unsubscription of a subscriber who confirmed the return.
async fn bring_back(app: &App, subscriber: Subscriber) -> Result<Subscriber, Problem> {
    let rev = subscriber.rev;
    let returned = Subscriber { rev: rev + 1, ..subscriber.returned(app.now()) };
    subscribers::update(&returned, rev).returning(&returned).apply(&app.table).await?;
    Ok(returned)
}

/// Puts a pending subscriber in line who confirms the address.
async fn bring_in_line(
    app: &App,
    subscriber: Subscriber,
    waitlist: &Waitlist,
) -> Result<Subscriber, Problem> {
    let seat = match seats::find(&app.table, waitlist).await? {
        Seating::Unlimited => None,
        Seating::Free(seat) => Some(seat),
        Seating::Full => {
            // A concurrent request may have verified this subscriber and taken the last seat.
            let now = subscribers::find(&app.table, &subscriber.id).await?;
            let verified = now.filter(|now| now.status != SubscriberStatus::Pending);
            return verified.ok_or_else(|| waitlists::problems::WAITLIST_FULL.into());
        }
    };
    let referral = match &subscriber.referred_by {
        Some(_) => subscribers::referral(&app.table, &ReferralId::of_referee(&subscriber.id)).await?,
        None => None,
    };
    let number = subscribers::take_number(&app.table, &waitlist.id).await?;
    let now = app.now();
    let rev = subscriber.rev;
    // A subscriber who confirms the address after unsubscribing wants mail again.
    let returns = subscriber.unsubscribed_at.is_some();
    let subscriber = if returns { subscriber.returned(now) } else { subscriber };
    let verified = Subscriber {
        status: SubscriberStatus::Active,
        number: Some(number),
        seated: seat.is_some(),
        verified_at: Some(now),
        active_at: now,
        rev: rev + 1,
        ..subscriber
    };
    let commit = subscribers::verify(&verified, rev, referral.as_ref(), seat);
    let commit = if returns { commit.returning(&verified) } else { commit };
    let committed = commit.apply(&app.table).await;
    // Give the number up, unless the write may have been applied and the subscriber may have the number.
    if committed.as_ref().is_err_and(|error| !error.may_be_applied()) {
        subscribers::waste_number(&app.table, &waitlist.id).await?;
    }
    committed?;
    Ok(verified)
}

/// Returns the subscriber with its current position and its token.
async fn view(
    app: &App,
    account: &AccountId,
    subscriber: &Subscriber,
    waitlist: &Waitlist,
    key: &SigningKey,
) -> Result<JoinedView, Problem> {
    let found = subscribers::read(&app.table, account, &subscriber.id).await?.ok_or(problems::NOT_FOUND)?;
    let position = found.position(&app.table).await?;
    let token = token::issue(key, Purpose::Subscriber, &subscriber.id, None);
    Ok(JoinedView::new(&found.subscriber, waitlist, app.public_url(), position, Some(token)))
}

/// Unsubscribes a subscriber from all mail (RFC 8058).
///
/// The token is in the query, as mail programs send it with `List-Unsubscribe=One-Click`, or in a JSON body.
#[utoipa::path(post, path = "/api/v1/subscribers/unsubscribe", tag = "subscriber", params(TokenQuery),
    request_body(content((TokenRequest = "application/json"), (String = "application/x-www-form-urlencoded"))),
    responses((status = NO_CONTENT)))]
pub async fn unsubscribe(
    State(app): State<App>,
    Query(query): Query<TokenQuery>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let token = match query.token {
        Some(token) => token,
        None => api::Json::<TokenRequest>::from_request(request, &()).await?.0.token,
    };
    retried(|| async {
        let (subscriber, ..) = holder(&app, &[Purpose::Unsubscribe], &token).await?;
        if subscriber.unsubscribed_at.is_some() && subscriber.return_request.is_none() {
            return Ok(StatusCode::NO_CONTENT);
        }
        let rev = subscriber.rev;
        let stopped = Subscriber {
            unsubscribed_at: subscriber.unsubscribed_at.or(Some(app.now())),
            return_request: None,
            rev: rev + 1,
            ..subscriber
        };
        subscribers::update(&stopped, rev).apply(&app.table).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Redirects to the unsubscribe page, for a browser that opens the link from a mail's `List-Unsubscribe` header.
#[utoipa::path(get, path = "/api/v1/subscribers/unsubscribe", tag = "subscriber", params(TokenQuery),
    responses((status = SEE_OTHER)))]
pub async fn unsubscribe_page(
    State(app): State<App>,
    Query(query): Query<TokenQuery>,
) -> Result<Redirect, Problem> {
    let token = query.token.unwrap_or_default();
    // Issued tokens contain no other characters. Any other text must not get into the redirect.
    if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(problems::INVALID_TOKEN.into());
    }
    Ok(Redirect::to(&format!("{}/unsubscribe?token={token}", app.public_url())))
}

/// Verifies a token for one of these purposes. Returns the subscriber, the key that signed the token, and the
/// purpose.
async fn holder(
    app: &App,
    purposes: &[Purpose],
    text: &str,
) -> Result<(Subscriber, SigningKey, Purpose), Problem> {
    let invalid = || Problem::from(problems::INVALID_TOKEN);
    let claimed = token::claimed_subject::<SubscriberId>(text).ok_or_else(invalid)?;
    let subscriber = subscribers::find(&app.table, &claimed).await?.ok_or_else(invalid)?;
    let key = signing_key(&app.table, &subscriber.account_id).await?.ok_or_else(invalid)?;
    for purpose in purposes {
        match token::verify::<SubscriberId>(&key, *purpose, text, app.now()) {
            Ok(_) => return Ok((subscriber, key, *purpose)),
            Err(TokenError::Expired) => return Err(problems::EXPIRED_TOKEN.into()),
            Err(TokenError::Forged) => {}
        }
    }
    Err(invalid())
}

async fn signing_key(table: &Table, account: &AccountId) -> Result<Option<SigningKey>, Problem> {
    Ok(accounts::read(table, account).await?.map(|(_, signing)| signing.signing_key))
}

//! Requests of subscribers for themselves, from a page that holds a publishable key.

use accounts::entities::AccountSigning;
use domain::{
    id::SubscriberId,
    token::{self, Purpose},
};
use jiff::Timestamp;

use crate::{App, Client, Principal, Problem, problems};

/// Allows secret keys and members. Allows a publishable key only with the `X-Subscriber-Token` of this subscriber.
///
/// # Errors
/// [`problems::SUBSCRIBER_TOKEN_REQUIRED`], whether or not the subscriber exists.
pub async fn require_subscriber(
    app: &App,
    principal: &Principal,
    client: &Client,
    id: &SubscriberId,
) -> Result<(), Problem> {
    if !principal.is_publishable() || acting_subscriber(app, principal, client).await? == *id {
        Ok(())
    } else {
        Err(problems::SUBSCRIBER_TOKEN_REQUIRED.into())
    }
}

/// Returns the subscriber that the `X-Subscriber-Token` names, without verifying the token. Use it only to start
/// reads before [`verified_subscriber`] verifies the token.
pub fn claimed_subscriber(client: &Client) -> Option<SubscriberId> {
    token::claimed_subject(client.header("x-subscriber-token")?)
}

/// Returns the owner of the `X-Subscriber-Token`, whichever API key the request has.
///
/// # Errors
/// [`problems::SUBSCRIBER_TOKEN_REQUIRED`] if the token is missing or invalid.
pub async fn acting_subscriber(
    app: &App,
    principal: &Principal,
    client: &Client,
) -> Result<SubscriberId, Problem> {
    let account = match claimed_subscriber(client) {
        Some(_) => accounts::read(&app.table, &principal.account_id).await?,
        None => None,
    };
    verified_subscriber(account.as_ref().map(|(_, signing)| signing), client, app.now())
}

/// Returns the owner of the `X-Subscriber-Token`, verified with the account's signing key that was read already.
///
/// # Errors
/// [`problems::SUBSCRIBER_TOKEN_REQUIRED`] if the token is missing or invalid, or there is no key.
pub fn verified_subscriber(
    signing: Option<&AccountSigning>,
    client: &Client,
    now: Timestamp,
) -> Result<SubscriberId, Problem> {
    let token = client.header("x-subscriber-token").zip(signing);
    let verified =
        token.and_then(|(token, key)| token::verify(&key.signing_key, Purpose::Subscriber, token, now).ok());
    verified.ok_or_else(|| problems::SUBSCRIBER_TOKEN_REQUIRED.into())
}

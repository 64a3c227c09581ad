//! Requests of subscribers for themselves, from a page that holds a publishable key.

use domain::{
    id::SubscriberId,
    token::{self, Purpose},
};

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
/// reads while [`acting_subscriber`] verifies the token.
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
    let refused = || Problem::from(problems::SUBSCRIBER_TOKEN_REQUIRED);
    let token = client.header("x-subscriber-token").ok_or_else(refused)?;
    let (_, signing) = accounts::read(&app.table, &principal.account_id).await?.ok_or_else(refused)?;
    token::verify(&signing.signing_key, Purpose::Subscriber, token, app.now()).map_err(|_| refused())
}

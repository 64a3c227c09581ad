//! Subscribers acting for themselves, through a page that holds a publishable key.

use domain::{
    id::SubscriberId,
    token::{self, Purpose},
};

use crate::{App, Client, Principal, Problem, problems};

/// Lets secret keys and members pass, and of the others only the subscriber itself,
/// by its `X-Subscriber-Token`.
///
/// # Errors
/// [`problems::SUBSCRIBER_TOKEN_REQUIRED`], whether or not there is such a subscriber.
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

/// Whose the `X-Subscriber-Token` says that it is. That proves nothing: it is for reads that go on while
/// [`acting_subscriber`] finds out.
pub fn claimed_subscriber(client: &Client) -> Option<SubscriberId> {
    token::claimed_subject(client.header("x-subscriber-token")?)
}

/// Who acts: the owner of the `X-Subscriber-Token`, whatever key comes with it.
///
/// # Errors
/// [`problems::SUBSCRIBER_TOKEN_REQUIRED`] without one that holds.
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

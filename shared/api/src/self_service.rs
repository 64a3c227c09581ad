//! Subscribers acting for themselves, through a page that holds a publishable key.

use domain::{
    id::SubscriberId,
    token::{self, Purpose},
};

use crate::{App, Client, Principal, Problem, ProblemKind};

/// Lets secret keys and members pass, and of the others only the subscriber itself,
/// by its `X-Subscriber-Token`.
///
/// # Errors
/// [`ProblemKind::SubscriberTokenRequired`], whether or not there is such a subscriber.
pub async fn require_subscriber(
    app: &App,
    principal: &Principal,
    client: &Client,
    id: &SubscriberId,
) -> Result<(), Problem> {
    if !principal.is_publishable() || acting_subscriber(app, principal, client).await? == *id {
        Ok(())
    } else {
        Err(ProblemKind::SubscriberTokenRequired.into())
    }
}

/// Who acts: the owner of the `X-Subscriber-Token`, whatever key comes with it.
///
/// # Errors
/// [`ProblemKind::SubscriberTokenRequired`] without one that holds.
pub async fn acting_subscriber(
    app: &App,
    principal: &Principal,
    client: &Client,
) -> Result<SubscriberId, Problem> {
    let refused = || Problem::from(ProblemKind::SubscriberTokenRequired);
    let token = client.header("x-subscriber-token").ok_or_else(refused)?;
    let (_, signing) = accounts::read(&app.table, &principal.account_id).await?.ok_or_else(refused)?;
    token::verify(&signing.signing_key, Purpose::Subscriber, token, app.now()).map_err(|_| refused())
}

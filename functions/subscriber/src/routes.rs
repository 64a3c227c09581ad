//! Routes of the subscriber family.

use api::{Access, Routes, routes};

use crate::{exports, join, links, manage, pages};

const READ: Access = Access::Secret(waitlists::SUBSCRIBERS.read());
const WRITE: Access = Access::Secret(waitlists::SUBSCRIBERS.write());

/// Returns the routes of this function, with the access that each route requires.
pub fn routes() -> Routes {
    Routes::new()
        .route(Access::Publishable(waitlists::SUBSCRIBERS.write()), routes!(join::join))
        .route(READ, routes!(manage::list))
        .route(READ, routes!(exports::start_by_get))
        .route(READ, routes!(manage::get))
        .route(WRITE, routes!(manage::erase))
        .route(Access::Publishable(waitlists::SUBSCRIBERS.read()), routes!(manage::position))
        .route(WRITE, routes!(manage::convert))
        .route(WRITE, routes!(manage::invite))
        .route(Access::Token, routes!(links::verify))
        .route(Access::Token, routes!(links::unsubscribe, links::unsubscribe_page))
        .route(READ, routes!(exports::start))
        .route(READ, routes!(exports::get))
        .route(Access::Public, routes!(pages::verify))
        .route(Access::Public, routes!(pages::unsubscribe))
}

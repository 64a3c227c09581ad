//! Routes of the campaign family.

use api::{Access, Routes, routes};

use crate::{campaigns, hooks, providers};

const READ: Access = Access::Secret(::campaigns::CAMPAIGNS.read());
const WRITE: Access = Access::Secret(::campaigns::CAMPAIGNS.write());

/// Returns all routes of this function.
pub fn routes() -> Routes {
    Routes::new()
        .route(WRITE, routes!(campaigns::create))
        .route(READ, routes!(campaigns::list))
        .route(READ, routes!(campaigns::get))
        .route(WRITE, routes!(campaigns::patch, campaigns::delete))
        .route(WRITE, routes!(campaigns::activate))
        .route(WRITE, routes!(campaigns::pause))
        .route(WRITE, routes!(campaigns::resume))
        .route(WRITE, routes!(campaigns::test))
        .route(READ, routes!(campaigns::sends))
        .route(READ, routes!(campaigns::events))
        .route(READ, routes!(providers::get))
        .route(WRITE, routes!(providers::put, providers::delete))
        .route(Access::Hook, routes!(hooks::status))
        .route(Access::Hook, routes!(hooks::inbound))
        .route(Access::Token, routes!(hooks::unsubscribe))
}

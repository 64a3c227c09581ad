//! Routes of the code family.

use api::{Access, Routes, routes};

use crate::{claims, codes, imports, pools};

const READ: Access = Access::Secret(::codes::CODES.read());
const WRITE: Access = Access::Secret(::codes::CODES.write());
const SHOP: Access = Access::Publishable(::codes::CODES.write());

/// Returns all routes of this function.
pub fn routes() -> Routes {
    Routes::new()
        .route(WRITE, routes!(pools::create))
        .route(READ, routes!(pools::list))
        .route(READ, routes!(pools::get))
        .route(WRITE, routes!(pools::patch, pools::delete))
        .route(READ, routes!(pools::events))
        .route(WRITE, routes!(imports::announce))
        .route(READ, routes!(imports::list))
        .route(READ, routes!(imports::get))
        .route(READ, routes!(codes::list))
        .route(READ, routes!(codes::get))
        .route(WRITE, routes!(codes::reveal))
        .route(WRITE, routes!(codes::redeem))
        .route(Access::Publishable(::codes::CODES.read()), routes!(claims::availability))
        .route(SHOP, routes!(claims::claim))
        .route(READ, routes!(claims::get))
        .route(SHOP, routes!(claims::confirm))
        .route(SHOP, routes!(claims::release))
}

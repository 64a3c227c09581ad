//! Routes of the stamp family.

use api::{Access, Routes, routes};

use crate::{customers, programs, rewards, stamps};

const READ: Access = Access::Secret(::stamps::STAMPS.read());
const WRITE: Access = Access::Secret(::stamps::STAMPS.write());
/// Access to the work at a till. Staff have this access, but may not change settings.
const TILL: Access = Access::Secret(::stamps::TILL.write());

/// Returns all routes of this function.
pub fn routes() -> Routes {
    Routes::new()
        .route(WRITE, routes!(programs::create))
        .route(READ, routes!(programs::list))
        .route(READ, routes!(programs::get))
        .route(WRITE, routes!(programs::patch, programs::delete))
        .route(READ, routes!(programs::events))
        .route(Access::Publishable(::stamps::TILL.write()), routes!(customers::enrol))
        .route(READ, routes!(customers::list))
        .route(READ, routes!(customers::get))
        .route(WRITE, routes!(customers::patch, customers::erase))
        .route(READ, routes!(customers::card_of))
        .route(READ, routes!(customers::stamps_of))
        .route(TILL, routes!(stamps::give))
        .route(TILL, routes!(stamps::void))
        .route(TILL, routes!(stamps::sync))
        .route(READ, routes!(rewards::list))
        .route(TILL, routes!(rewards::redeem))
}

//! Routes of the feature-vote family.

use api::{Access, Routes, routes};

use crate::{comments, features, votes};

const READ: Access = Access::Secret(::features::FEATURES.read());
const WRITE: Access = Access::Secret(::features::FEATURES.write());
const PUBLIC_READ: Access = Access::Publishable(::features::FEATURES.read());
const PUBLIC_WRITE: Access = Access::Publishable(::features::FEATURES.write());

/// Returns the routes of this function, with the access that each route requires.
pub fn routes() -> Routes {
    Routes::new()
        .route(WRITE, routes!(features::create))
        .route(PUBLIC_READ, routes!(features::list))
        .route(PUBLIC_READ, routes!(features::get))
        .route(WRITE, routes!(features::patch))
        .route(WRITE, routes!(features::delete))
        .route(WRITE, routes!(features::merge))
        .route(READ, routes!(features::events))
        .route(PUBLIC_WRITE, routes!(votes::cast))
        .route(PUBLIC_WRITE, routes!(votes::take_back))
        .route(READ, routes!(votes::list))
        .route(PUBLIC_WRITE, routes!(comments::create))
        .route(PUBLIC_READ, routes!(comments::list))
        .route(WRITE, routes!(comments::moderate))
}

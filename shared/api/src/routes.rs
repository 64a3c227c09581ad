//! A family's routes, collected together with their OpenAPI description.

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::MethodRouter};
use utoipa::openapi::{
    ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder, extensions::Extensions, schema::Schema,
    security::SecurityRequirement,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::{Access, App, Problem, ProblemKind, access::guard};

/// Nothing that a caller sends us needs more. API Gateway's own limit is 10 MB.
pub(crate) const MAX_BODY: usize = 256 * 1024;

/// Builds a family's router. A route can't be added without saying who may call it.
pub struct Routes(OpenApiRouter<App>);

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    pub fn new() -> Self {
        Self(OpenApiRouter::default())
    }

    /// Adds handlers of one path: `routes!(list)`, with the same access for all of them.
    #[must_use]
    pub fn route(self, access: Access, route: UtoipaMethodRouter<App>) -> Self {
        let (schemas, mut paths, methods): (Vec<(String, RefOr<Schema>)>, _, MethodRouter<App>) = route;
        for item in paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
                .into_iter()
                .flatten()
            {
                operation.extensions = Some(Extensions::builder().add("x-access", access.name()).build());
                operation.security = Some(if access.is_authenticated() {
                    vec![
                        SecurityRequirement::new("bearer", [""; 0]),
                        SecurityRequirement::new("api_key", [""; 0]),
                    ]
                } else {
                    Vec::new()
                });
                let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
                operation.responses.responses.insert(
                    "default".to_owned(),
                    RefOr::T(
                        ResponseBuilder::new()
                            .description("An RFC 9457 problem; `type` names its page.")
                            .content("application/problem+json", problem)
                            .build(),
                    ),
                );
            }
        }
        let methods = methods.route_layer(middleware::from_fn_with_state(access, guard));
        Self(self.0.routes((schemas, paths, methods)))
    }

    /// The description alone.
    pub fn openapi(self) -> OpenApi {
        self.0.into_openapi()
    }

    /// The router alone.
    pub fn into_router(self, app: App) -> Router {
        let (router, _) = self.0.split_for_parts();
        router
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(middleware::from_fn(crate::cors::cors))
            .layer(middleware::from_fn(crate::telemetry::observe))
            .with_state(app)
    }
}

async fn not_found() -> Problem {
    ProblemKind::NotFound.into()
}

async fn method_not_allowed() -> Problem {
    ProblemKind::MethodNotAllowed.into()
}

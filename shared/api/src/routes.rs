//! Routes of a family, and their OpenAPI description.
//!
//! The description is built only on demand, because building it takes longer than everything else that a function
//! does before its first request.

use axum::{Router, extract::DefaultBodyLimit, handler::Handler, middleware, routing::MethodRouter};
use utoipa::openapi::{
    ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder, extensions::Extensions,
    security::SecurityRequirement,
};
use utoipa_axum::{
    PathItemExt,
    router::{OpenApiRouter, UtoipaMethodRouter},
};

use crate::{Access, App, Problem, access::guard, extract, problems};

type Description = fn() -> UtoipaMethodRouter<App>;

/// Handlers of one path. [`routes!`](crate::routes!) builds this value.
pub struct Route {
    path: String,
    methods: MethodRouter<App>,
    description: Description,
}

impl Route {
    /// Returns a path without handlers.
    pub fn described_by(description: Description) -> Self {
        Self { path: String::new(), methods: MethodRouter::new(), description }
    }

    /// Adds a handler and the path and methods that its `#[utoipa::path]` declares.
    #[must_use]
    pub fn on<P: utoipa::Path, H: Handler<T, App>, T: 'static>(self, _: P, handler: H) -> Self {
        let methods = P::methods()
            .into_iter()
            .fold(self.methods, |methods, method| methods.on(method.to_method_filter(), handler.clone()));
        Self { path: P::path(), methods, ..self }
    }
}

/// Collects the handlers of one path for [`Routes::route`]: `routes!(list)`, or
/// `routes!(pools::patch, pools::delete)`. Unlike `utoipa_axum::routes!`, builds the OpenAPI description only on
/// demand.
#[macro_export]
macro_rules! routes {
    ($($handler:ident),+ $(,)?) => {
        $crate::paste! {
            $crate::Route::described_by(|| ::utoipa_axum::routes!($($handler),+))
                $(.on([<__path_ $handler>], $handler))+
        }
    };
    ($($module:ident::$handler:ident),+ $(,)?) => {
        $crate::paste! {
            $crate::Route::described_by(|| ::utoipa_axum::routes!($($module::$handler),+))
                $(.on($module::[<__path_ $handler>], $module::$handler))+
        }
    };
}

/// Builder of a family's router. Every route needs an [`Access`].
#[derive(Default)]
pub struct Routes {
    router: Router<App>,
    descriptions: Vec<(Access, Description)>,
}

impl Routes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the handlers of one path, e.g. `routes!(list)`, with the same access for all of them.
    #[must_use]
    pub fn route(mut self, access: Access, route: Route) -> Self {
        let methods = route.methods.route_layer(middleware::from_fn_with_state(access, guard));
        self.descriptions.push((access, route.description));
        Self { router: self.router.route(&route.path, methods), ..self }
    }

    /// Builds the OpenAPI description.
    pub fn openapi(self) -> OpenApi {
        let described =
            self.descriptions.into_iter().fold(OpenApiRouter::default(), |router, (access, describe)| {
                router.routes(with_common(describe(), access))
            });
        described.into_openapi()
    }

    /// Builds the router.
    pub fn into_router(self, app: App) -> Router {
        self.router
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(extract::MAX_BODY))
            .layer(middleware::from_fn(crate::cors::cors))
            .layer(middleware::from_fn(crate::telemetry::observe))
            .with_state(app)
    }
}

/// Adds the parts that all operations have: the access, and the problem response.
fn with_common(
    (schemas, mut paths, methods): UtoipaMethodRouter<App>,
    access: Access,
) -> UtoipaMethodRouter<App> {
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
    (schemas, paths, methods)
}

async fn not_found() -> Problem {
    problems::NOT_FOUND.into()
}

async fn method_not_allowed() -> Problem {
    problems::METHOD_NOT_ALLOWED.into()
}

//! Access to routes. Denied by default: every route needs an [`Access`].

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::scope::Scope;

use crate::{Principal, Problem, ProblemKind, problems};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone. The response contains public data only.
    Public,
    /// Everyone with a token that the platform signed. The handler verifies the token.
    Token,
    /// A provider that signs its requests. The handler verifies the signature.
    Hook,
    /// A publishable key, or a secret key or member with the scope.
    Publishable(Scope),
    /// A secret key or member with the scope.
    Secret(Scope),
}

impl Access {
    /// Returns the text for the access in the OpenAPI document.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Public => "public".to_owned(),
            Self::Token => "token".to_owned(),
            Self::Hook => "hook".to_owned(),
            Self::Publishable(scope) => format!("publishable or {scope}"),
            Self::Secret(scope) => scope.to_string(),
        }
    }

    /// True if API Gateway lets only authenticated requests through.
    pub(crate) fn is_authenticated(self) -> bool {
        matches!(self, Self::Publishable(_) | Self::Secret(_))
    }

    fn judge(self, principal: Option<&Principal>) -> Result<(), ProblemKind> {
        let (scope, publishable) = match self {
            Self::Public | Self::Token | Self::Hook => return Ok(()),
            Self::Publishable(scope) => (scope, true),
            Self::Secret(scope) => (scope, false),
        };
        match principal {
            None => Err(problems::UNAUTHORIZED),
            Some(principal) if principal.is_publishable() && publishable => Ok(()),
            Some(principal) if principal.is_publishable() => Err(problems::SECRET_KEY_REQUIRED),
            Some(principal) if principal.covers(scope) => Ok(()),
            Some(_) => Err(problems::INSUFFICIENT_SCOPE),
        }
    }
}

/// Middleware of every route: checks the access and passes the principal on to the handler.
pub(crate) async fn guard(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let principal = Principal::of(&request);
    if let Err(kind) = access.judge(principal.as_ref()) {
        let detail = match access {
            Access::Secret(scope) if kind == problems::SECRET_KEY_REQUIRED => {
                format!("The route requires a secret key with the scope `{scope}`, or a member.")
            }
            Access::Secret(scope) | Access::Publishable(scope) => {
                format!("The route requires the scope `{scope}`.")
            }
            Access::Public | Access::Token | Access::Hook => String::new(),
        };
        return Problem::because(kind, detail).into_response();
    }
    if let Some(principal) = principal {
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Principal {
    type Rejection = crate::Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| problems::UNAUTHORIZED.into())
    }
}

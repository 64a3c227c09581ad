//! Authenticated caller, as the authorizer reports it.

use domain::{
    id::AccountId,
    scope::{Grant, Role, Scope},
};
use lambda_http::{RequestExt, request::RequestContext};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    PublishableKey,
    SecretKey(Vec<Grant>),
    Member(Role),
}

/// Authenticated caller of a request. Routes without the authorizer have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub account_id: AccountId,
    /// Id of the API key or the member.
    pub id: String,
    pub kind: PrincipalKind,
}

impl Principal {
    /// Reads the context that the authorizer adds to a request. Returns `None` if there is none or a field is
    /// missing.
    pub(crate) fn of<B>(request: &http::Request<B>) -> Option<Self>
    where
        http::Request<B>: RequestExt,
    {
        let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() else { return None };
        let field = |name: &str| context.authorizer.fields.get(name).and_then(|value| value.as_str());
        let kind = match field("principal_kind")? {
            "publishable_key" => PrincipalKind::PublishableKey,
            "secret_key" => PrincipalKind::SecretKey(
                field("scopes")?
                    .split(' ')
                    .filter_map(|scope| Grant::try_from(scope.to_owned()).ok())
                    .collect(),
            ),
            "member" => {
                PrincipalKind::Member(serde_json::from_value(serde_json::Value::from(field("role")?)).ok()?)
            }
            _ => return None,
        };
        Some(Self {
            account_id: field("account_id")?.parse().ok()?,
            id: field("principal_id")?.to_owned(),
            kind,
        })
    }

    pub fn is_publishable(&self) -> bool {
        self.kind == PrincipalKind::PublishableKey
    }

    pub(crate) fn covers(&self, scope: Scope) -> bool {
        match &self.kind {
            PrincipalKind::PublishableKey => false,
            PrincipalKind::SecretKey(grants) => grants.iter().any(|grant| grant.covers(scope)),
            PrincipalKind::Member(role) => role.covers(scope),
        }
    }
}

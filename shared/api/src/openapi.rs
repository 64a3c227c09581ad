//! OpenAPI document of all families.

use utoipa::{
    OpenApi as _,
    openapi::{
        Info, OpenApi, Ref, RefOr, Schema,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{Routes, problem::ProblemBody};

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(ProblemBody)))]
struct Common;

fn name_of(reference: &Ref) -> Option<String> {
    reference.ref_location.rsplit('/').next().map(str::to_owned)
}

/// Merges the descriptions of the families and adds the common parts.
pub fn document(families: impl IntoIterator<Item = Routes>) -> OpenApi {
    let mut document = Common::openapi();
    document.info = Info::new("Groundswell", env!("CARGO_PKG_VERSION"));
    document.info.description = Some(
        "Waitlists with referrals, feature voting, promo codes, stamp cards, message campaigns, webhooks and analytics. Errors are RFC 9457 problems. `x-access` names the callers that may use a route."
            .to_owned(),
    );
    for family in families {
        document.merge(family.openapi());
    }
    let components = document.components.get_or_insert_default();
    // A schema that others extend (`allOf`) can't forbid additional properties.
    let mut extended = Vec::new();
    for schema in components.schemas.values() {
        if let RefOr::T(Schema::AllOf(all)) = schema {
            extended.extend(all.items.iter().filter_map(|item| match item {
                RefOr::Ref(reference) => name_of(reference),
                RefOr::T(_) => None,
            }));
        }
    }
    while let Some(name) = extended.pop() {
        match components.schemas.get_mut(&name) {
            Some(RefOr::T(Schema::Object(object))) => object.additional_properties = None,
            // Alias of another schema.
            Some(RefOr::Ref(reference)) => extended.extend(name_of(reference)),
            _ => {}
        }
    }
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key")));
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    components.add_security_scheme("api_key", key);
    components.add_security_scheme("bearer", bearer);
    document
}

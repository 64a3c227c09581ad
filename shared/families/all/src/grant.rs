//! Grants of existing scopes.

use std::borrow::Cow;

use domain::{Invalid, scope::Grant};
use serde::Deserialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::areas;

/// A grant of everything, or of a scope on one of the [`areas`]. Any other grant is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KnownGrant(Grant);

impl TryFrom<String> for KnownGrant {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let grant = Grant::try_from(text)?;
        let scopes = areas().flat_map(|area| [area.read(), area.write()]);
        let is_known = grant == Grant::all() || scopes.map(Grant::of).any(|scope| scope == grant);
        if is_known { Ok(Self(grant)) } else { Err(Grant::refused()) }
    }
}

impl From<KnownGrant> for Grant {
    fn from(known: KnownGrant) -> Self {
        known.0
    }
}

impl PartialSchema for KnownGrant {
    fn schema() -> RefOr<Schema> {
        Grant::schema()
    }
}

impl ToSchema for KnownGrant {
    fn name() -> Cow<'static, str> {
        Grant::name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_on_an_area_that_there_is_not_is_refused() {
        let known = |text: &str| KnownGrant::try_from(text.to_owned()).is_ok();
        assert!(known("*") && known("till:write") && known("waitlists:read") && known("analytics:read"));
        assert!(!known("tills:write") && !known("waitlist:read") && !known("engine:read") && !known("**"));
    }
}

//! What a secret key or a member may do.

use crate::Invalid;

/// A permission on one API family, e.g. `waitlists:write`. Write includes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub family: Family,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Account,
    Waitlists,
    Subscribers,
    Referrals,
    /// Features, votes and comments.
    Features,
    Codes,
    /// Programs and customers.
    Stamps,
    /// What is done at a till: stamping and redeeming.
    Till,
    /// Campaigns and providers.
    Campaigns,
    /// What is counted of all of them.
    Analytics,
    /// Endpoints that are told of events, and what they were told.
    Webhooks,
}

impl Family {
    pub const ALL: [Self; 11] = [
        Self::Account,
        Self::Waitlists,
        Self::Subscribers,
        Self::Referrals,
        Self::Features,
        Self::Codes,
        Self::Stamps,
        Self::Till,
        Self::Campaigns,
        Self::Analytics,
        Self::Webhooks,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Waitlists => "waitlists",
            Self::Subscribers => "subscribers",
            Self::Referrals => "referrals",
            Self::Features => "features",
            Self::Codes => "codes",
            Self::Stamps => "stamps",
            Self::Till => "till",
            Self::Campaigns => "campaigns",
            Self::Analytics => "analytics",
            Self::Webhooks => "webhooks",
        }
    }

    pub const fn read(self) -> Scope {
        Scope { family: self, action: Action::Read }
    }

    pub const fn write(self) -> Scope {
        Scope { family: self, action: Action::Write }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let action = match self.action {
            Action::Read => "read",
            Action::Write => "write",
        };
        write!(f, "{}:{action}", self.family.name())
    }
}

/// What a key was given: `*`, or a scope as text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Grant(String);

impl Grant {
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// The grant of exactly this scope.
    pub fn of(scope: Scope) -> Self {
        Self(scope.to_string())
    }

    /// Whether the grant covers the scope.
    pub fn covers(&self, scope: Scope) -> bool {
        self.0 == "*"
            || self.0 == scope.to_string()
            || (scope.action == Action::Read && self.0 == scope.family.write().to_string())
    }
}

impl TryFrom<String> for Grant {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let known = text == "*"
            || Family::ALL
                .iter()
                .any(|family| text == family.read().to_string() || text == family.write().to_string());
        known
            .then_some(Self(text))
            .ok_or_else(|| Invalid::new("is not a scope; e.g. `*`, `waitlists:read`, `subscribers:write`"))
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> String {
        grant.0
    }
}

/// What a member may do in an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything; an account always has one.
    Owner,
    /// Everything but naming owners.
    Admin,
    /// Stamps and redeems at a till, and reads, except for the account's own settings, members and keys.
    Staff,
}

impl Role {
    pub fn covers(self, scope: Scope) -> bool {
        match self {
            Self::Owner | Self::Admin => true,
            Self::Staff => {
                scope.family == Family::Till
                    || (scope.action == Action::Read && scope.family != Family::Account)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_covers_read_and_nothing_covers_another_family() {
        let grant = |text: &str| Grant::try_from(text.to_owned());
        let write = grant("waitlists:write").unwrap();
        assert!(write.covers(Family::Waitlists.read()) && write.covers(Family::Waitlists.write()));
        assert!(!write.covers(Family::Subscribers.read()));
        assert!(!grant("waitlists:read").unwrap().covers(Family::Waitlists.write()));
        assert!(Grant::all().covers(Family::Account.write()));
        for text in ["", "**", "waitlists", "waitlists:", "waitlist:read", "waitlists:delete"] {
            assert!(grant(text).is_err(), "{text}");
        }
        assert!(Role::Staff.covers(Family::Subscribers.read()));
        assert!(!Role::Staff.covers(Family::Subscribers.write()));
        assert!(!Role::Staff.covers(Family::Account.read()));
        assert!(Role::Staff.covers(Family::Till.write()) && !Role::Staff.covers(Family::Stamps.write()));
    }
}

//! Permissions of secret keys and members.

use crate::Invalid;

/// Area of the API, as its family declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Name in scopes, such as `waitlists`.
    pub name: &'static str,
    /// Permission of [`Role::Staff`] in the area.
    pub staff: Option<Action>,
}

impl Area {
    pub const fn read(self) -> Scope {
        Scope { area: self, action: Action::Read }
    }

    pub const fn write(self) -> Scope {
        Scope { area: self, action: Action::Write }
    }
}

/// Permission on an area, e.g. `waitlists:write`. Write includes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub area: Area,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Read,
    Write,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let action = match self.action {
            Action::Read => "read",
            Action::Write => "write",
        };
        write!(f, "{}:{action}", self.area.name)
    }
}

/// Permission of an API key: `*` for everything, or a scope such as `waitlists:read`. `write` includes `read`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Grant(String);

impl Grant {
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Returns the error for a text that is not a scope.
    pub fn refused() -> Invalid {
        Invalid::new("is not a scope; e.g. `*`, `waitlists:read`, `subscribers:write`")
    }

    /// Returns the grant for exactly this scope.
    pub fn of(scope: Scope) -> Self {
        Self(scope.to_string())
    }

    /// True if the grant covers the scope.
    pub fn covers(&self, scope: Scope) -> bool {
        self.includes(&Self::of(scope))
    }

    /// True if the holder of this grant may give the other grant to a key.
    pub fn includes(&self, other: &Self) -> bool {
        self.0 == "*"
            || self == other
            || other.0.strip_suffix(":read").is_some_and(|area| self.0.strip_suffix(":write") == Some(area))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Grant {
    type Error = Invalid;
    /// Accepts any text in the form of a scope. The list of families knows which scopes exist.
    fn try_from(text: String) -> Result<Self, Invalid> {
        let is_scope = text.split_once(':').is_some_and(|(area, action)| {
            let is_name =
                !area.is_empty() && area.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            is_name && matches!(action, "read" | "write")
        });
        if text == "*" || is_scope { Ok(Self(text)) } else { Err(Self::refused()) }
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> String {
        grant.0
    }
}

/// Role of a member in an account. `owner` may do everything. `admin` may do everything except grant or revoke the
/// role of owner. `staff` may stamp and redeem at a till and may read, except for the settings, members and keys of
/// the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May do everything. An account always has an owner.
    Owner,
    /// May do everything except grant or revoke the role of owner.
    Admin,
    /// May stamp and redeem at a till and may read, except for the settings, members and keys of the account.
    Staff,
}

impl Role {
    pub fn covers(self, scope: Scope) -> bool {
        match self {
            Self::Owner | Self::Admin => true,
            Self::Staff => scope.area.staff.is_some_and(|action| scope.action <= action),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Area = Area { name: "account", staff: None };
    const WAITLISTS: Area = Area { name: "waitlists", staff: Some(Action::Read) };
    const TILL: Area = Area { name: "till", staff: Some(Action::Write) };

    #[test]
    fn write_covers_read_and_nothing_covers_another_area() {
        let grant = |text: &str| Grant::try_from(text.to_owned());
        let write = grant("waitlists:write").unwrap();
        assert!(write.covers(WAITLISTS.read()) && write.covers(WAITLISTS.write()));
        assert!(!write.covers(TILL.read()));
        assert!(!grant("waitlists:read").unwrap().covers(WAITLISTS.write()));
        assert!(Grant::all().covers(ACCOUNT.write()));
        for text in
            ["", "**", "waitlists", "waitlists:", ":read", "Waitlists:read", "waitlists:delete", "a:b:read"]
        {
            assert!(grant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn staff_do_what_an_area_lets_them() {
        assert!(Role::Staff.covers(WAITLISTS.read()) && !Role::Staff.covers(WAITLISTS.write()));
        assert!(!Role::Staff.covers(ACCOUNT.read()) && !Role::Staff.covers(ACCOUNT.write()));
        assert!(Role::Staff.covers(TILL.read()) && Role::Staff.covers(TILL.write()));
        assert!(Role::Admin.covers(ACCOUNT.write()));
    }
}

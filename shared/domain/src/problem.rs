//! Kinds of problems: the errors that callers see, in the format of RFC 9457.
//!
//! Each family declares its kinds with [`problem_kinds!`](crate::problem_kinds!). Each kind has a page in
//! `docs/problems/`.

/// URL under which the pages are published.
const BASE: &str = "https://groundswell.dev/problems/";

/// Kind of problems, by which a caller decides how to react.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemKind(&'static Declared);

/// Declaration of a kind by [`problem_kinds!`](crate::problem_kinds!).
#[doc(hidden)]
#[derive(Debug, PartialEq, Eq)]
pub struct Declared {
    pub slug: &'static str,
    pub status: u16,
    pub title: &'static str,
}

impl ProblemKind {
    #[doc(hidden)]
    pub const fn new(declared: &'static Declared) -> Self {
        Self(declared)
    }

    /// Returns the name of the kind's page, such as `slug-taken`.
    pub fn slug(self) -> &'static str {
        self.0.slug
    }

    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        self.0.status
    }

    pub fn title(self) -> &'static str {
        self.0.title
    }

    /// Returns the URL of the kind's page.
    pub fn uri(self) -> String {
        format!("{BASE}{}", self.0.slug)
    }
}

/// Declares kinds of problems as constants, and `ALL` as the list of them. The arguments are the constant, the
/// slug, the HTTP status and the title.
#[macro_export]
macro_rules! problem_kinds {
    ($($name:ident $slug:literal $status:literal $title:literal;)*) => {
        $(pub const $name: $crate::problem::ProblemKind = $crate::problem::ProblemKind::new(
            &$crate::problem::Declared { slug: $slug, status: $status, title: $title },
        );)*

        /// All kinds of this list.
        pub static ALL: &[$crate::problem::ProblemKind] = &[$($name),*];
    };
}

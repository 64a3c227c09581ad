//! Kinds of problems: the errors that callers see, by RFC 9457.
//!
//! Each family declares its own with [`problem_kinds!`](crate::problem_kinds!). A kind has a page in `docs/problems/`.

/// Where the pages are published.
const BASE: &str = "https://groundswell.dev/problems/";

/// A kind of problems, on which a caller may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemKind(&'static Declared);

/// What [`problem_kinds!`](crate::problem_kinds!) says of a kind.
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

    /// The name of its page: `slug-taken`.
    pub fn slug(self) -> &'static str {
        self.0.slug
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.0.status
    }

    pub fn title(self) -> &'static str {
        self.0.title
    }

    /// The address of the kind's page.
    pub fn uri(self) -> String {
        format!("{BASE}{}", self.0.slug)
    }
}

/// Declares kinds of problems as constants, and `ALL` of them: the constant, the slug, the HTTP status and the title.
#[macro_export]
macro_rules! problem_kinds {
    ($($name:ident $slug:literal $status:literal $title:literal;)*) => {
        $(pub const $name: $crate::problem::ProblemKind = $crate::problem::ProblemKind::new(
            &$crate::problem::Declared { slug: $slug, status: $status, title: $title },
        );)*

        /// All of them.
        pub static ALL: &[$crate::problem::ProblemKind] = &[$($name),*];
    };
}

//! Parts that all HTTP functions share: routes with declared access, extractors, problem+json, idempotency,
//! telemetry.
//!
//! A family builds a [`Routes`], which takes no route without an [`Access`], and passes it to [`serve`]. A handler
//! parses the request with the extractors of this crate, makes one call, and returns a response. Only this crate
//! turns errors into RFC 9457 problems.

mod access;
mod app;
mod consent;
mod cors;
mod extract;
mod idempotent;
mod limits;
mod list;
pub mod metrics;
pub mod openapi;
mod precondition;
mod principal;
pub mod problem;
pub mod problems;
mod refused;
mod request_id;
mod retry;
mod routes;
mod self_service;
mod serve;
pub mod telemetry;

pub use access::Access;
pub use app::{App, StartError, existing, rate_limited};
pub use consent::ConsentInput;
pub use cors::require_origin;
pub use extract::{Client, Json, PathId, Query, merge_patch};
pub use idempotent::{CommitProblem, Committed, Post, created, respond};
pub use list::{List, PageQuery};
#[doc(hidden)]
pub use pastey::paste;
pub use precondition::{IfMatch, etag};
pub use principal::{Principal, PrincipalKind};
pub use problem::{Problem, ProblemKind};
pub use retry::retried;
pub use routes::{Route, Routes};
pub use self_service::{acting_subscriber, claimed_subscriber, require_subscriber, verified_subscriber};
pub use serve::{handle, serve};

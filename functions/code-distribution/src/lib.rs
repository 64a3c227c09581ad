//! Code family: code pools, imports of codes, claims and reservations.
//!
//! A full code is returned in two cases only: to the caller that claims the code or confirms its reservation, and by
//! a reveal, which is recorded in the audit log. Every other answer contains the masked code. A `GET` never issues a
//! code.
//!
//! Access patterns: `pool.*`, `claim.*`, `code.*`, `import.*`, `event.list`.

mod claims;
mod codes;
mod dto;
mod imports;
mod pools;
mod routes;

use api::{App, StartError};
use axum::Router;
use files::Bucket;

pub use routes::routes;

/// Builds the router of the code family.
///
/// # Errors
/// When an environment variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    let bucket = Bucket::from_env(env)?;
    Ok(routes().into_router(App::from_env(env)?).layer(axum::Extension(bucket)))
}

//! The code family: pools of promo codes, imports into them, codes given to people.
//!
//! A code is shown in full to whoever claimed it, and by an audited reveal; everywhere
//! else it is masked. Nothing is ever given by a GET.
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

/// # Errors
/// When a variable is missing.
pub fn app(env: &aws::Env) -> Result<Router, StartError> {
    let bucket = Bucket::from_env(env)?;
    Ok(routes().into_router(App::from_env(env)?).layer(axum::Extension(bucket)))
}

//! Promo codes: pools, imports, stock, claims and the archive.

pub mod archive;
pub mod claim;
pub mod claims;
pub mod code_pool;
pub mod code_pools;
pub mod entities;
pub mod imports;
pub mod jobs;
pub mod patterns;
pub mod projection;
mod store;

pub use store::*;

/// What it brings.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "codes",
    patterns: patterns::ALL,
    projections: &[::projection::Projection::of::<projection::Change>()],
    jobs: jobs::JOBS,
    forget: None,
};

//! Features, the votes for them and comments.

pub mod comments;
pub mod entities;
pub mod feature;
pub mod jobs;
pub mod patterns;
pub mod projection;
mod store;

pub use store::*;

/// What it brings.
pub static FAMILY: ::projection::Family = ::projection::Family {
    name: "features",
    patterns: patterns::ALL,
    projections: &[::projection::Projection::of::<projection::Change>()],
    jobs: jobs::JOBS,
    forget: Some(jobs::forget),
};

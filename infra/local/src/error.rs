//! Errors of the platform.

use std::path::PathBuf;

use crate::template::TemplateError;

/// Reason why the platform cannot run.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("{name}: {reason}")]
    Function { name: String, reason: String },
    #[error("{part}: {reason}")]
    Part { part: &'static str, reason: String },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("another process uses the data directory {}", .0.display())]
    InUse(PathBuf),
    #[error("can't listen on port {port}: {source}")]
    Port { port: u16, source: std::io::Error },
}

impl PlatformError {
    pub(crate) fn part(part: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self::Part { part, reason: reason.to_string() }
    }
}

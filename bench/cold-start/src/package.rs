//! Size of a function's deployment package.

use std::{
    io::{Cursor, Write},
    path::Path,
};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::Failure;

/// Returns the size in bytes of a zip file that contains only this file.
///
/// # Errors
/// Fails if the file cannot be read.
pub fn zipped(path: &Path) -> Result<u64, Failure> {
    let content = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let best = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .unix_permissions(0o755);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(name, best)?;
    zip.write_all(&content)?;
    Ok(zip.finish()?.into_inner().len() as u64)
}

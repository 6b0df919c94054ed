//! The repository's own files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

/// Lists the repository's files, in order, without build output and version control.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_ours) {
        let entry = entry.with_context(|| format!("cannot list {}", root.display()))?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Folders that hold nothing of ours: git's, and cargo's output.
fn is_ours(entry: &DirEntry) -> bool {
    entry.depth() == 0
        || !(entry.file_type().is_dir() && (entry.file_name() == "target" || entry.file_name() == ".git"))
}

/// Writes `path` relative to `root`, with `/` between the parts.
pub fn relative(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    relative.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

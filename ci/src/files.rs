//! Files that are written whole or not at all, and the lock on `target/ebbtide`.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::Context;

/// Writes a file whole or not at all: a temporary file beside it, then a rename.
///
/// # Errors
///
/// When the folder cannot be made or written to.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let what = || format!("writing {}", path.display());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).with_context(what)?;
    let mut file =
        tempfile::Builder::new().permissions(default_permissions()).tempfile_in(folder).with_context(what)?;
    file.write_all(contents.as_ref()).with_context(what)?;
    file.persist(path).with_context(what)?;
    Ok(())
}

/// A temporary file is private unless told otherwise; these become ordinary files (the umask still applies).
fn default_permissions() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o666)
}

/// Copies a file whole or not at all.
///
/// # Errors
///
/// When the source cannot be read or the target cannot be written.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let contents = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    write(to, contents)
}

/// Takes a lock that other runs of this tool respect, until the returned file is dropped.
///
/// # Errors
///
/// When the lock file cannot be made.
pub fn lock(path: &Path) -> anyhow::Result<File> {
    let what = || format!("locking {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(what)?;
    }
    let file = File::create(path).with_context(what)?;
    file.lock().with_context(what)?;
    Ok(file)
}

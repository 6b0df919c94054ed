//! Files that are written whole or not at all, and the lock on `target/ebbtide`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

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

/// Sees whether so many bytes can still be written to a folder: what another program says of its end on a full disk is seldom that.
///
/// # Errors
///
/// When they cannot be.
pub fn check_room(folder: &Path, bytes: u64) -> anyhow::Result<()> {
    let what = || {
        format!(
            "less than {} KiB can be written to {}; make room and start again",
            bytes.div_ceil(1024),
            folder.display()
        )
    };
    let file = tempfile::tempfile_in(folder).with_context(what)?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // Not every file system can tell before it is written to.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(io::Error::from(error)).with_context(what),
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::fs::statvfs;

    use super::check_room;
    use crate::exit;

    #[test]
    fn there_is_room_or_a_full_disk_that_ends_all() {
        let folder = tempfile::tempdir().expect("a folder");
        check_room(folder.path(), 1024).expect("a test's machine has room");
        // Linux's shared memory: a file system that refuses more than the whole of it at once, before it fills anything.
        let shared = Path::new("/dev/shm");
        let all = statvfs(shared).map(|found| found.f_blocks * found.f_frsize).expect("Linux has it");
        let error = check_room(shared, all + 1).expect_err("more than all of it");
        assert!(exit::ends_all(&error), "{error:#}");
        assert!(error.to_string().contains("can be written to /dev/shm; make room"), "{error:#}");
        // Whatever else is wrong is no full disk.
        assert!(!exit::ends_all(&check_room(&folder.path().join("none"), 1).expect_err("no folder")));
    }
}

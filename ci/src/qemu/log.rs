//! The serial log of a run: `target/ebbtide/logs/`, the QEMU command in its first line.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use anyhow::Context;

use crate::project::Project;

/// Sets apart the logs that one process begins within the same millisecond.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Makes up the name of a log that no other run has.
pub fn name(project: &Project, label: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = now.map_or(0, |since| since.as_millis());
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let label: String =
        label.chars().map(|c| if c.is_alphanumeric() || "._+-".contains(c) { c } else { '-' }).collect();
    let name = format!("{label}.{millis}-{}-{number}.log", std::process::id());
    project.logs().join(name)
}

/// Begins a log with the command.
///
/// # Errors
///
/// When the file cannot be made.
pub fn begin(path: &Path, command: &str) -> anyhow::Result<File> {
    let what = || format!("beginning the log {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(what)?;
    }
    let mut file = File::create(path).with_context(what)?;
    writeln!(file, "{command}").with_context(what)?;
    Ok(file)
}

/// What the guest wrote: the log without its first line. Bytes that are no UTF-8 are replaced.
///
/// # Errors
///
/// When the file cannot be read.
pub fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading the log {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.split_once('\n').map_or("", |(_, rest)| rest).to_owned())
}

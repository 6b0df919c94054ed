//! Where the report goes: `target/compare`, whole or not at all.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use crate::files;

/// Puts a report into the place of the last one: what it refers to comes before it, and of an older one nothing stays that could be
/// taken for a part of it.
pub fn replace(
    folder: &Path,
    before: impl Iterator<Item = (String, String)>,
    report: [(&str, String); 2],
) -> Result<()> {
    for (name, _) in &report {
        remove(&folder.join(name))?;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|end| end == "svg") {
            remove(&entry.path())?;
        }
    }
    for (name, text) in before {
        files::write(&folder.join(name), text)?;
    }
    for (name, text) in report {
        files::write(&folder.join(name), text)?;
    }
    Ok(())
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn of_an_older_report_nothing_stays_but_what_is_not_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["report.md", "old.svg", "notes.txt"] {
            std::fs::write(path(name), "old").expect("write");
        }
        let figures = [("new.svg".to_owned(), "new".to_owned())];
        let report = || [("report.html", "page".to_owned()), ("report.md", "text".to_owned())];
        replace(folder.path(), figures.into_iter(), report()).expect("replaced");
        assert!(path("new.svg").exists() && path("notes.txt").exists() && !path("old.svg").exists());
        assert_eq!(std::fs::read_to_string(path("report.md")).expect("read"), "text");
        // What cannot be written leaves no report that looks whole.
        let bad = [("none/\0".to_owned(), String::new())];
        assert!(replace(folder.path(), bad.into_iter(), report()).is_err());
        assert!(!path("report.md").exists() && !path("report.html").exists());
    }
}

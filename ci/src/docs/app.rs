//! The app that a page describes, written outside the repository as its reader would.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use toml::{Table, Value};

use super::block::{Block, Role};
use crate::project::Project;

/// The app of one page.
pub struct App {
    /// The package's name.
    pub name: String,
    /// Its folder; its parent is removed when the app is dropped.
    pub folder: PathBuf,
    _parent: TempDir,
}

impl App {
    /// Makes an empty folder for the app of these blocks, if they describe one.
    ///
    /// # Errors
    ///
    /// When the manifest does not name the package, or the folder cannot be made.
    pub fn of(blocks: &[Block]) -> Result<Option<Self>> {
        let Some(manifest) = blocks.iter().find(|block| block.role == Ok(Role::Manifest)) else {
            return Ok(None);
        };
        let table: Table = manifest.text.parse().with_context(|| format!("{}:{}", manifest.path, manifest.line))?;
        let name = table.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
        let name = name.with_context(|| format!("{}:{}: no `package.name`", manifest.path, manifest.line))?.to_owned();
        let parent =
            tempfile::Builder::new().prefix("ebbtide-docs-").tempdir().context("making a folder for an app")?;
        Ok(Some(Self { folder: parent.path().join(&name), name, _parent: parent }))
    }

    /// Writes the manifest, with this repository's `ebbtide`, and the repository's lock file.
    ///
    /// # Errors
    ///
    /// When the text does not depend on `ebbtide`, or the files cannot be written.
    pub fn write_manifest(&self, project: &Project, text: &str) -> Result<()> {
        let manifest = with_this_ebbtide(text, &project.root().join("platforms/unikernel"))?;
        self.write("Cargo.toml", &manifest)?;
        let lock = std::fs::read_to_string(project.root().join("Cargo.lock")).context("reading Cargo.lock")?;
        self.write("Cargo.lock", &lock)
    }

    /// Writes one of the app's files.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        crate::files::write(&self.folder.join(name), text)
    }

    /// Puts the app's folder in place of the part of a path that ends in the app's name.
    pub fn replace(&self, word: &str) -> String {
        let parts: Vec<_> = word.split('/').collect();
        let Some(at) = parts.iter().position(|part| *part == self.name) else {
            return word.to_owned();
        };
        let rest = parts[at + 1..].iter();
        rest.fold(self.folder.to_string_lossy().into_owned(), |path, part| format!("{path}/{part}"))
    }
}

/// The manifest with its `ebbtide` replaced by the one in `folder`; its features stay.
fn with_this_ebbtide(text: &str, folder: &Path) -> Result<String> {
    let mut table: Table = text.parse().context("the app's manifest")?;
    let dependency = table.get_mut("dependencies").and_then(|all| all.get_mut("ebbtide"));
    let Some(dependency) = dependency else {
        bail!("the app's manifest does not depend on `ebbtide`");
    };
    let mut replaced = dependency.as_table().cloned().unwrap_or_default();
    for key in ["git", "branch", "tag", "rev", "version"] {
        replaced.remove(key);
    }
    replaced.insert("path".into(), Value::String(folder.to_string_lossy().into_owned()));
    *dependency = Value::Table(replaced);
    Ok(table.to_string())
}

#[cfg(test)]
mod tests {
    use super::with_this_ebbtide;
    use std::path::Path;

    #[test]
    fn only_the_source_of_ebbtide_is_replaced() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nlog = \"0.4\"\nebbtide = { git = \"https://x\", features = [\"static\"] }\n";
        let manifest = with_this_ebbtide(text, Path::new("/here/unikernel")).expect("a manifest");
        assert!(
            manifest.contains("/here/unikernel") && manifest.contains("static") && manifest.contains("log"),
            "{manifest}"
        );
        assert!(!manifest.contains("https://x"), "{manifest}");
        assert!(with_this_ebbtide("[dependencies]\n", Path::new("/")).is_err());
    }
}

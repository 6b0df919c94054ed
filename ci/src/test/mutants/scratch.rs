//! The copy of the repository that mutants are applied to: `target/mutants/copy`, with a `target` folder of its own.
//!
//! Cargo goes by the times of files. So a file is written only where it differs, and what is written gets the time at
//! which that was done, also when a patch is taken back: else cargo would take the mutant's build for the original's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::patch::Mutant;
use crate::files;
use crate::lint::tree;
use crate::project::Project;

/// A copy of the repository.
pub struct Scratch {
    project: Project,
    /// Keeps other runs of this tool away.
    _lock: File,
}

impl Scratch {
    /// Brings the copy up to date, whatever a run that was killed has left of a patch.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written.
    pub fn of(project: &Project) -> Result<Self> {
        let folder = project.root().join("target/mutants");
        let lock = files::lock(&folder.join("lock"))?;
        let root = folder.join("copy");
        fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        let list = |root: &_| -> Result<BTreeSet<String>> {
            Ok(tree::files(root)?.iter().map(|path| tree::relative(root, path)).collect())
        };
        let (wanted, there) = (list(project.root())?, list(&root)?);
        for gone in there.difference(&wanted) {
            let path = root.join(gone);
            fs::remove_file(&path).with_context(|| format!("removing {gone} from the copy"))?;
            // A folder that is left would be a member of the workspace to cargo, without a manifest. One that is not empty stays.
            let above = path.ancestors().skip(1).take_while(|folder| *folder != root);
            let _ = above.map(fs::remove_dir).take_while(Result::is_ok).count();
        }
        for name in &wanted {
            let (from, to) = (project.root().join(name), root.join(name));
            let text = fs::read(&from).with_context(|| format!("reading {name}"))?;
            if fs::read(&to).ok().is_none_or(|copied| copied != text) {
                let folder = to.parent().map_or(Ok(()), fs::create_dir_all);
                // With the permissions, for scripts.
                folder.and_then(|()| fs::copy(&from, &to)).with_context(|| format!("copying {name}"))?;
            }
        }
        Ok(Self { project: Project::at(&root), _lock: lock })
    }

    /// The copy, as a repository.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Applies a mutant, until what is returned is dropped. The inner error says why it does not apply; then nothing is
    /// changed.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn patch(&self, mutant: &Mutant) -> Result<Result<Patched, String>> {
        let mut texts = BTreeMap::new();
        for edit in &mutant.edits {
            let path = self.project.root().join(&edit.file);
            let Ok(original) = fs::read_to_string(&path) else {
                return Ok(Err(format!("there is no file {}", edit.file)));
            };
            let (_, patched) = texts.entry(path).or_insert_with(|| (original.clone(), original));
            match edit.apply(patched) {
                Ok(text) => *patched = text,
                Err(error) => return Ok(Err(format!("{}: {error}", edit.file))),
            }
        }
        if texts.values().any(|(original, patched)| original == patched) {
            return Ok(Err("it changes nothing".to_owned()));
        }
        let mut done = Patched { originals: Vec::new() };
        for (path, (original, patched)) in texts {
            fs::write(&path, patched).with_context(|| format!("writing {}", path.display()))?;
            done.originals.push((path, original));
        }
        Ok(Ok(done))
    }
}

/// A mutant that is applied. Dropped, it is taken back.
pub struct Patched {
    originals: Vec<(PathBuf, String)>,
}

impl Drop for Patched {
    fn drop(&mut self) {
        for (path, text) in &self.originals {
            if let Err(error) = fs::write(path, text) {
                eprintln!("error: cannot take a mutant back: writing {}: {error}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Breaks: a\nWhy: b\nRed: loom c\nSays: d\n";

    /// A repository, its copy, and what lies in the copy's `f.rs`.
    fn copied(text: &str) -> (tempfile::TempDir, Scratch, impl Fn() -> String) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("src")).unwrap();
        fs::write(root.path().join("src/f.rs"), text).unwrap();
        let copy = Scratch::of(&Project::at(root.path())).unwrap();
        let path = copy.project().root().join("src/f.rs");
        (root, copy, move || fs::read_to_string(&path).unwrap())
    }

    fn mutant(edit: &str) -> Mutant {
        Mutant::parse("m.patch", &format!("{HEAD}--- a/src/f.rs\n+++ b/src/f.rs\n{edit}")).unwrap()
    }

    #[test]
    fn a_mutant_is_applied_and_taken_back() {
        let (root, copy, now) = copied("one\ntwo\nthree\n");
        let patched = copy.patch(&mutant("@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n")).unwrap();
        assert_eq!(now(), "one\n2\nthree\n");
        drop(patched);
        assert_eq!(now(), "one\ntwo\nthree\n");
        assert_eq!(fs::read_to_string(root.path().join("src/f.rs")).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let (_root, copy, now) = copied("one\ntwo\nthree\n");
        for edit in ["@@ -1,3 +1,3 @@\n one\n-zwei\n+2\n three\n", "@@ -1,2 +1,2 @@\n one\n-two\n+two\n"] {
            assert!(copy.patch(&mutant(edit)).unwrap().is_err(), "{edit}");
            assert_eq!(now(), "one\ntwo\nthree\n");
        }
        let elsewhere = format!("{HEAD}--- a/src/g.rs\n+++ b/src/g.rs\n@@ -1 +1 @@\n-one\n+1\n");
        let why = copy.patch(&Mutant::parse("m.patch", &elsewhere).unwrap()).unwrap().err().unwrap();
        assert!(why.contains("src/g.rs"), "{why}");
    }

    #[test]
    fn a_copy_is_brought_up_to_date() {
        let (root, copy, now) = copied("one\n");
        let stray = copy.project().root().join("src/gone");
        fs::create_dir_all(stray.join("src")).unwrap();
        fs::write(stray.join("src/stray.rs"), "").unwrap();
        fs::write(copy.project().root().join("src/f.rs"), "left by a run that was killed").unwrap();
        drop(copy);
        let _copy = Scratch::of(&Project::at(root.path())).unwrap();
        assert_eq!(now(), "one\n");
        assert!(!stray.exists());
    }
}

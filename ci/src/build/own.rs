//! Files of one run's own, which no other run of this tool replaces: `target/ebbtide/run/PID-…/`.
//!
//! Below that folder they lie as the shared ones lie below `target/ebbtide`, so that [`public`] finds the way back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustix::process::{Pid, test_kill_process};

use super::Image;
use crate::files;
use crate::project::Project;

/// Copies an image's files to a new folder; to be called under the build lock. No hard links: who writes a shared file
/// in place would write into ours.
pub fn copies(project: &Project, shared: &Image) -> anyhow::Result<Image> {
    let runs = runs(project);
    let what = || format!("making a folder in {}", runs.display());
    std::fs::create_dir_all(&runs).with_context(what)?;
    sweep(&runs);
    let prefix = format!("{}-", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&runs).with_context(what)?;
    let copy = |from: &Path| {
        let to = folder.path().join(from.strip_prefix(project.output()).unwrap_or(from));
        files::copy(from, &to).map(|()| to)
    };
    Ok(Image {
        bootable: copy(&shared.bootable)?,
        hermit: copy(&shared.hermit)?,
        debug: copy(&shared.debug)?,
        folder: Some(Arc::new(folder)),
        ..shared.clone()
    })
}

/// The shared file that a run's own is a copy of: where a person finds such a file once the run is over. Any other
/// path stays as it is.
pub fn public(project: &Project, own: &Path) -> PathBuf {
    let Ok(inside) = own.strip_prefix(runs(project)) else {
        return own.to_owned();
    };
    project.output().join(inside.components().skip(1).collect::<PathBuf>())
}

fn runs(project: &Project) -> PathBuf {
    project.output().join("run")
}

/// Removes what runs that were killed have left. What cannot be removed is in nobody's way.
fn sweep(runs: &Path) {
    for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok()).and_then(Pid::from_raw);
        // Also a process of another user's answers "no" to the question, and is there.
        if process.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;

    #[test]
    fn a_run_keeps_its_own_files() {
        let root = tempfile::tempdir().unwrap();
        let project = Project::at(root.path());
        let folder = project.images(Arch::X86_64, "static", "release");
        let shared = Image::in_folder(&folder, "hello", Arch::X86_64, None);
        for path in [&shared.bootable, &shared.hermit, &shared.debug] {
            files::write(path, "first").unwrap();
        }
        let left = runs(&project).join(format!("{}-left", i32::MAX));
        std::fs::create_dir_all(&left).unwrap();
        let own = copies(&project, &shared).unwrap();
        assert!(!left.exists(), "no process has the largest number");
        // In place, as a linker may.
        std::fs::write(&shared.hermit, "second").unwrap();
        assert_eq!(std::fs::read_to_string(&own.hermit).unwrap(), "first");
        assert_eq!(public(&project, &own.bootable), shared.bootable);
        assert_eq!(public(&project, &shared.bootable), shared.bootable);
        let again = copies(&project, &shared).unwrap();
        assert_ne!(own.bootable, again.bootable);
        let (path, clone) = (own.bootable.clone(), own.clone());
        drop(own);
        assert!(path.exists());
        drop(clone);
        assert!(!path.exists() && again.bootable.exists());
    }
}

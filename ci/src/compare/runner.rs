//! What `compare` needs of the world, as a trait: building and booting, or a test's stand-in for both.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::record::Provenance;
use crate::arch::Arch;
use crate::build::{self, Image, Loaders, Request};
use crate::cli::Profile;
use crate::exit;
use crate::process;
use crate::project::Project;
use crate::qemu::{Guest, Report, Run, Serial};
use crate::toolchain::Toolchain;

/// Builds images and boots them.
pub trait Runner: Sync {
    /// Builds a package's image under a policy, with or without the feature `audit`. The files stay until the last clone of the image is gone.
    ///
    /// # Errors
    ///
    /// When the build fails.
    fn image(&self, arch: Arch, policy: &str, package: &str, audit: bool) -> Result<Image>;

    /// The size of the plain kernel ELF.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    fn image_bytes(&self, image: &Image) -> Result<u64>;

    /// Boots a guest and waits for its end.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started; a guest that fails is no error but a report.
    fn boot(&self, guest: &Guest, label: &str, timeout: Duration) -> Result<Report>;

    /// Which code and tools the figures come from.
    fn provenance(&self, arch: Arch) -> Provenance;
}

/// Where images come from that somebody else has built, or builds when asked: by architecture, policy, package, and whether with the
/// feature `audit`.
pub type Images<'a> = &'a (dyn Fn(Arch, &str, &str, bool) -> Result<Image> + Sync);

/// The real thing.
pub struct Qemu<'a> {
    /// The repository.
    pub project: &'a Project,
    /// The compiler of each architecture.
    pub toolchains: Vec<(Arch, Toolchain)>,
    /// How the images are optimised.
    pub profile: Profile,
    /// Where the images come from, if this is not to build them itself.
    pub images: Option<Images<'a>>,
    /// The loaders of those that it builds.
    pub loaders: Loaders,
}

impl Qemu<'_> {
    /// The compiler for an architecture.
    fn toolchain(&self, arch: Arch) -> Result<&Toolchain> {
        let found = self.toolchains.iter().find(|(known, _)| *known == arch);
        found.map(|(_, toolchain)| toolchain).with_context(|| format!("no toolchain was looked up for {arch}"))
    }
}

impl Runner for Qemu<'_> {
    fn image(&self, arch: Arch, policy: &str, package: &str, audit: bool) -> Result<Image> {
        if let Some(images) = self.images {
            return images(arch, policy, package, audit);
        }
        let request = Request {
            arch,
            binary: None,
            policy: Some(policy.parse().map_err(exit::usage)?),
            profile: self.profile,
            audit,
            quiet: true,
        };
        let folder = folder(self.project, package);
        build::image(self.project, self.toolchain(arch)?, &folder, &request, &self.loaders)
    }

    fn image_bytes(&self, image: &Image) -> Result<u64> {
        let what = || format!("cannot read the size of {}", image.hermit.display());
        Ok(std::fs::metadata(&image.hermit).with_context(what)?.len())
    }

    fn boot(&self, guest: &Guest, label: &str, timeout: Duration) -> Result<Report> {
        let report = Run { project: self.project, guest, label, timeout: Some(timeout) }.quiet()?;
        // The guest booted a copy of this run's own, which is gone when somebody reads the record. The command names
        // the shared file instead: what the same build makes again.
        let image = build::public(self.project, &guest.image);
        let mut command = Command::new(guest.arch.qemu());
        command.args(Guest { image, ..guest.clone() }.arguments(Serial::File(&report.log)));
        Ok(Report { command: process::shown(&command), ..report })
    }

    fn provenance(&self, arch: Arch) -> Provenance {
        Provenance {
            commit: commit(self.project.root()),
            rustc: self.toolchain(arch).map_or_else(|_| "unknown".into(), Toolchain::rustc_version),
            qemu: first_line(Command::new(arch.qemu()).arg("--version")),
        }
    }
}

/// The folder that a workload or case means by a package: an example's name, or a folder of the repository.
pub fn folder(project: &Project, package: &str) -> String {
    let example = project.examples().join(package);
    let path = if example.is_dir() { example } else { project.root().join(package) };
    path.to_string_lossy().into_owned()
}

/// The commit that is checked out, marked when files differ from it. A folder that is part of none, though one lies
/// around it, has none: the copy that mutants are applied to, for example.
fn commit(root: &Path) -> String {
    let git = |words: &[&str]| process::output_of(Command::new("git").arg("-C").arg(root).args(words));
    let tracked = git(&["ls-files", "--error-unmatch", "Cargo.toml"]);
    let Some(hash) = tracked.and_then(|_| git(&["rev-parse", "HEAD"])) else {
        return "unknown (no git checkout)".into();
    };
    let clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.trim().is_empty());
    format!("{}{}", hash.trim(), if clean { "" } else { "+changes" })
}

/// The first line of what a program prints.
fn first_line(command: &mut Command) -> String {
    let text = process::output_of(command).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_that_of_the_folder_itself() {
        let root = tempfile::tempdir().expect("a folder");
        let git = |words: &[&str]| {
            let who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
            let mut command = Command::new("git");
            process::output_of(command.arg("-C").arg(root.path()).args(who).args(words)).expect("git works")
        };
        let copy = root.path().join("target/copy");
        std::fs::create_dir_all(&copy).expect("a folder");
        for file in [root.path().join("Cargo.toml"), copy.join("Cargo.toml")] {
            std::fs::write(file, "").expect("it is written");
        }
        std::fs::write(root.path().join(".gitignore"), "/target/\n").expect("it is written");
        git(&["init", "--quiet"]);
        assert!(commit(root.path()).starts_with("unknown"), "nothing is committed yet");
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message=one"]);
        let hash = commit(root.path());
        assert!(hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
        assert!(commit(&copy).starts_with("unknown"), "the copy is part of no commit");
        std::fs::write(root.path().join("Cargo.toml"), "changed").expect("it is written");
        assert_eq!(commit(root.path()), format!("{hash}+changes"));
    }
}

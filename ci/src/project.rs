//! Where things lie in the repository and in its `target` folder.

use std::env;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::exit;

/// The repository that this tool belongs to.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// Finds the repository: the parent of this package's folder.
    ///
    /// `cargo xtask` says at run time which folder that is; the one noted at compile time serves when the program is
    /// started by hand.
    ///
    /// # Errors
    ///
    /// When neither holds the project, for instance after the checkout was moved.
    pub fn find() -> anyhow::Result<Self> {
        let noted = [env::var_os("CARGO_MANIFEST_DIR"), Some(env!("CARGO_MANIFEST_DIR").into())];
        noted
            .into_iter()
            .flatten()
            .filter_map(|ci| PathBuf::from(ci).parent().map(|root| root.to_owned()))
            .map(|root| Self { root })
            .find(|project| project.image_config().is_file())
            .ok_or_else(|| exit::usage("the repository was not found: start this tool as `cargo xtask`, inside of it"))
    }

    /// A repository elsewhere: a copy, or one that is made up.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The repository's root, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The workspace's manifest.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("Cargo.toml")
    }

    /// The manifest of the crate `ebbtide`, whose features are the policies.
    pub fn ebbtide_manifest(&self) -> PathBuf {
        self.root.join("platforms/unikernel/Cargo.toml")
    }

    /// How every image is built, as cargo configuration.
    pub fn image_config(&self) -> PathBuf {
        self.root.join("platforms/unikernel/image.toml")
    }

    /// The script that brings what a machine lacks.
    pub fn setup_script(&self) -> PathBuf {
        self.root.join("ci/setup")
    }

    /// The folder of the examples.
    pub fn examples(&self) -> PathBuf {
        self.root.join("examples")
    }

    /// What the tool makes: images, logs, the chosen toolchain.
    pub fn output(&self) -> PathBuf {
        self.root.join("target/ebbtide")
    }

    /// Cargo's own folder for builds of bare-metal code for one architecture, apps outside the repository included.
    ///
    /// One for all apps: `core` and `alloc` are then compiled once, and an app's own `target` folder stays as its author
    /// left it. One for each architecture: cargo locks it while it builds, and two architectures are built side by side.
    pub fn bare_target_dir(&self, arch: Arch) -> PathBuf {
        self.root.join("target/build").join(arch.name())
    }

    /// One serial log a run.
    pub fn logs(&self) -> PathBuf {
        self.output().join("logs")
    }

    /// The note of the toolchain that was chosen.
    pub fn toolchain_note(&self) -> PathBuf {
        self.output().join("toolchain")
    }

    /// Where the images of one kind lie.
    pub fn images(&self, arch: Arch, policy: &str, profile: &str) -> PathBuf {
        self.output().join(arch.name()).join(policy).join(profile)
    }

    /// The names of the examples, in order.
    pub fn example_names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.examples())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join("Cargo.toml").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

//! The Rust that builds bare-metal code: which one, and how its cargo is called.
//!
//! A bare-metal `core` comes prebuilt with rustup's target, or is built from the library sources (`-Zbuild-std`). The
//! search prefers what needs nothing else; what it chose stays chosen, since two compilers give two sets of
//! counts.

mod compiler;
mod environment;
mod note;
mod search;
mod version;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

pub use compiler::{Compiler, find_program};
pub use environment::clean as clean_environment;
pub use search::{Family, find_or_set_up, survey};
pub use version::Version;

use anyhow::Context;
use serde::Deserialize;

use crate::arch::Arch;
use crate::exit;
use crate::project::Project;

/// How a toolchain comes by a bare-metal `core`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The target is installed beside the compiler.
    Target,
    /// The active toolchain's library sources, compiled with the image.
    Sources,
    /// Debian's Rust and its library sources.
    Debian,
}

impl Source {
    /// In the order in which they are looked for.
    pub const ALL: &'static [Self] = &[Self::Target, Self::Sources, Self::Debian];

    /// The word for it in the note of what was chosen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Sources => "sources",
            Self::Debian => "debian",
        }
    }

    /// What it is, for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::Target => "the target installed beside the active Rust",
            Self::Sources => "library sources of the active Rust",
            Self::Debian => "Debian's Rust with its library sources",
        }
    }
}

/// A Rust that can build bare-metal code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Toolchain {
    source: Source,
    compiler: Compiler,
}

impl Toolchain {
    /// Where its bare-metal `core` comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Its programs.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// What `rustc --version` prints: the key `rustc` of the records.
    pub fn rustc_version(&self) -> String {
        self.compiler.version_line().unwrap_or_else(|| "unknown".to_owned())
    }

    /// Whether it still can build for `arch`.
    fn works(&self, arch: Arch) -> bool {
        let compiler = &self.compiler;
        compiler.is_new_enough()
            && match self.source {
                Source::Target => compiler.has_target(arch),
                Source::Sources | Source::Debian => compiler.has_sources(),
            }
    }

    /// Its cargo, in an environment that cannot change a build. `subcommand` may be `build`, `clippy`, `doc`, ….
    ///
    /// # Errors
    ///
    /// When `subcommand` is `clippy` and this Rust has no clippy (122).
    pub fn cargo(&self, subcommand: &str) -> anyhow::Result<Command> {
        cargo_of(&self.compiler, subcommand).map(|mut command| {
            if self.source != Source::Target {
                // For the flag `-Zbuild-std` alone: no code of the project needs it.
                command.env("RUSTC_BOOTSTRAP", "1");
            }
            command
        })
    }

    /// Its cargo, set up for bare-metal code: target, the images' flags, the folder of these builds.
    ///
    /// The caller adds what to build (`--package`, `--manifest-path`, `--features`) and the profile.
    ///
    /// # Errors
    ///
    /// As [`Self::cargo`]; also when the images' configuration cannot be read.
    pub fn bare_cargo(&self, project: &Project, arch: Arch, subcommand: &str) -> anyhow::Result<Command> {
        let mut command = self.cargo(subcommand)?;
        command
            .arg("--config")
            .arg(project.image_config())
            // Cargo joins lists of all its configuration files: a user's own flags for this target would be added to
            // the images'. What stands in this variable takes the place of all of them.
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags(project, arch)?.join(ENCODED_SEPARATOR))
            .args(["--target", arch.triple()])
            .arg("--target-dir")
            .arg(project.bare_target_dir(arch));
        if self.source != Source::Target {
            command.arg("-Zbuild-std=core,alloc");
        }
        Ok(command)
    }

    /// The flags of the images' configuration, and those that keep this machine's folders out of images.
    fn flags(&self, project: &Project, arch: Arch) -> anyhow::Result<Vec<String>> {
        let path = project.image_config();
        let what = || format!("reading {}", path.display());
        let text = std::fs::read_to_string(&path).with_context(what)?;
        let mut flags = image_flags(&text, arch).with_context(what)?;
        flags.extend(self.remapping(project));
        Ok(flags)
    }

    /// The flags that keep this machine's folders out of images.
    ///
    /// The flags are the same for every app, or each would compile `core` anew. An app's own folder need not be named:
    /// cargo compiles a workspace's members from its root, by relative paths.
    fn remapping(&self, project: &Project) -> Vec<String> {
        let sources = self.compiler.sysroot().map(|root| root.join("lib/rustlib/src/rust"));
        let folders = [(sources, "/rust"), (cargo_home(), "/cargo"), (Some(project.root().to_owned()), ".")];
        let flag = |(folder, name): (Option<PathBuf>, &str)| {
            let folder = folder?.into_os_string().into_string().ok()?;
            Some(format!("--remap-path-prefix={folder}={name}"))
        };
        folders.into_iter().filter_map(flag).collect()
    }
}

/// What stands between flags in `CARGO_ENCODED_RUSTFLAGS`.
const ENCODED_SEPARATOR: &str = "\u{1f}";

/// The flags that the images' configuration has for an architecture.
fn image_flags(text: &str, arch: Arch) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Configuration {
        target: BTreeMap<String, Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        rustflags: Vec<String>,
    }
    let mut configuration: Configuration = toml::from_str(text)?;
    let target = configuration.target.remove(arch.triple());
    Ok(target.with_context(|| format!("no `target.{}`", arch.triple()))?.rustflags)
}

/// A name for the folder that [`host_cargo`] fills: those of bare-metal code are called as their architecture.
pub const HOST: &str = "host";

/// The cargo of the Rust that runs this tool, for host code, in the same clean environment.
///
/// # Errors
///
/// When there is no cargo, or no clippy where that is asked for (122).
pub fn host_cargo(subcommand: &str) -> anyhow::Result<Command> {
    let compiler = Compiler::active().ok_or_else(|| {
        exit::missing(format!("no cargo in the search path: install Rust {} or newer", Version::needed()))
    })?;
    cargo_of(&compiler, subcommand)
}

/// A cargo command of one Rust. The sub-commands that are programs of their own are called directly: by name cargo
/// would take the first `cargo-clippy` of the search path, which may be another Rust's.
fn cargo_of(compiler: &Compiler, subcommand: &str) -> anyhow::Result<Command> {
    let external = matches!(subcommand, "clippy" | "fmt");
    let program = if external {
        let program = compiler.program(&format!("cargo-{subcommand}"));
        if !program.is_file() {
            return Err(no_component(compiler, subcommand));
        }
        program
    } else {
        compiler.program("cargo")
    };
    let mut command = Command::new(program);
    environment::clean(&mut command);
    if external {
        command.env("CARGO", compiler.program("cargo"));
    }
    command.arg(subcommand).env("RUSTC", compiler.program("rustc")).env("RUSTDOC", compiler.program("rustdoc"));
    Ok(command)
}

/// How to come by clippy and rustfmt.
pub const COMPONENTS: &str = "run ci/setup, or with rustup: rustup component add clippy rustfmt; for Debian's Rust: \
                              apt-get install rust-web-clippy rustfmt-web (or rust-clippy rustfmt)";

fn no_component(compiler: &Compiler, name: &str) -> anyhow::Error {
    exit::missing(format!("`cargo {name}` of the Rust in {} is missing; {COMPONENTS}", compiler.folder().display()))
}

fn cargo_home() -> Option<PathBuf> {
    let set: Option<OsString> = environment::variable("CARGO_HOME");
    set.map(PathBuf::from).or_else(|| Some(PathBuf::from(environment::variable("HOME")?).join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_flags_are_those_of_their_configuration() {
        let project = Project::find().unwrap();
        let text = std::fs::read_to_string(project.image_config()).unwrap();
        for arch in Arch::EXISTING {
            let flags = image_flags(&text, *arch).unwrap();
            assert!(flags.contains(&"--cfg=ebbtide_image".to_owned()), "{flags:?}");
        }
        let other = text.replace("[target.", "[target.other-");
        assert!(image_flags(&other, Arch::X86_64).unwrap_err().to_string().contains("x86_64-unknown-none"));
    }
}

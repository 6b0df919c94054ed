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

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

pub use compiler::{Compiler, find_program};
pub use environment::clean as clean_environment;
pub use search::{Family, find_or_set_up, survey};
pub use version::Version;

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
    /// As [`Self::cargo`].
    pub fn bare_cargo(&self, project: &Project, arch: Arch, subcommand: &str) -> anyhow::Result<Command> {
        let mut command = self.cargo(subcommand)?;
        command
            .arg("--config")
            .arg(project.image_config())
            .arg("--config")
            .arg(self.remapping(project, arch))
            .args(["--target", arch.triple()])
            .arg("--target-dir")
            .arg(project.bare_target_dir());
        if self.source != Source::Target {
            command.arg("-Zbuild-std=core,alloc");
        }
        Ok(command)
    }

    /// Cargo configuration that keeps this machine's folders out of images.
    ///
    /// The flags are the same for every app, or each would compile `core` anew. An app's own folder need not be named:
    /// cargo compiles a workspace's members from its root, by relative paths.
    fn remapping(&self, project: &Project, arch: Arch) -> String {
        let sources = self.compiler.sysroot().map(|root| root.join("lib/rustlib/src/rust"));
        let folders = [(sources, "/rust"), (cargo_home(), "/cargo"), (Some(project.root().to_owned()), ".")];
        let flags: Vec<_> = folders
            .into_iter()
            .filter_map(|(folder, name)| {
                let folder = folder?.into_os_string().into_string().ok()?;
                Some(format!("--remap-path-prefix={folder}={name}"))
            })
            .collect();
        // A JSON array of strings is a TOML one.
        let array = serde_json::Value::from(flags);
        format!("target.{}.rustflags={array}", arch.triple())
    }
}

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

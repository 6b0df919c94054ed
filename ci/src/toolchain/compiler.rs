//! One installed Rust: its programs, its version, and what bare-metal code it can build.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::environment;
use super::version::Version;
use crate::arch::Arch;
use crate::process;

/// The programs of one Rust, all in one folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compiler {
    folder: PathBuf,
}

impl Compiler {
    /// The Rust whose programs lie in `folder`, if there is one.
    pub fn in_folder(folder: &Path) -> Option<Self> {
        let found = ["cargo", "rustc"].iter().all(|name| folder.join(name).is_file());
        found.then(|| Self { folder: folder.to_owned() })
    }

    /// The Rust that runs this tool: the one that cargo names, else the first in the search path.
    ///
    /// cargo's own path is asked for first, because behind rustup's proxy it is the toolchain itself: then a
    /// `cargo +version xtask …` means what it says, without any variable handed down.
    pub fn active() -> Option<Self> {
        let named = environment::variable("CARGO").map(PathBuf::from);
        let beside = named.as_deref().and_then(Path::parent).map(Path::to_owned);
        let search_path = environment::variable("PATH").unwrap_or_default();
        beside.into_iter().chain(std::env::split_paths(&search_path)).find_map(|folder| Self::in_folder(&folder))
    }

    /// Debian's own Rust.
    pub fn debian() -> Option<Self> {
        if !Path::new("/etc/debian_version").is_file() {
            return None;
        }
        Self::in_folder(Path::new("/usr/bin"))
    }

    /// The folder of its programs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What `rustc --version` prints.
    pub fn version_line(&self) -> Option<String> {
        let text = self.ask(&["--version"])?;
        Some(text.trim().to_owned())
    }

    /// Whether it is new enough for this project.
    pub fn is_new_enough(&self) -> bool {
        let version = self.version_line().and_then(|line| Version::parse(&line));
        version.is_some_and(|version| version >= Version::needed())
    }

    /// The root of its libraries.
    pub fn sysroot(&self) -> Option<PathBuf> {
        let text = self.ask(&["--print", "sysroot"])?;
        Some(PathBuf::from(text.trim()))
    }

    /// Whether a prebuilt `core` for the architecture's target is installed.
    pub fn has_target(&self, arch: Arch) -> bool {
        let Some(sysroot) = self.sysroot() else {
            return false;
        };
        let libraries = sysroot.join("lib/rustlib").join(arch.triple()).join("lib");
        std::fs::read_dir(libraries)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .any(|name| name.starts_with("libcore-") && name.ends_with(".rlib"))
    }

    /// Whether it can build `core` itself: sources and a linker for bare-metal targets.
    pub fn has_sources(&self) -> bool {
        let sources = |root: &PathBuf| root.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file();
        self.sysroot().as_ref().is_some_and(sources) && self.has_linker()
    }

    /// rustup's toolchains hold `rust-lld`; Debian brings it in a package of its own.
    fn has_linker(&self) -> bool {
        let in_toolchain = || {
            let sysroot = self.sysroot()?;
            let host = self.host()?;
            let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
            linker.is_file().then_some(())
        };
        in_toolchain().is_some() || find_program("rust-lld").is_some()
    }

    fn host(&self) -> Option<String> {
        let text = self.ask(&["--version", "--verbose"])?;
        text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
    }

    fn ask(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(self.program("rustc"));
        environment::clean(&mut command);
        process::output_of(command.args(arguments))
    }
}

/// Finds a program in the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&environment::variable("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

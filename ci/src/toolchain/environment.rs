//! What a child cargo must not inherit.
//!
//! This tool runs under `cargo run`, often under rustup's proxy: both leave variables that would send another
//! compiler, other flags or other folders into a build. An image must depend on the repository and the chosen
//! toolchain, not on the shell that it was started from.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::{env, iter};

/// Variables that change a build or the verdict of a test, by name.
const NAMES: &[&str] = &[
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_LINKER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
    "RUST_TARGET_PATH",
    // Lets a test of compiler messages write what it should compare.
    "TRYBUILD",
];

/// Variables that change a build or the verdict of a test, by how their names begin. (`CARGO_TARGET_DIR` is wanted for host builds: bare-metal
/// ones name their folder themselves.)
const PREFIXES: &[&str] = &[
    "CARGO_BUILD_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_AARCH64_",
    "CARGO_TARGET_X86_64_",
    "CARGO_UNSTABLE_",
    // How many cases a property is tried on, and from which seed.
    "PROPTEST_",
];

/// Takes out of a command's environment what would change a build.
pub fn clean(command: &mut Command) {
    for (name, _) in env::vars_os().filter(|(name, _)| changes_a_build(name)) {
        command.env_remove(name);
    }
    for name in ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
        clean_library_path(command, name);
    }
}

fn changes_a_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    NAMES.contains(&name.as_ref()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Takes out the folders that cargo and rustup put in front for their own compiler: another compiler must not load
/// its libraries from there.
fn clean_library_path(command: &mut Command, name: &str) {
    let Some(value) = env::var_os(name) else {
        return;
    };
    let kept: Vec<_> = env::split_paths(&value).filter(|folder| !belongs_to_a_compiler(folder)).collect();
    if kept.is_empty() {
        command.env_remove(name);
    } else if let Ok(joined) = env::join_paths(kept) {
        command.env(name, joined);
    }
}

fn belongs_to_a_compiler(folder: &Path) -> bool {
    let mut names = folder.iter().chain(iter::once(OsStr::new("")));
    names.any(|name| ["target", "toolchains", "rustlib"].iter().any(|one| name == *one))
}

/// The variable `name`, unless empty.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_compilers_are_taken_out() {
        for name in [
            "RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "RUSTUP_TOOLCHAIN",
            "TRYBUILD",
            "PROPTEST_CASES",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS",
        ] {
            assert!(changes_a_build(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_a_user_needs_stays() {
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_TARGET_DIR", "RUSTC_WRAPPER"] {
            assert!(!changes_a_build(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn folders_of_compilers_are_known() {
        assert!(belongs_to_a_compiler(Path::new("/home/a/.rustup/toolchains/stable/lib")));
        assert!(belongs_to_a_compiler(Path::new("/home/a/ebbtide/target/debug/deps")));
        assert!(!belongs_to_a_compiler(Path::new("/opt/libs")));
    }
}

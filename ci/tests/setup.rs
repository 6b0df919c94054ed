//! `ci/setup` on machines that are made up: a search path that holds the shell's own tools and stand-ins for everything
//! that the script looks for or calls. What a stand-in is called with is noted; one that installs makes the files.
//!
//! Debian's own Rust is looked for at fixed places, so all of this asks for rustup's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the script takes from any Unix.
const UNIX: &[&str] = &["sh", "sed", "ls", "dirname", "touch", "cat", "chmod", "mkdir"];

const EMULATORS: [&str; 2] = ["qemu-system-x86_64", "qemu-system-aarch64"];
const TARGETS: [&str; 2] = ["x86_64-unknown-none", "aarch64-unknown-none-softfloat"];

/// A machine.
struct Machine {
    root: tempfile::TempDir,
}

/// What the script did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    output: String,
    said: String,
    calls: Vec<String>,
}

impl Machine {
    /// One that lacks nothing.
    fn complete() -> Self {
        let machine = Self::bare();
        machine.emulators();
        TARGETS.iter().for_each(|target| machine.library(target));
        machine
    }

    /// One with a Rust of a version, its clippy and rustfmt, and nothing else: the user is not root.
    fn with_rust(version: &str) -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(machine.path("bin")).unwrap();
        fs::create_dir_all(machine.path("rust/bin")).unwrap();
        for name in UNIX {
            let folders = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
            let real = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
            symlink(real.unwrap_or_else(|| panic!("no {name} here")), machine.path("bin").join(name)).unwrap();
        }
        let sysroot = machine.path("rust");
        let rustc = format!(
            "case \"$*\" in --version) echo 'rustc {version} (f00 2026-01-01)' ;; *) echo '{}' ;; esac",
            sysroot.display()
        );
        machine.stand_in("bin/rustc", &rustc);
        machine.program("cargo", "");
        machine.stand_in("rust/bin/cargo-clippy", "");
        machine.stand_in("rust/bin/cargo-fmt", "");
        machine.user(1000);
        machine
    }

    fn bare() -> Self {
        Self::with_rust("1.95.0")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn user(&self, id: u32) {
        self.stand_in("bin/id", &format!("echo {id}"));
    }

    fn emulators(&self) {
        EMULATORS.iter().for_each(|name| self.program(name, ""));
    }

    fn remove(&self, program: &str) {
        fs::remove_file(self.path("bin").join(program)).unwrap();
    }

    /// A target's `core`, as rustup lays it down.
    fn library(&self, target: &str) {
        fs::create_dir_all(self.libraries(target)).unwrap();
        fs::write(self.libraries(target).join("libcore-1.rlib"), "").unwrap();
    }

    fn libraries(&self, target: &str) -> PathBuf {
        self.path("rust/lib/rustlib").join(target).join("lib")
    }

    /// A program whose calls are noted.
    fn program(&self, name: &str, does: &str) {
        let noted = self.path("calls").display().to_string();
        self.stand_in(&format!("bin/{name}"), &format!("echo \"{name} $*\" >>'{noted}'\n{does}"));
    }

    /// A package manager that brings QEMU when it is told to install.
    fn installer(&self, name: &str) {
        let make = EMULATORS.map(|emulator| {
            let path = self.path("bin").join(emulator);
            format!("touch '{0}' && chmod +x '{0}'", path.display())
        });
        self.program(name, &format!("case \"$*\" in *install*) {} ;; esac", make.join(" && ")));
    }

    /// A rustup that brings the targets.
    fn rustup(&self) {
        let make = TARGETS.map(|target| {
            let lib = self.libraries(target);
            format!("mkdir -p '{0}' && touch '{0}/libcore-1.rlib'", lib.display())
        });
        self.program("rustup", &make.join(" && "));
    }

    fn stand_in(&self, name: &str, does: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn setup(&self, arguments: &[&str]) -> Ran {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup");
        let mut command = Command::new("sh");
        command.arg(script).args(["--toolchain", "rustup"]).args(arguments);
        let output = command.env_clear().env("PATH", self.path("bin")).stdin(Stdio::null()).output().unwrap();
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        Ran {
            code: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
            calls: calls.lines().map(str::to_owned).collect(),
        }
    }
}

const APT: &str = "apt-get install -y --no-install-recommends qemu-system-x86 qemu-system-arm";
const RUSTUP: &str = "rustup target add x86_64-unknown-none aarch64-unknown-none-softfloat";

#[test]
fn where_nothing_is_missing_nothing_is_said_or_called() {
    let machine = Machine::complete();
    machine.installer("apt-get");
    machine.rustup();
    for arguments in [&[][..], &["--check"], &["--yes"]] {
        let ran = machine.setup(arguments);
        assert_eq!((ran.code, &*ran.output, &*ran.said, &ran.calls[..]), (Some(0), "", "", &[][..]), "{arguments:?}");
    }
}

#[test]
fn to_check_prints_the_commands_and_changes_nothing() {
    let machine = Machine::bare();
    machine.installer("apt-get");
    machine.rustup();
    let ran = machine.setup(&["--check"]);
    let wanted = format!("sudo apt-get update && sudo {APT}\n{RUSTUP}\n");
    assert_eq!((ran.code, &*ran.output, &ran.calls[..]), (Some(122), &*wanted, &[][..]));
}

#[test]
fn without_a_terminal_another_user_than_root_is_told_what_to_do() {
    let machine = Machine::bare();
    machine.installer("apt-get");
    machine.rustup();
    let ran = machine.setup(&[]);
    assert_eq!((ran.code, &ran.calls[..]), (Some(122), &[][..]));
    for part in [&*format!("sudo {APT}"), RUSTUP, "nothing was changed"] {
        assert!(ran.said.contains(part), "{ran:?}");
    }
}

#[test]
fn root_acts_at_once() {
    let machine = Machine::bare();
    machine.user(0);
    machine.installer("apt-get");
    machine.rustup();
    let ran = machine.setup(&[]);
    let wanted = ["apt-get update", APT, RUSTUP];
    assert_eq!((ran.code, &*ran.output), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.calls, wanted);
    assert_eq!(machine.setup(&[]).calls, wanted, "the second time nothing is missing");
}

#[test]
fn with_yes_another_user_acts_through_sudo() {
    let machine = Machine::complete();
    EMULATORS.iter().for_each(|name| machine.remove(name));
    machine.installer("dnf");
    machine.program("sudo", "\"$@\"");
    let ran = machine.setup(&["--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let wanted = "dnf install -y qemu-system-x86-core qemu-system-aarch64-core";
    assert_eq!(ran.calls, [&*format!("sudo {wanted}"), wanted]);
}

#[test]
fn only_what_is_missing_is_brought() {
    for (name, package) in EMULATORS.into_iter().zip(["qemu-system-x86", "qemu-system-arm"]) {
        let machine = Machine::complete();
        machine.remove(name);
        machine.user(0);
        machine.installer("apt-get");
        let ran = machine.setup(&[]);
        let wanted = ["apt-get update".to_owned(), format!("apt-get install -y --no-install-recommends {package}")];
        assert_eq!((ran.code, &ran.calls[..]), (Some(0), &wanted[..]), "{ran:?}");
    }
    for target in TARGETS {
        let machine = Machine::complete();
        fs::remove_dir_all(machine.libraries(target)).unwrap();
        machine.rustup();
        machine.user(0);
        let ran = machine.setup(&[]);
        assert_eq!((ran.code, &ran.calls[..]), (Some(0), &[RUSTUP.to_owned()][..]), "{ran:?}");
    }
}

#[test]
fn what_fails_or_brings_nothing_is_no_success() {
    let machine = Machine::complete();
    machine.remove(EMULATORS[0]);
    machine.user(0);
    let ran = machine.setup(&[]);
    assert!(ran.code == Some(122) && ran.said.contains("neither apt, dnf nor Homebrew"), "{ran:?}");
    machine.program("apt-get", "[ \"$1\" = update ]");
    let ran = machine.setup(&[]);
    assert!(ran.code == Some(122) && ran.said.contains("apt could not install: qemu-system-x86"), "{ran:?}");
    machine.program("apt-get", "");
    let ran = machine.setup(&[]);
    assert!(ran.code == Some(122) && ran.said.contains("still is not found"), "{ran:?}");
}

#[test]
fn a_rust_that_is_too_old_is_named_and_not_added_to() {
    let machine = Machine::with_rust("1.70.0");
    machine.emulators();
    machine.user(0);
    machine.rustup();
    let ran = machine.setup(&[]);
    assert_eq!((ran.code, &ran.calls[..]), (Some(122), &[][..]));
    assert!(ran.said.contains("the active Rust is 1.70, but 1."), "{ran:?}");
}

#[test]
fn clippy_and_rustfmt_are_brought_but_not_needed() {
    let machine = Machine::complete();
    machine.user(0);
    fs::remove_file(machine.path("rust/bin/cargo-clippy")).unwrap();
    machine.program("rustup", "");
    let ran = machine.setup(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.calls, ["rustup component add clippy rustfmt"]);
    assert!(ran.said.contains("clippy or rustfmt is still missing"), "{ran:?}");
}

#[test]
fn wrong_arguments_are_refused_with_what_is_known() {
    let machine = Machine::complete();
    for (arguments, said) in [
        (&["--toolchain", "mine"][..], "known: rustup, debian"),
        (&["--toolchain"], "needs a value"),
        (&["--yes", "--no"], "unknown argument: --no"),
    ] {
        let ran = machine.setup(arguments);
        assert!(ran.code == Some(121) && ran.said.contains(said), "{ran:?}");
    }
}

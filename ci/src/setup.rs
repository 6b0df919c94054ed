//! Calls `ci/setup` when something to install is missing.

use std::process::Command;

use crate::arch::Arch;
use crate::exit::{self, Code};
use crate::process;
use crate::project::Project;
use crate::toolchain::{Family, find_program};

/// Lets `ci/setup` bring what is missing. It speaks for itself, on the same terminal.
///
/// # Errors
///
/// When it could not bring it (122), or was interrupted (130).
pub fn run(project: &Project, toolchain: Option<Family>, yes: bool) -> anyhow::Result<()> {
    let mut command = Command::new(project.setup_script());
    if let Some(family) = toolchain {
        command.args(["--toolchain", family.name()]);
    }
    if yes {
        command.arg("--yes");
    }
    if process::succeeds(&mut command)? {
        return Ok(());
    }
    // It has said what is missing and how to get it.
    Err(exit::failure(Code::MISSING, ""))
}

/// Makes sure that the emulator of an architecture is there.
///
/// # Errors
///
/// When it is not, and `ci/setup` could not bring it (122).
pub fn qemu(project: &Project, arch: Arch, toolchain: Option<Family>, yes: bool) -> anyhow::Result<()> {
    if find_program(arch.qemu()).is_some() {
        return Ok(());
    }
    run(project, toolchain, yes)?;
    find_program(arch.qemu())
        .map(|_| ())
        .ok_or_else(|| exit::missing(format!("ci/setup ended well, but `{}` is not in the search path", arch.qemu())))
}

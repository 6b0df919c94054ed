//! Calls the packer: it checks a kernel, strips it and puts it into one bootable file with the loader.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

use super::{Image, compile};
use crate::arch::Arch;
use crate::exit::{self, Code};
use crate::process;
use crate::project::Project;
use crate::toolchain;

/// Checks and packs one kernel into the files of an image.
///
/// # Errors
///
/// When the kernel is refused (106: the packer has said why), or the packer cannot be built (123).
pub fn pack(project: &Project, arch: Arch, loader: &Path, kernel: &Path, image: &Image) -> anyhow::Result<()> {
    run(project, arch, loader, kernel, image, &[])
}

/// Packs whatever file, for tests of the loader, which must refuse it.
///
/// # Errors
///
/// As [`pack`], but that no kernel is refused.
pub fn pack_unchecked(
    project: &Project,
    arch: Arch,
    loader: &Path,
    kernel: &Path,
    image: &Image,
) -> anyhow::Result<()> {
    run(project, arch, loader, kernel, image, &["--unchecked"])
}

fn run(
    project: &Project,
    arch: Arch,
    loader: &Path,
    kernel: &Path,
    image: &Image,
    more: &[&str],
) -> anyhow::Result<()> {
    let mut command = Command::new(packer(project)?);
    command
        .args(["--arch", arch.name()])
        .arg("--loader")
        .arg(loader)
        .arg("--kernel")
        .arg(kernel)
        .arg("--hermit")
        .arg(&image.hermit)
        .arg("--output")
        .arg(&image.bootable)
        .args(more)
        .stdin(Stdio::null());
    let status = command.status().context("starting the packer")?;
    if process::interrupted() {
        return Err(exit::interrupted());
    }
    match status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(Code::REFUSED.0) => Err(exit::failure(Code::REFUSED, "")),
        _ => Err(exit::build(format!("packing failed ({status}); the command was: {}", process::shown(&command)))),
    }
}

/// The packer, built when it is asked for first: a build would wait for whatever else is being built.
fn packer(project: &Project) -> anyhow::Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    let name = "ebbtide-pack";
    let mut command = toolchain::host_cargo("build")?;
    command.args(["--quiet", "--manifest-path"]).arg(project.manifest()).args(["--package", name, "--bin", name]);
    Ok(built.insert(compile::executable(command, name)?).clone())
}

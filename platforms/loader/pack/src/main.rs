//! `ebbtide-pack`: a kernel ELF and the loader become NAME.hermit and a file that boots.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use ebbtide_loader::Machine;
use ebbtide_loader::check::ImageError;
use ebbtide_pack::{pack, strip};

/// The exit code for wrong arguments and unusable input files.
const EXIT_USAGE: u8 = 121;

/// The exit code for a kernel that would be refused at boot.
const EXIT_BOOT_REFUSED: u8 = 106;

/// Packs a checked Hermit image and the loader into one bootable file.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The machine that the kernel is for.
    #[arg(long, value_enum, default_value = "x86_64")]
    arch: Arch,
    /// The loader's ELF file.
    #[arg(long, value_name = "ELF")]
    loader: PathBuf,
    /// The kernel's ELF file, with or without symbols.
    #[arg(long, value_name = "ELF")]
    kernel: PathBuf,
    /// Where the plain Hermit image goes.
    #[arg(long, value_name = "OUT")]
    hermit: PathBuf,
    /// Where the bootable file goes.
    #[arg(long, value_name = "OUT")]
    output: PathBuf,
    /// Pack the kernel's file as it is, whatever it holds: for tests of the loader.
    #[arg(long)]
    unchecked: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl From<Arch> for Machine {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self::X86_64,
            Arch::Aarch64 => Self::Aarch64,
        }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ebbtide-pack: {error:#}");
            let refused = error.is::<ImageError>();
            ExitCode::from(if refused { EXIT_BOOT_REFUSED } else { EXIT_USAGE })
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let loader = read(&arguments.loader)?;
    let kernel = read(&arguments.kernel)?;
    let image = if arguments.unchecked {
        kernel
    } else {
        strip::strip(&kernel, arguments.arch.into())
            .with_context(|| format!("{}: boot refused", arguments.kernel.display()))?
    };
    let packed = pack::pack(&loader, &image).with_context(|| arguments.loader.display().to_string())?;
    write(&arguments.hermit, &image)?;
    write(&arguments.output, &packed)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file whole or not at all.
fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let attempt = || -> Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".ebbtide-pack")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(contents)?;
        file.persist(path)?;
        Ok(())
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

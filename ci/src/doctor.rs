//! `cargo xtask doctor`: what was found and chosen; changes nothing.

use std::path::Path;
use std::process::Command;

use clap::Args as ClapArgs;

use crate::arch::Arch;
use crate::cli::SetupArgs;
use crate::exit::Code;
use crate::process;
use crate::project::Project;
use crate::toolchain::{self, COMPONENTS, Compiler, Toolchain, Version, find_program};

/// What `doctor` is told.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    setup: SetupArgs,
}

/// One thing that is needed.
struct Item {
    name: String,
    /// What was found, or what is missing.
    found: Result<String, String>,
}

/// Carries out the verb: 0 if all is there, else 122.
///
/// # Errors
///
/// None of its own: what is missing is its output.
pub fn run(project: &Project, args: &Args) -> anyhow::Result<Code> {
    let host = Compiler::active();
    let mut items = vec![
        host_rust(),
        component("rustfmt", "rustfmt", host.as_ref()),
        component("clippy for the host", "cargo-clippy", host.as_ref()),
    ];
    for &arch in Arch::EXISTING {
        let chosen = toolchain::survey(project, arch, args.setup.toolchain);
        items.push(bare_core(arch, chosen.as_ref()));
        if let Some((toolchain, _)) = &chosen {
            let name = format!("clippy for {arch}");
            items.push(component(&name, "cargo-clippy", Some(toolchain.compiler())));
        }
        items.push(emulator(arch));
    }
    let width = items.iter().map(|item| item.name.len()).max().unwrap_or(0);
    for item in &items {
        let (mark, text) = match &item.found {
            Ok(text) => ("ok", text),
            Err(text) => ("MISSING", text),
        };
        println!("{mark:<8} {:<width$}  {text}", item.name);
    }
    println!("{:<8} {:<width$}  {}", "-", "KVM", kvm());
    if items.iter().all(|item| item.found.is_ok()) {
        return Ok(Code::OK);
    }
    advise(project, args);
    Ok(Code::MISSING)
}

fn host_rust() -> Item {
    let needed = Version::needed();
    let found = match Compiler::active() {
        None => Err(format!("no cargo in the search path; install Rust {needed} or newer")),
        Some(compiler) => {
            let version = compiler.version_line().unwrap_or_default();
            let text = format!("{version}, in {}", compiler.folder().display());
            if compiler.is_new_enough() {
                Ok(text)
            } else {
                Err(format!("{text}: too old, {needed} or newer is needed (rustup update)"))
            }
        }
    };
    Item { name: "Rust for the host".to_owned(), found }
}

/// A program that comes with a compiler, or beside it.
fn component(name: &str, program: &str, compiler: Option<&Compiler>) -> Item {
    let path = compiler.map(|compiler| compiler.program(program)).filter(|path| path.is_file());
    let missing = || format!("`cargo xtask lint` and `test` need it: {COMPONENTS}");
    let found = path.map(|path| described(&path)).ok_or_else(missing);
    Item { name: name.to_owned(), found }
}

fn bare_core(arch: Arch, chosen: Option<&(Toolchain, bool)>) -> Item {
    let found = match chosen {
        Some((toolchain, noted)) => Ok(format!(
            "{}, in {}: {}{}",
            toolchain.rustc_version(),
            toolchain.compiler().folder().display(),
            toolchain.source().description(),
            if *noted { ", as chosen before" } else { ", would be chosen" }
        )),
        None => Err(format!("neither the target {} nor library sources were found", arch.triple())),
    };
    Item { name: format!("core for {arch}"), found }
}

fn emulator(arch: Arch) -> Item {
    let found = find_program(arch.qemu())
        .map(|path| described(&path))
        .ok_or_else(|| format!("`{}` is not in the search path", arch.qemu()));
    Item { name: format!("QEMU for {arch}"), found }
}

fn kvm() -> &'static str {
    if Path::new("/dev/kvm").exists() {
        "/dev/kvm exists; used only with --accel kvm, or auto after a trial boot"
    } else {
        "no /dev/kvm; not needed"
    }
}

/// The version that a program tells, and where it lies.
fn described(path: &Path) -> String {
    let text = process::output_of(Command::new(path).arg("--version"));
    let text = text.unwrap_or_else(|| "version unknown".to_owned());
    format!("{}, {}", text.lines().next().unwrap_or_default(), path.display())
}

/// The script knows the packages of each system; `--check` makes it tell without doing.
fn advise(project: &Project, args: &Args) {
    let mut command = Command::new(project.setup_script());
    command.arg("--check");
    if let Some(family) = args.setup.toolchain {
        command.args(["--toolchain", family.name()]);
    }
    println!();
    // Its verdict is ours already.
    let _ = command.status();
}

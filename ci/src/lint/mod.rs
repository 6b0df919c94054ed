//! `cargo xtask lint`: formatting, clippy, docs, and the house rules as code.

mod finding;
mod members;
mod rules;
mod source;
pub mod step;
pub mod steps;
pub mod tree;

pub use finding::Finding;
use source::Source;

use std::path::Path;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::cli::{List, SetupArgs};
use crate::exit::Code;
use crate::progress::Progress;
use crate::project::Project;
use crate::toolchain;

/// The arguments of `lint`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Architectures, or `all`
    #[arg(long, default_value = "all")]
    arch: List<Arch>,
    #[command(flatten)]
    setup: SetupArgs,
}

/// Carries out every check, all of them also when one fails.
///
/// # Errors
///
/// When a compiler or one of its components is missing (122), or at an interruption (130).
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    let bare = compilers(project, &args.arch.of(Arch::EXISTING), &args.setup)?;
    let steps = steps::steps(project, &bare)?;
    let progress = Progress::new(steps.len());
    let mut failed = 0;
    for step in &steps {
        progress.doing(&format!("lint: {}", step.name));
        let checked = (step.run)()?;
        if !checked.ok {
            failed += 1;
            progress.note(checked.output.trim_end());
        }
        progress.done(&format!("lint: {} ... {}", step.name, if checked.ok { "ok" } else { "FAILED" }));
    }
    drop(progress);
    println!("lint: {} checks, {failed} failed", steps.len());
    Ok(if failed == 0 { Code::OK } else { Code::FAILED })
}

/// Finds the compilers for bare metal.
///
/// # Errors
///
/// When one is missing and cannot be installed (122).
pub fn compilers(project: &Project, archs: &[Arch], asked: &SetupArgs) -> Result<Vec<steps::Bare>> {
    let find = |arch: &Arch| {
        let toolchain = toolchain::find_or_set_up(project, *arch, asked.toolchain, asked.yes)?;
        Ok(steps::Bare { arch: *arch, toolchain })
    };
    archs.iter().map(find).collect()
}

/// What the house rules found.
#[derive(Debug)]
pub struct House {
    /// How many files were read.
    pub files: usize,
    /// What is wrong; empty for a pass.
    pub findings: Vec<Finding>,
}

/// Applies the house rules to every source file below `root`.
///
/// # Errors
///
/// When a file cannot be read.
pub fn house_rules(root: &Path) -> Result<House> {
    let mut house = House { files: 0, findings: Vec::new() };
    for file in tree::files(root)? {
        let path = tree::relative(root, &file);
        let extension = file.extension().unwrap_or_default().to_string_lossy().into_owned();
        if !["rs", "S", "s", "sh", "ld"].contains(&extension.as_str()) && path != "ci/setup" {
            continue;
        }
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {path} as UTF-8 text"))?;
        house.files += 1;
        house.findings.extend(check_file(&path, &text, extension == "rs"));
    }
    house.findings.sort();
    Ok(house)
}

/// Applies the rules that fit the file.
fn check_file(path: &str, text: &str, rust: bool) -> Vec<Finding> {
    if !rust {
        return rules::check_text(path, text);
    }
    match Source::parse(path, text) {
        Ok(source) => rules::check_rust(&source),
        Err(finding) => vec![finding],
    }
}

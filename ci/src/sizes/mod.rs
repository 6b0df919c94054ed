//! `cargo xtask stack-sizes`: where the stack goes, from an image's machine code.
//!
//! ```text
//!   NAME.debug ──elf──► functions ──decode──► steps ──walk──► calls and their depths ──graph, chain──► largest chains
//!                                                 tests/stack-sizes/calls.toml ──┘                        │
//!                                                 tests/stack-sizes/budget.toml ──────────────────────► --check
//! ```
//!
//! Stable Rust does not tell how large frames are (`-Z emit-stack-sizes`), and no compiler tells whom hand-written assembly calls. The
//! code itself tells both, and it is the code that runs: after inlining, and with `core` as it was linked.

mod budget;
mod chain;
mod decode;
mod elf;
mod graph;
mod list;
mod report;
#[cfg(test)]
mod tests;
mod walk;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::arch::Arch;
use crate::build::{self, Loaders, Request};
use crate::cli::{ImageArgs, SetupArgs};
use crate::exit::{self, Code};
use crate::policy::Policy;
use crate::progress::Progress;
use crate::project::Project;
use crate::{files, image, toolchain};

use budget::Budget;
use elf::Code as Machine;
use graph::Graph;
use list::List;
use report::Report;

/// What `stack-sizes` is told.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of examples/, folder of any crate that depends on `ebbtide`, or unstripped kernel ELF file, as NAME.debug
    #[arg(value_name = "EXAMPLE|PATH", default_value = "hello")]
    named: String,
    #[command(flatten)]
    image: ImageArgs,
    /// Look at the images of tests/stack-sizes/budget.toml, and fail where one takes more than it says or cannot be told
    #[arg(long, conflicts_with_all = ["named", "arch", "policy", "profile", "audit", "json", "frames"])]
    check: bool,
    /// Write the sizes of these images to that file
    #[arg(long, conflicts_with_all = ["named", "arch", "policy", "profile", "audit", "json", "frames", "check"])]
    bless: bool,
    /// A list of calls of the app's own, in the form of tests/stack-sizes/calls.toml
    #[arg(long, value_name = "FILE")]
    calls: Vec<PathBuf>,
    /// How many of the largest frames are shown
    #[arg(long, value_name = "N", default_value = "10")]
    frames: usize,
    /// Write what was found to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is written with `--json`.
#[derive(Serialize)]
struct Records<'a> {
    schema: u32,
    images: [&'a Report; 1],
}

/// Carries out the verb: 1 if `--check` finds something.
///
/// # Errors
///
/// When what is named is not there, is stripped, or is no code that is known, or a list is wrong (121); and what hinders a build.
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    let list = list(project, &args.calls)?;
    if args.bless {
        return bless(project, &list, &args.image.setup);
    }
    if args.check {
        let wrong = check(project, &args.image.setup, &Progress::new(budget(project)?.image.len()))?;
        wrong.iter().for_each(|line| println!("{line}"));
        return Ok(if wrong.is_empty() { Code::OK } else { Code::FAILED });
    }
    let (path, app, policy) = find(project, args)?;
    let report = look(&path, &app, policy, &list)?;
    print!("{}", report.text(args.frames));
    if let Some(path) = &args.json {
        let records = Records { schema: 1, images: [&report] };
        files::write(path, serde_json::to_string_pretty(&records)? + "\n")?;
    }
    Ok(Code::OK)
}

/// The file to look at, with the app's name and the policy: what is named if it is a file, else what is built of it.
fn find(project: &Project, args: &Args) -> Result<(PathBuf, String, Option<String>)> {
    let path = Path::new(&args.named);
    if path.is_file() {
        return Ok((path.to_owned(), args.named.clone(), None));
    }
    let image = image::build(project, &args.named, &args.image)?;
    let policy = image.policy.map(|policy| build::kind(policy.name(), args.image.audit));
    Ok((image.debug, image.name, policy))
}

fn look(path: &Path, app: &str, policy: Option<String>, list: &List) -> Result<Report> {
    let code = Machine::read(path)?;
    let graph = Graph::of(&code, list);
    Ok(Report::of(app, code.arch, policy, &graph, list))
}

fn list(project: &Project, more: &[PathBuf]) -> Result<List> {
    let read = |path: &Path| {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| exit::usage(format!("cannot read {shown}: {error}")))?;
        List::parse(&shown, &text)
    };
    let mut list = read(&project.root().join("tests/stack-sizes/calls.toml"))?;
    for path in more {
        list.add(read(path)?);
    }
    list.check()?;
    Ok(list)
}

fn budget_path(project: &Project) -> PathBuf {
    project.root().join("tests/stack-sizes/budget.toml")
}

fn budget(project: &Project) -> Result<Budget> {
    let path = budget_path(project);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Budget::parse("tests/stack-sizes/budget.toml", &text)
}

/// What is wrong with the images of the budget, a line for each thing.
///
/// # Errors
///
/// When a list is wrong (121) or an image cannot be built.
pub fn check(project: &Project, setup: &SetupArgs, progress: &Progress) -> Result<Vec<String>> {
    let list = list(project, &[])?;
    let mut wrong = Vec::new();
    for image in &budget(project)?.image {
        let report = build_and_look(project, image, &list, setup)?;
        let found = budget::check(&report, image);
        progress.done(&format!("{}: {}", report.title(), if found.is_empty() { "ok" } else { "NOT ok" }));
        wrong.extend(found);
    }
    Ok(wrong)
}

fn bless(project: &Project, list: &List, setup: &SetupArgs) -> Result<Code> {
    let mut budget = budget(project)?;
    for image in &mut budget.image {
        image.entries = budget::limits(&build_and_look(project, image, list, setup)?);
    }
    files::write(&budget_path(project), budget.text())?;
    Ok(Code::OK)
}

fn build_and_look(project: &Project, image: &budget::Image, list: &List, setup: &SetupArgs) -> Result<Report> {
    let wrong = |what: String| exit::usage(format!("tests/stack-sizes/budget.toml: {what}"));
    let arch: Arch = image.arch.parse().map_err(|known| wrong(format!("`arch` is {}; {known}", image.arch)))?;
    let policy: Policy =
        image.policy.parse().map_err(|known| wrong(format!("`policy` is {}; {known}", image.policy)))?;
    let toolchain = toolchain::find_or_set_up(project, arch, setup.toolchain, setup.yes)?;
    let args = Request {
        arch,
        binary: None,
        policy: Some(policy),
        profile: crate::cli::Profile::Release,
        audit: false,
        quiet: true,
    };
    let built = build::image(project, &toolchain, &image.app, &args, &Loaders::default())?;
    look(&built.debug, &image.app, Some(image.policy.clone()), list)
}

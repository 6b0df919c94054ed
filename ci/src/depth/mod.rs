//! `cargo xtask depth`: where the stack went in a run, by ways into the kernel.
//!
//! ```text
//!   guest ──`ebbtide: way …`──► parse ──► named (symbols) ──► report: the table, depth.json
//!                                                        └──► fold: depth.folded ──► depth.svg
//! ```
//!
//! The guest is an image that audits itself, which keeps, for each way, the deepest that a stack was seen; `stack-sizes` reads in the
//! code how deep it may get.

mod fold;
mod function;
mod hide;
mod named;
mod parse;
mod report;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, anyhow, bail};

use crate::build::{self, Image};
use crate::cli::{ImageArgs, MachineArgs};
use crate::exit::{self, Code};
use crate::files;
use crate::project::Project;
use crate::qemu::{Ending, Report as Ended};
use crate::run;
use crate::symbols::Symbols;

use hide::Hide;
use report::Report;

/// What `depth` is told.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of examples/, folder of any crate that depends on `ebbtide`, or kernel ELF file with the feature `audit`
    #[arg(value_name = "EXAMPLE|PATH", default_value = "hello")]
    named: String,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// The app's arguments; words that start with `ebbtide.` are the kernel's
    #[arg(last = true, value_name = "ARGS")]
    words: Vec<String>,
}

/// What makes a guest tell where its stacks went.
const WORD: &str = "ebbtide.report=chains";

/// Carries out the verb; the code is the guest's if it ended by its own word.
///
/// # Errors
///
/// When the image cannot be built, QEMU is missing, or the guest does not tell where its stacks went.
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    look(project, args).map_err(|error| exit::with_code(error, Code::CRASHED))
}

fn look(project: &Project, args: &Args) -> Result<Code> {
    let mut words = args.words.clone();
    words.push(WORD.to_owned());
    let wanted = run::Args {
        named: args.named.clone(),
        image: ImageArgs { audit: true, ..args.image.clone() },
        machine: args.machine.clone(),
        words,
    };
    let (image, ended) = run::watch(project, &wanted, |out| Box::new(Hide::new(out)))?;
    if !matches!(ended.ending, Ending::Guest { .. }) {
        return Ok(ended.ending.exit_code());
    }
    let report = read(&image, &ended, args)?;
    if report.entries.is_empty() {
        bail!(
            "the guest ended before any stack was seen: there is nothing to show\n{}",
            ended.last_words(&image.debug)
        );
    }
    let folder = project.root().join("target/depth").join(report.folder());
    let folded = report.folded();
    let figure = fold::figure(&folded, &report.title())?;
    files::write(&folder.join("depth.json"), report.json()? + "\n")?;
    files::write(&folder.join("depth.folded"), folded)?;
    files::write(&folder.join("depth.svg"), figure)?;
    print!("\n{}", report.text());
    println!("\nflame graph, its lines and all of it for programs: {}/depth.{{svg,folded,json}}", folder.display());
    Ok(ended.ending.exit_code())
}

/// What a guest has told, with names.
fn read(image: &Image, ended: &Ended, args: &Args) -> Result<Report> {
    let told = parse::read(&ended.output)?.ok_or_else(|| {
        let what =
            "the guest did not tell where its stacks went: is it a kernel with the feature `audit`, of this version?";
        anyhow!("{what}\n{}", ended.last_words(&image.debug))
    })?;
    let symbols = Symbols::load(&image.debug)
        .with_context(|| format!("{} has no names: it is stripped, or no ELF file", image.debug.display()))?;
    let policy = image.policy.as_ref().map(|policy| build::kind(policy.name(), true));
    Ok(Report {
        app: image.name.clone(),
        arch: image.arch.to_string(),
        policy,
        profile: args.image.profile.to_string(),
        command: ended.command.clone(),
        all: told.all,
        entries: named::entries(&told, image.arch, &symbols),
    })
}

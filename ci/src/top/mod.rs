//! `cargo xtask top`: threads, their stacks and the CPUs of a guest that runs, as it tells of them on its serial line.
//!
//! ```text
//!   guest ──► split ──`ebbtide: top …`──► parse ──► snapshot ──► screen: in place on a terminal, one after another elsewhere
//!                  └──all else─────────────────────────────────► below it
//! ```

mod parse;
mod screen;
mod split;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::cli::{ImageArgs, MachineArgs};
use crate::exit::{self, Code};
use crate::process;
use crate::project::Project;
use crate::qemu::Ending;
use crate::run;

use screen::Screen;
use split::Split;

/// What `top` is told.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of examples/, folder of any crate that depends on `ebbtide`, or kernel ELF file with the feature `audit`
    #[arg(value_name = "EXAMPLE|PATH")]
    named: String,
    /// Milliseconds of the guest's time between two looks, 1 to 3600000
    #[arg(long, value_name = "MS", default_value = "500", value_parser = clap::value_parser!(u32).range(1..=3_600_000))]
    every: u32,
    /// End the guest after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    snapshots: Option<u32>,
    /// End it after the first
    #[arg(long, conflicts_with = "snapshots")]
    once: bool,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// The app's arguments; words that start with `ebbtide.` are the kernel's
    #[arg(last = true, value_name = "ARGS")]
    words: Vec<String>,
}

/// What became of the snapshots.
#[derive(Debug, Default)]
pub struct Came {
    /// How many there were.
    pub snapshots: u32,
    /// What was wrong with one, if that was so: then no more are looked at.
    pub wrong: Option<String>,
}

/// Carries out the verb; the code is the guest's if it ended by its own word, and 0 if enough was seen of it.
///
/// # Errors
///
/// When the image cannot be built, QEMU is missing, or the guest tells of itself in a line that is not understood.
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    watch(project, args).map_err(|error| exit::with_code(error, Code::CRASHED))
}

fn watch(project: &Project, args: &Args) -> Result<Code> {
    let mut words = args.words.clone();
    words.push(format!("ebbtide.top={}", args.every));
    let wanted = run::Args {
        named: args.named.clone(),
        image: ImageArgs { audit: true, ..args.image.clone() },
        machine: args.machine.clone(),
        words,
    };
    let most = if args.once { Some(1) } else { args.snapshots };
    let came = Arc::new(Mutex::new(Came::default()));
    let theirs = Arc::clone(&came);
    let (_, ended) = run::watch(project, &wanted, move |out| {
        let screen = if io::stdout().is_terminal() { Screen::in_place(out) } else { Screen::below(out) };
        Box::new(Split::new(screen, most, theirs, process::interrupt))
    })?;
    let came = came.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(wrong) = &came.wrong {
        return Err(exit::failure(Code::CRASHED, wrong.clone()));
    }
    if most.is_some_and(|most| came.snapshots >= most) && ended.ending == Ending::Interrupted {
        return Ok(Code::OK);
    }
    if came.snapshots == 0 {
        eprintln!("the guest ended before it was looked at, which comes first after {} ms: see `--every`", args.every);
    }
    Ok(ended.ending.exit_code())
}

//! `cargo xtask test`: every test once, the quick and the fundamental ones first.
//!
//! ```text
//!   deps ─► lint ─► host ─► build, and guest as soon as its image is built (side by side) ─┐
//!                                  compare --quick --check ◄─ docs ◄─ stack-sizes --check ◄─┘
//! ```
//!
//! A case that reaches its time-out has failed, and nothing is tried a second time. What guests are booted and how
//! each must end is data: `tests/cases.toml`. With `--mutants` it is the tests that are tested, see [`mutants`].

mod case;
mod damage;
mod filter;
mod flags;
mod guest;
mod host;
mod images;
mod judge;
mod manifest;
pub mod matrix;
mod mutants;
mod order;
mod own;
mod properties;
mod runner;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use crate::cli::{self, SetupArgs};
use crate::exit::Code;
use crate::lint::steps::Bare;
use crate::parallel::Room;
use crate::policy::Policy;
use crate::project::Project;
use crate::qemu::check_all_names;
use crate::{lint, setup};

use case::Case;
use flags::{Flags, print_names};
use guest::Lists;
use images::Images;
use runner::{Files, Rest, conclude, run_all, runs};

/// The arguments of `test`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Numbers of CPUs, 1 to 16, for cases that are not about a number of their own [default: 1]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = cli::cpus)]
    smp: Vec<u8>,
    /// Only the mutants: apply each patch of tests/mutants to a copy, and see the test that it names fail
    #[arg(long, conflicts_with_all = ["arch", "policy", "profile", "smp", "machine", "cpu", "audit", "soak"])]
    mutants: bool,
    /// Cases that have a long form take it, with its time-out: minutes each, for a machine with nothing else to do
    #[arg(long)]
    soak: bool,
    /// Run every guest, host test and mutant N times; each counts
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Write the tests' records to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tests' results to a file, in JUnit's format
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs the tests; ends with the line `N passed, N failed, N skipped`.
///
/// # Errors
///
/// When something to install is missing (122), `tests/cases.toml` is wrong (121), or at an interruption (130).
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    let flags = &args.flags;
    let mut cases = cases(project, args)?;
    let all = cases.len();
    cases.retain(|case| flags.filter.wants(&case.name));
    if cases.is_empty() {
        return Err(flags.filter.leaves_none_of(all, "cases"));
    }
    if flags.list {
        print_names(&cases);
        return Ok(Code::OK);
    }
    let ran = run_all(&cases, args.repeat, Room::for_guests(flags.jobs));
    let rest = Rest { left_out: all - cases.len(), not_run: runs(&cases, args.repeat) - ran.done.len() };
    let files = Files { json: args.json.as_deref(), junit: args.junit.as_deref() };
    conclude(ran, rest, &files, &summary::text)
}

/// Makes the list of cases, in the order of their groups.
fn cases(project: &Project, args: &Args) -> Result<Vec<Case>> {
    let flags = &args.flags;
    if args.mutants {
        return mutants::cases(project, &flags.setup, |name| flags.filter.wants(name));
    }
    let all = Policy::all(project)?;
    let lists = Lists { soak: args.soak, ..flags.lists(&all, &args.smp) };
    let compilers = prepare(project, &lists, &flags.setup)?;
    let mut cases = vec![own::deps(project)];
    cases.extend(own::lint(project, &compilers)?);
    cases.extend(host::cases(project)?);
    let images = Arc::new(Images::new(project, compilers));
    let policies: Vec<_> = lists.policies.iter().map(ToString::to_string).collect();
    let compared = own::compared(project, &lists.archs, &policies)?;
    cases.extend(guest::cases(project, &lists, &all, &images, compared)?);
    cases.push(own::stack_sizes(project, flags.setup.clone()));
    cases.extend(own::docs(project)?);
    cases.push(own::compare(project, lists.archs, policies, Vec::new(), flags.setup.clone(), Some(images)));
    Ok(cases)
}

/// Sees to what guests need: QEMU, and that it knows what was named; a compiler for each architecture.
fn prepare(project: &Project, lists: &Lists, setup: &SetupArgs) -> Result<Vec<Bare>> {
    for arch in &lists.archs {
        setup::qemu(project, *arch, setup.toolchain, setup.yes)?;
        check_all_names(*arch, &lists.machines, &lists.cpus)?;
    }
    lint::compilers(project, &lists.archs, setup)
}

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

use crate::arch::Arch;
use crate::cli::{self, List, Profile, Selected, SetupArgs};
use crate::exit::Code;
use crate::lint::steps::Bare;
use crate::parallel::Room;
use crate::policy::Policy;
use crate::project::Project;
use crate::qemu::check_all_names;
use crate::{lint, setup};

use case::Case;
use filter::Filter;
use guest::Lists;
use images::Images;
use runner::{Files, Rest, conclude, run_all, runs};

/// The arguments of `test`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Architectures, or `all`
    #[arg(long, default_value = "all")]
    arch: List<Arch>,
    /// Stack policies, or `all`
    #[arg(long, value_name = "NAME", default_value = "all")]
    policy: List<Policy>,
    /// Profiles of the guests, or `all`
    #[arg(long, default_value = "release")]
    profile: List<Profile>,
    /// Numbers of CPUs, 1 to 16, for cases that are not about a number of their own [default: 1]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = cli::cpus)]
    smp: Vec<u8>,
    /// QEMU's machine types, options after `:` [default: what each case needs]
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    machine: Vec<Selected>,
    /// QEMU's CPU models, options after `:` [default: what each case needs]
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    cpu: Vec<Selected>,
    /// Build every guest with the feature `audit`: a broken invariant ends it with 107
    #[arg(long)]
    audit: bool,
    /// Only the mutants: apply each patch of tests/mutants to a copy, and see the test that it names fail
    #[arg(long, conflicts_with_all = ["arch", "policy", "profile", "smp", "machine", "cpu", "audit", "soak"])]
    mutants: bool,
    /// Cases that have a long form take it, with its time-out: minutes each, for a machine with nothing else to do
    #[arg(long)]
    soak: bool,
    #[command(flatten)]
    filter: Filter,
    /// Print the cases and their time-outs, and run none
    #[arg(long)]
    list: bool,
    /// Run every guest, host test and mutant N times; each counts
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Guests side by side [default: as many as keep the host's CPUs busy]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: Option<u8>,
    /// Write the tests' records to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tests' results to a file, in JUnit's format
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    setup: SetupArgs,
}

/// Runs the tests; ends with the line `N passed, N failed, N skipped`.
///
/// # Errors
///
/// When something to install is missing (122), `tests/cases.toml` is wrong (121), or at an interruption (130).
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    let mut cases = cases(project, args)?;
    let all = cases.len();
    cases.retain(|case| args.filter.wants(&case.name));
    if cases.is_empty() {
        return Err(args.filter.leaves_none_of(all, "cases"));
    }
    if args.list {
        for case in &cases {
            println!("{} [{} s]", case.name, case.timeout.as_secs());
        }
        return Ok(Code::OK);
    }
    let ran = run_all(&cases, args.repeat, Room::for_guests(args.jobs));
    let rest = Rest { left_out: all - cases.len(), not_run: runs(&cases, args.repeat) - ran.done.len() };
    let files = Files { json: args.json.as_deref(), junit: args.junit.as_deref() };
    conclude(ran, rest, &files, &summary::text)
}

/// Makes the list of cases, in the order of their groups.
fn cases(project: &Project, args: &Args) -> Result<Vec<Case>> {
    if args.mutants {
        return mutants::cases(project, &args.setup, |name| args.filter.wants(name));
    }
    let all = Policy::all(project)?;
    let lists = Lists {
        archs: args.arch.of(Arch::EXISTING),
        policies: args.policy.of(&all),
        profiles: args.profile.of(Profile::ALL),
        audit: args.audit,
        smp: args.smp.clone(),
        machines: args.machine.clone(),
        cpus: args.cpu.clone(),
        soak: args.soak,
        cases: None,
    };
    let compilers = prepare(project, &lists, &args.setup)?;
    let mut cases = vec![own::deps(project)];
    cases.extend(own::lint(project, &compilers)?);
    cases.extend(host::cases(project)?);
    let images = Arc::new(Images::new(project, compilers));
    let policies: Vec<_> = lists.policies.iter().map(ToString::to_string).collect();
    let compared = own::compared(project, &lists.archs, &policies)?;
    cases.extend(guest::cases(project, &lists, &all, &images, compared)?);
    cases.push(own::stack_sizes(project, args.setup.clone()));
    cases.extend(own::docs(project)?);
    cases.push(own::compare(project, lists.archs, policies, Vec::new(), args.setup.clone(), Some(images)));
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

//! `cargo xtask compare`: what each stack policy takes, in one table.
//!
//! ```text
//!   workload file ─► plan ─► builds, runs ─► record lines ─► figures ─► records ─► table, report, JSON
//!                              runner           line         measure     record    table, report
//! ```
//!
//! Every figure comes from a run of this invocation, and a policy that fails or hangs has a record that says so.

#[cfg(test)]
mod fake;
mod gather;
pub mod limits;
mod line;
mod measure;
mod plan;
pub mod record;
mod report;
mod run;
pub mod runner;
mod table;
#[cfg(test)]
mod tests;
pub mod workload;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::arch::Arch;
use crate::cli::{self, ListArgs, Profile, RecordArgs, SetupArgs};
use crate::exit::{self, Code};
use crate::files;
use crate::parallel;
use crate::policy::Policy;
use crate::process;
use crate::progress::Progress;
use crate::project::Project;
use crate::qemu::check_all_names;
use crate::{setup, toolchain};

use plan::Asked;
use record::{Record, Status};
use report::Origin;
use runner::Qemu;
use workload::Workload;

/// The arguments of `compare`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    lists: ListArgs,
    /// Workloads: names of shipped ones, files, or `all`
    #[arg(long, value_name = "NAME|FILE", value_delimiter = ',', default_value = "all")]
    workload: Vec<String>,
    /// Memory in QEMU's form [default: what the workload names]
    #[arg(long, value_name = "SIZE", value_parser = cli::memory)]
    memory: Option<String>,
    /// Seconds until a run is given up [default: what the workload names]
    #[arg(long, value_name = "SECONDS", value_parser = cli::seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    records: RecordArgs,
}

/// Compares, prints the tables, and writes report and records.
///
/// # Errors
///
/// Wrong arguments or workloads (121), what cannot be installed (122), an interruption (130). A policy that fails is
/// no error: its records say so, and the code is 1.
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    let profile = profile(args)?;
    let workloads = workload::find(project, &args.workload)?;
    let asked = asked(project, args)?;
    let records = {
        let runner = real(project, &asked, &args.lists.setup, profile)?;
        let progress = Progress::new(plan::steps(&asked, &workloads));
        plan::measure(&runner, &asked, &workloads, &progress)?
    };
    // First what lasts: whoever reads the tables may have gone.
    let report = write(project, args, &records, &workloads)?;
    print!("{}", table::draw(&records, table::Style::Terminal));
    for failure in report::failures(&records) {
        println!("failed: {failure}");
    }
    println!("report: {}", report.display());
    let ok = records.iter().all(|record| record.status == Status::Ok);
    Ok(if ok { Code::OK } else { Code::FAILED })
}

/// Makes the quick comparison of every policy, for `test`.
///
/// # Errors
///
/// As [`run()`].
pub fn quick(
    project: &Project,
    archs: &[Arch],
    policies: &[String],
    setup: &SetupArgs,
    progress: &Progress,
) -> Result<Vec<Record>> {
    let asked = Asked {
        archs: archs.to_vec(),
        policies: policies.to_vec(),
        smp: vec![1],
        machines: vec![None],
        cpus: vec![cli::Selected::new("max")],
        memory: None,
        timeout: None,
        quick: true,
        jobs: parallel::default_jobs(),
    };
    let runner = real(project, &asked, setup, Profile::Release)?;
    plan::measure(&runner, &asked, &workload::find(project, &[])?, progress)
}

/// The one profile to compare under.
fn profile(args: &Args) -> Result<Profile> {
    match args.lists.profile.of(Profile::ALL)[..] {
        [one] => Ok(one),
        _ => Err(exit::usage("--profile: a comparison has one profile for all of it; name one (as a rule release)")),
    }
}

/// What the command line asks for.
fn asked(project: &Project, args: &Args) -> Result<Asked> {
    let lists = &args.lists;
    let policies = lists.policy.of(&Policy::all(project)?);
    let machines = lists.machine.iter().cloned().map(Some).collect::<Vec<_>>();
    Ok(Asked {
        archs: lists.arch.of(Arch::EXISTING),
        policies: policies.iter().map(ToString::to_string).collect(),
        smp: if lists.smp.is_empty() { vec![1] } else { lists.smp.clone() },
        machines: if machines.is_empty() { vec![None] } else { machines },
        cpus: lists.cpu.clone(),
        memory: args.memory.clone(),
        timeout: args.timeout,
        quick: args.records.quick,
        jobs: parallel::default_jobs(),
    })
}

/// Cargo and QEMU, after making sure that both are there.
fn real<'a>(project: &'a Project, wanted: &Asked, asked: &SetupArgs, profile: Profile) -> Result<Qemu<'a>> {
    let mut toolchains = Vec::new();
    let machines: Vec<_> = wanted.machines.iter().flatten().cloned().collect();
    for arch in &wanted.archs {
        setup::qemu(project, *arch, asked.toolchain, asked.yes)?;
        check_all_names(*arch, &machines, &wanted.cpus)?;
        let found = toolchain::find_or_set_up(project, *arch, asked.toolchain, asked.yes)?;
        toolchains.push((*arch, found));
    }
    Ok(Qemu { project, toolchains, profile })
}

/// Writes report and records, each whole or not at all; returns where the report lies.
fn write(project: &Project, args: &Args, records: &[Record], workloads: &[Workload]) -> Result<PathBuf> {
    if process::interrupted() {
        return Err(exit::interrupted());
    }
    let folder = project.root().join("target/compare");
    let json = record::text(records)?;
    let words: Vec<_> = std::env::args().skip(1).collect();
    let origin = Origin {
        invocation: format!("cargo xtask {}", words.join(" ")),
        quick: args.records.quick,
        profile: profile(args)?.to_string(),
        made: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()),
    };
    let report = folder.join("report.md");
    files::write(&report, report::markdown(records, workloads, &origin))?;
    files::write(&folder.join("results.json"), &json)?;
    if let Some(path) = &args.records.json {
        files::write(path, &json)?;
    }
    Ok(report)
}

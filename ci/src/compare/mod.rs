//! `cargo xtask compare`: what each stack policy takes, in one table.
//!
//! ```text
//!   workload file ─► plan ─► builds, runs ─► record lines ─► figures ─► records ─► table, report, JSON, check
//!                              runner           line         measure     record    table, report    baseline
//! ```
//!
//! Every figure comes from a run of this invocation, and a policy that fails or hangs has a record that says so.

pub mod baseline;
#[cfg(test)]
mod fake;
mod figure;
mod gather;
mod html;
mod images;
mod kind;
pub mod limits;
mod line;
mod load;
mod machine;
mod measure;
mod peers;
mod plan;
mod publish;
pub mod readme;
pub mod record;
mod report;
mod run;
pub mod runner;
mod series;
pub mod table;
#[cfg(test)]
mod tests;
pub mod workload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::arch::Arch;
use crate::build;
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

use figure::Figure;
use peers::Peer;
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
    /// Hold the counts against tests/baselines: 1 if one grew by more than 2 %
    #[arg(long)]
    check: bool,
    /// Make the counts the baselines of this compiler; with nothing left out, README.md shows them too
    #[arg(long, conflicts_with = "check")]
    bless: bool,
}

/// Compares, prints the tables, and writes report and records.
///
/// # Errors
///
/// Wrong arguments or workloads (121), what cannot be installed (122), an interruption (130). A policy that fails is
/// no error: its records say so, and the code is 1.
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    carry_out(project, args).map_err(|error| match exit::code_of(&error) {
        Code::INTERRUPTED => exit::failure(
            Code::INTERRUPTED,
            "interrupted: no report was written; one that lies in target/compare is an earlier one",
        ),
        _ => error,
    })
}

/// As [`run()`]; says nothing of an interruption.
fn carry_out(project: &Project, args: &Args) -> Result<Code> {
    let profile = profile(args)?;
    check_setting(args, profile)?;
    let peers = peers::read(project)?;
    let workloads = workload::find(project, &args.workload)?;
    let asked = asked(project, args)?;
    let records = {
        let runner = real(project, &asked, &args.lists.setup, profile)?;
        let progress = Progress::new(plan::steps(&asked, &workloads));
        plan::measure(&runner, &asked, &workloads, &progress)?
    };
    // First what lasts: whoever reads the tables may have gone.
    let report = write(project, args, &records, &workloads, &peers)?;
    let tables = table::draw(&records, &peers, table::Style::Terminal);
    print!("{tables}");
    for failure in report::failures(&records) {
        println!("failed: {failure}");
    }
    println!("report: {}", report.display());
    let mut ok = records.iter().all(|record| record.status == Status::Ok);
    if args.check {
        ok &= show_check(&baseline::check(&records, &baseline::read(project, &records)?), records.len());
    }
    if args.bless {
        for path in baseline::bless(project, &records)? {
            println!("baseline: {}", path.display());
        }
        if is_whole(project, &asked.archs, &asked.policies, &args.workload)? {
            println!("shown in: {}", readme::renew(project, &tables)?.display());
        }
    }
    Ok(if ok { Code::OK } else { Code::FAILED })
}

/// Prints what the check of the baselines came to, of so many records, and returns whether nothing grew.
fn show_check(checked: &baseline::Checked, all: usize) -> bool {
    for note in &checked.notes {
        println!("check: {note}");
    }
    let failed = checked.verdicts.iter().filter_map(|verdict| Some((verdict.error.as_ref()?, &verdict.name)));
    // What is the same for many records is said once.
    let mut errors: BTreeMap<&String, Vec<&str>> = BTreeMap::new();
    failed.for_each(|(error, name)| errors.entry(error).or_default().push(name));
    for (error, names) in &errors {
        let others = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        println!("check failed: {}{others}: {error}", names[0]);
    }
    if errors.is_empty() {
        println!("check: the counts of {} of {all} records hold", checked.verdicts.len());
    }
    errors.is_empty()
}

/// Checks that baselines are made and held with the machine and the images that they are about.
fn check_setting(args: &Args, profile: Profile) -> Result<()> {
    let lists = &args.lists;
    let flags = [
        ("--profile", profile != Profile::Release),
        ("--smp", lists.smp.iter().any(|count| *count != 1)),
        ("--machine", !lists.machine.is_empty()),
        ("--cpu", lists.cpu != [cli::Selected::new("max")]),
        ("--memory", args.memory.is_some()),
    ];
    match flags.iter().find(|(_, other)| (args.check || args.bless) && *other) {
        None => Ok(()),
        Some((flag, _)) => {
            let asked = if args.check { "--check" } else { "--bless" };
            Err(exit::usage(format!("{asked}: baselines are those of the default machine; leave out {flag}")))
        }
    }
}

/// Makes the quick comparison, for `test`: of all shipped workloads, or of those named. It builds what it boots, unless `images` has it.
///
/// # Errors
///
/// As [`run()`].
pub fn quick(
    project: &Project,
    archs: &[Arch],
    policies: &[String],
    workloads: &[String],
    setup: &SetupArgs,
    images: Option<runner::Images<'_>>,
) -> Result<Vec<Record>> {
    let asked = quickly(archs, policies);
    let runner = Qemu { images, ..real(project, &asked, setup, Profile::Release)? };
    plan::measure(&runner, &asked, &workload::find(project, workloads)?, &Progress::silent())
}

/// An image that [`quick`] boots.
pub struct Booted {
    /// Its architecture.
    pub arch: Arch,
    /// Its policy.
    pub policy: String,
    /// What it is built from.
    pub package: String,
    /// Whether with the feature `audit`.
    pub audit: bool,
}

/// The images that [`quick`] boots for all shipped workloads.
///
/// # Errors
///
/// When the workloads cannot be read.
pub fn quick_images(project: &Project, archs: &[Arch], policies: &[String]) -> Result<Vec<Booted>> {
    let workloads = workload::find(project, &[])?;
    let images = plan::images(&quickly(archs, policies), &workloads).into_iter();
    let booted =
        |(arch, policy, package, audit): (_, _, &str, _)| Booted { arch, policy, package: package.into(), audit };
    Ok(images.map(booted).collect())
}

/// What the quick comparison asks for.
fn quickly(archs: &[Arch], policies: &[String]) -> Asked {
    Asked {
        archs: archs.to_vec(),
        policies: policies.to_vec(),
        smp: Vec::new(),
        machines: vec![None],
        cpus: vec![cli::Selected::new("max")],
        memory: None,
        timeout: None,
        quick: true,
        jobs: parallel::default_jobs(),
    }
}

/// What README.md shows wrongly, given all records of all workloads; `None` when it is right.
///
/// # Errors
///
/// When a file cannot be read.
pub fn stale_readme(project: &Project, records: &[Record]) -> Result<Option<String>> {
    readme::stale(project, &table::draw(records, &peers::read(project)?, table::Style::Terminal))
}

/// Whether nothing is left out: what `cargo xtask compare` does when nothing is named.
///
/// # Errors
///
/// When the policies cannot be listed.
pub fn is_whole(project: &Project, archs: &[Arch], policies: &[String], workloads: &[String]) -> Result<bool> {
    let every_policy = Policy::all(project)?.iter().all(|policy| policies.contains(&policy.to_string()));
    let every_arch = Arch::EXISTING.iter().all(|arch| archs.contains(arch));
    Ok(every_policy && every_arch && (workloads.is_empty() || workloads == ["all"]))
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
        smp: lists.smp.clone(),
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
    Ok(Qemu { project, toolchains, profile, images: None, loaders: build::Loaders::default() })
}

/// Writes report, figures and records, each whole or not at all; returns where the report lies.
fn write(
    project: &Project,
    args: &Args,
    records: &[Record],
    workloads: &[Workload],
    peers: &[Peer],
) -> Result<PathBuf> {
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
    let figures = figure::all(records, peers);
    let text = |figures: &[Figure]| report::markdown(records, figures, workloads, peers, &origin);
    let page = html::page(&text(&[]), &figures, &origin.invocation);
    let files = figures.iter().map(|figure| (format!("{}.svg", figure.name), figure.picture.file()));
    let before = files.chain([("results.json".to_owned(), json.clone())]);
    let report = folder.join("report.md");
    publish::replace(&folder, before, [("report.html", page), ("report.md", text(&figures))])?;
    if let Some(path) = &args.records.json {
        files::write(path, &json)?;
    }
    Ok(report)
}

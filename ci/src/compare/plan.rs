//! From what was asked for to builds and runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::gather::into_records;
use super::images::{Images, Key};
use super::kind::Kind;
use super::machine::Machine;
use super::record::{Provenance, Record, Setting, Status};
use super::run::{Outcome, carry_out};
use super::runner::Runner;
use super::workload::Workload;
use crate::arch::Arch;
use crate::build::{Image, kind};
use crate::cli::Selected;
use crate::exit::{self, Code};
use crate::parallel::{self, Room};
use crate::progress::Progress;
use crate::qemu::Guest;

/// The policy that savings are counted against.
pub const REFERENCE: &str = "static";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Architectures.
    pub archs: Vec<Arch>,
    /// Stack policies.
    pub policies: Vec<String>,
    /// Numbers of CPUs; none: what the workload names.
    pub smp: Vec<u8>,
    /// QEMU's machine types; `None` is the architecture's default.
    pub machines: Vec<Option<Selected>>,
    /// QEMU's CPU models.
    pub cpus: Vec<Selected>,
    /// The guest's memory, if not what the workload names.
    pub memory: Option<String>,
    /// The time-out, if not what the workload names.
    pub timeout: Option<Duration>,
    /// Each run once.
    pub quick: bool,
    /// How many guests run side by side.
    pub jobs: usize,
}

/// One run to make.
pub struct Job<'a> {
    /// What is run.
    pub workload: &'a Workload,
    /// The published machine.
    pub machine: Option<&'a Machine>,
    /// Where it is run.
    pub setting: Setting,
    /// The guest, but for its image.
    pub guest: Guest,
    /// What it boots; then the same with the feature `audit`, for what only that measures.
    pub images: Vec<Key>,
    /// Whether the run is made only to compare others with it.
    pub reference_only: bool,
}

/// Makes every run that was asked for.
///
/// # Errors
///
/// Only what ends the whole comparison: an interruption, a missing program, a full disk, wrong arguments. A policy whose build or
/// run fails has a record that says so.
pub fn measure(runner: &dyn Runner, asked: &Asked, workloads: &[Workload], progress: &Progress) -> Result<Vec<Record>> {
    // Of all architectures before the first build, and again after the last run: what lies between is one state.
    let states: Vec<_> = asked.archs.iter().map(|arch| runner.provenance(*arch)).collect();
    let mut groups = Vec::new();
    for (arch, state) in asked.archs.iter().zip(&states) {
        let jobs = jobs(asked, *arch, workloads);
        let outcomes = carry_all_out(runner, asked, (*arch, &jobs), progress)?;
        groups.push(into_records(state, &jobs, &outcomes));
    }
    for ((arch, state), records) in asked.archs.iter().zip(&states).zip(&mut groups) {
        if let Some(change) = change(state, &runner.provenance(*arch)) {
            records.iter_mut().for_each(|record| discard(record, &change));
        }
    }
    Ok(groups.concat())
}

/// Builds what the runs of one architecture boot, and makes them: beside each other, so that a run is made while the next image is built.
fn carry_all_out(
    runner: &dyn Runner,
    asked: &Asked,
    (arch, jobs): (Arch, &[Job<'_>]),
    progress: &Progress,
) -> Result<Vec<Outcome>> {
    let (images, stop) = (Images::of(jobs), AtomicBool::new(false));
    let work = |index| {
        let outcome = match images.keys().get(index) {
            Some(key) => build(runner, (arch, key), progress).map(|image| {
                images.put(key, image);
                None
            }),
            None => carry_out(runner, asked, &jobs[index - images.keys().len()], &images, progress).map(Some),
        };
        stop.fetch_or(outcome.is_err(), Ordering::SeqCst);
        outcome
    };
    let answers = parallel::in_order(Room::of(asked.jobs), &images.order(jobs), |index| {
        // What ends all ends it at once.
        (!stop.load(Ordering::SeqCst)).then(|| work(index))
    });
    Ok(answers.into_iter().flatten().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// What is another than before, in one line.
fn change(before: &Provenance, after: &Provenance) -> Option<String> {
    let pairs = [
        ("commit", &before.commit, &after.commit),
        ("rustc", &before.rustc, &after.rustc),
        ("QEMU", &before.qemu, &after.qemu),
    ];
    let (what, before, after) = pairs.into_iter().find(|(_, before, after)| before != after)?;
    Some(format!("{what} changed during the comparison: it was {before}, then {after}"))
}

/// Takes the figures from a record that mixes two states.
fn discard(record: &mut Record, change: &str) {
    record.status = Status::Failed;
    record.figures.clear();
    record.series.clear();
    record.error = Some(match record.error.take() {
        None => change.to_owned(),
        Some(error) => format!("{change}; besides: {error}"),
    });
}

/// The images that [`measure`] boots, in the order in which it asks for them: architecture, policy, package, and whether with the feature
/// `audit`.
pub fn images<'a>(asked: &Asked, workloads: &'a [Workload]) -> Vec<(Arch, String, &'a str, bool)> {
    let of = |arch: Arch, workload: &'a Workload| {
        let kinds = builds(workload);
        let policies = policies(asked, workload).into_iter();
        policies.flat_map(move |(policy, _)| {
            kinds.iter().map(move |audit| (arch, policy.clone(), workload.package(), *audit))
        })
    };
    asked.archs.iter().flat_map(|arch| workloads.iter().flat_map(move |workload| of(*arch, workload))).collect()
}

/// How many steps [`measure`] reports: builds and runs.
pub fn steps(asked: &Asked, workloads: &[Workload]) -> usize {
    let of_arch = |arch: &Arch| {
        let jobs = jobs(asked, *arch, workloads);
        jobs.len() + Images::of(&jobs).keys().len()
    };
    asked.archs.iter().map(of_arch).sum()
}

/// The images of a workload under a policy: whether each is built with the feature `audit`.
fn builds(workload: &Workload) -> &'static [bool] {
    if workload.kind.is_audits() {
        &[true]
    } else if workload.kind.audit_keys().is_empty() {
        &[false]
    } else {
        &[false, true]
    }
}

/// The policies to run, the reference first and marked when nobody asked for it.
fn policies(asked: &Asked, workload: &Workload) -> Vec<(String, bool)> {
    let mut policies: Vec<_> = asked.policies.iter().map(|name| (name.clone(), false)).collect();
    if workload.kind == Kind::IdleMachines && !asked.policies.iter().any(|name| name == REFERENCE) {
        policies.insert(0, (REFERENCE.into(), true));
    }
    policies
}

/// The runs of one architecture.
fn jobs<'a>(asked: &Asked, arch: Arch, workloads: &'a [Workload]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for workload in workloads {
        for (policy, reference_only) in policies(asked, workload) {
            let key =
                |audit: &bool| Key { policy: policy.clone(), package: workload.package().to_owned(), audit: *audit };
            let images: Vec<_> = builds(workload).iter().map(key).collect();
            for (smp, qemu, cpu) in settings(asked, workload) {
                for machine in workload.machines() {
                    let guest = guest(asked, (arch, &policy), workload, machine, (smp, &qemu, &cpu));
                    let setting = Setting {
                        arch: arch.to_string(),
                        policy: policy.clone(),
                        smp,
                        workload: workload.name().to_owned(),
                        machine: machine.map(Machine::name),
                        qemu_machine: guest.machine().to_string(),
                        cpu_model: cpu.to_string(),
                    };
                    jobs.push(Job { workload, machine, setting, guest, images: images.clone(), reference_only });
                }
            }
        }
    }
    jobs
}

/// Builds one image; one that cannot be built is an answer too.
fn build(runner: &dyn Runner, (arch, key): (Arch, &Key), progress: &Progress) -> Result<Result<Image, String>> {
    let Key { policy, package, audit } = key;
    let what = format!("{package} under {} for {arch}", kind(policy, *audit));
    progress.doing(&format!("building {what}"));
    let image = match runner.image(arch, policy, package, *audit) {
        Ok(image) => Ok(image),
        Err(error) if ends_all(&error) => return Err(error),
        Err(error) => Err(format!("no image: {error:#}")),
    };
    progress.done(&format!("{} {what}", if image.is_ok() { "built" } else { "build failed:" }));
    Ok(image)
}

/// Every combination of CPUs, machine type and CPU model that was asked for; a workload may name its CPUs.
fn settings(asked: &Asked, workload: &Workload) -> Vec<(u8, Option<Selected>, Selected)> {
    let mut settings = Vec::new();
    for smp in if asked.smp.is_empty() { workload.smp() } else { asked.smp.clone() } {
        for machine in &asked.machines {
            settings.extend(asked.cpus.iter().map(|cpu| (smp, machine.clone(), cpu.clone())));
        }
    }
    settings
}

/// The machine of one run; its image is filled in later.
fn guest(
    asked: &Asked,
    (arch, policy): (Arch, &str),
    workload: &Workload,
    machine: Option<&Machine>,
    (smp, qemu, cpu): (u8, &Option<Selected>, &Selected),
) -> Guest {
    Guest {
        words: workload.words(machine),
        machine: qemu.clone(),
        cpu: cpu.clone(),
        memory: asked.memory.clone().unwrap_or_else(|| workload.memory(policy).to_owned()),
        smp,
        counted: true,
        ..Guest::new(arch, "")
    }
}

/// Whether an error ends the whole comparison.
fn ends_all(error: &anyhow::Error) -> bool {
    exit::ends_all(error) || exit::code_of(error) == Code::USAGE
}

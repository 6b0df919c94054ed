//! From runs to records: what needs the reference is derived here.

use super::line::Figures;
use super::measure;
use super::plan::{Job, REFERENCE};
use super::record::{Provenance, Record, Setting, Status};
use super::run::Outcome;

/// Derives what needs the reference, and makes records of what was asked for.
pub fn into_records(provenance: &Provenance, jobs: &[Job<'_>], outcomes: &[Outcome]) -> Vec<Record> {
    let mut records = Vec::new();
    for (job, outcome) in jobs.iter().zip(outcomes) {
        if job.reference_only {
            continue;
        }
        let mut outcome = outcome.clone();
        if let (Status::Ok, Some(machine)) = (outcome.status, job.machine) {
            let reference = reference(jobs, outcomes, &job.setting);
            if let Err(error) = measure::derive(&mut outcome.figures, machine, reference) {
                outcome.status = Status::Failed;
                outcome.error = Some(error);
            }
        }
        records.push(Record {
            setting: job.setting.clone(),
            status: outcome.status,
            error: outcome.error,
            provenance: provenance.clone(),
            command: outcome.command,
            figures: outcome.figures,
            series: outcome.series,
        });
    }
    records
}

/// The figures of the reference policy in the same setting, if it ran.
fn reference<'a>(jobs: &[Job<'_>], outcomes: &'a [Outcome], setting: &Setting) -> Option<&'a Figures> {
    let same = |job: &Job<'_>| {
        let other = &job.setting;
        other.policy == REFERENCE
            && (&other.workload, other.smp, &other.machine) == (&setting.workload, setting.smp, &setting.machine)
            && (&other.qemu_machine, &other.cpu_model) == (&setting.qemu_machine, &setting.cpu_model)
    };
    let (_, outcome) = jobs.iter().zip(outcomes).find(|(job, _)| same(job))?;
    (outcome.status == Status::Ok).then_some(&outcome.figures)
}

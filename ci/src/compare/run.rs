//! Makes one run: boots the guest, reads its record line, and repeats it to see that both agree.

use std::time::Duration;

use anyhow::Result;

use super::images::Images;
use super::kind::Kind;
use super::line::{self, Figures};
use super::plan::{Asked, Job};
use super::record::{Setting, Status};
use super::runner::Runner;
use super::series::{self, Series};
use crate::build::Image;
use crate::exit;
use crate::progress::Progress;
use crate::qemu::{Ending, Guest};

/// What came of a run.
#[derive(Clone)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// What went wrong, in one line.
    pub error: Option<String>,
    /// What was measured.
    pub figures: Figures,
    /// What was measured at several points.
    pub series: Series,
    /// The exact command.
    pub command: String,
}

impl Outcome {
    /// A run that measured nothing.
    fn lost(status: Status, error: impl Into<String>, command: String) -> Self {
        let error = error.into().lines().collect::<Vec<_>>().join("; ");
        Self { status, error: Some(error), figures: Figures::new(), series: Series::new(), command }
    }
}

/// Makes one run, as often as it is to be repeated.
///
/// # Errors
///
/// Only what ends the whole comparison: an interruption, no QEMU, or a full disk.
pub fn carry_out(
    runner: &dyn Runner,
    asked: &Asked,
    job: &Job<'_>,
    images: &Images,
    progress: &Progress,
) -> Result<Outcome> {
    let name = describe(&job.setting);
    let images = images.take(job);
    let image = match &images[0] {
        Ok(image) => image,
        Err(error) => {
            progress.done(&format!("{name}: not run"));
            let Setting { arch, policy, .. } = &job.setting;
            let command = format!("cargo xtask image {} --arch {arch} --policy {policy}", job.workload.package());
            return Ok(Outcome::lost(Status::Failed, error, command));
        }
    };
    progress.doing(&format!("running {name}"));
    let (kind, several) = (job.workload.kind, job.setting.smp > 1);
    let keys = [kind.keys(), if several { kind.keys_of_several_cpus() } else { &[] }].concat();
    let mut outcome = repeat(runner, asked, job, image, &keys)?;
    if outcome.status == Status::Ok {
        if kind == Kind::Boot {
            let bytes = runner.image_bytes(image)?;
            outcome.figures.insert("image_bytes".to_owned(), bytes as f64);
        }
        if several {
            // They take turns on one host thread: their time adds up and is no one's. The image with the feature audit measures
            // nothing else.
            outcome.figures.retain(|key, _| !key.ends_with("_insns"));
        } else if let Some(audit) = images.get(1) {
            outcome = with_audit(runner, asked, job, audit, outcome)?;
        }
    }
    progress.done(&match &outcome.error {
        None => format!("{name}: ok"),
        Some(error) => format!("{name}: {error}"),
    });
    Ok(outcome)
}

/// Adds what only the image with the feature `audit` measures.
fn with_audit(
    runner: &dyn Runner,
    asked: &Asked,
    job: &Job<'_>,
    image: &Result<Image, String>,
    plain: Outcome,
) -> Result<Outcome> {
    let audit = match image {
        Ok(image) => repeat(runner, asked, job, image, job.workload.kind.audit_keys())?,
        Err(error) => Outcome::lost(Status::Failed, error, plain.command.clone()),
    };
    // Two commands that a shell runs one after the other.
    let command = if image.is_ok() { format!("{}; {}", plain.command, audit.command) } else { plain.command };
    Ok(match audit.error {
        None => Outcome { figures: plain.figures.into_iter().chain(audit.figures).collect(), command, ..plain },
        Some(error) => Outcome::lost(audit.status, format!("with the feature audit: {error}"), command),
    })
}

/// Makes a run as often as it is to be repeated.
fn repeat(runner: &dyn Runner, asked: &Asked, job: &Job<'_>, image: &Image, keys: &[&str]) -> Result<Outcome> {
    let guest = &Guest { image: image.bootable.clone(), ..job.guest.clone() };
    let repetitions = if asked.quick { 1 } else { job.workload.repetitions() };
    let mut outcome = run_once(runner, asked, job, guest, keys)?;
    for _ in 1..repetitions {
        if outcome.status != Status::Ok {
            break;
        }
        let again = run_once(runner, asked, job, guest, keys)?;
        outcome = agree(outcome, again);
    }
    Ok(outcome)
}

/// Boots the guest once and reads its record line.
fn run_once(runner: &dyn Runner, asked: &Asked, job: &Job<'_>, guest: &Guest, keys: &[&str]) -> Result<Outcome> {
    let timeout = asked.timeout.unwrap_or(Duration::from_secs(job.workload.timeout_seconds().into()));
    let report = runner.boot(guest, &format!("compare-{}", job.workload.name()), timeout)?;
    let lost = |status, error| Ok(Outcome::lost(status, error, report.command.clone()));
    let error = || report.error().unwrap_or_else(|| "it failed".into());
    match report.ending {
        Ending::Interrupted => return Err(exit::interrupted()),
        Ending::TimedOut => return lost(Status::Timeout, error()),
        Ending::Crashed(_) => return lost(Status::Crashed, error()),
        Ending::Guest { code: 0, .. } => {}
        Ending::Guest { .. } => return lost(Status::Failed, with_last_words(error(), &report.output)),
    }
    let kind = job.workload.kind;
    let measured =
        line::read(&report.output, kind, keys).and_then(|figures| Ok((figures, series::read(&report.output, kind)?)));
    match measured {
        Ok((figures, series)) => {
            Ok(Outcome { status: Status::Ok, error: None, figures, series, command: report.command })
        }
        Err(error) => lost(Status::Failed, error),
    }
}

/// Adds the error that `main` returned, which the guest has printed.
fn with_last_words(error: String, output: &str) -> String {
    let words = output.lines().rev().find_map(|line| line.trim_end().strip_prefix("Error: "));
    words.map_or_else(|| error.clone(), |words| format!("{error}: {words}"))
}

/// Holds a repeated run against the first: two runs agree to the digit, or nothing was measured.
fn agree(first: Outcome, again: Outcome) -> Outcome {
    if again.status != Status::Ok {
        return again;
    }
    let differs = first.figures.iter().find(|(key, value)| again.figures.get(*key) != Some(value));
    let differs = differs.map(|(key, value)| {
        let other = again.figures.get(key).copied().unwrap_or_default();
        format!("{key} was {value}, then {other}")
    });
    match differs.or_else(|| series::difference(&first.series, &again.series)) {
        None => first,
        Some(differs) => Outcome::lost(Status::Failed, format!("two runs disagree: {differs}"), again.command),
    }
}

/// A run's name for people.
fn describe(setting: &Setting) -> String {
    let Setting { arch, policy, workload, machine, smp, .. } = setting;
    let machine = machine.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
    let smp = if *smp > 1 { format!(", {smp} CPUs") } else { String::new() };
    format!("{workload}{machine}, {policy}, {arch}{smp}")
}

//! The cases that are this tool's own checks: arrows, lint, documentation, comparison.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::case::{Case, Group, Outcome};
use super::images::{Images, Key};
use crate::arch::Arch;
use crate::cli::{Profile, SetupArgs};
use crate::compare::{self, baseline, limits};
use crate::lint::step::TIMEOUT;
use crate::lint::steps::{self, Bare};
use crate::progress::Progress;
use crate::project::Project;
use crate::{deps, docs, exit, sizes};

/// How long a comparison may take, as it is shown; each of its runs has its own time-out.
const COMPARE: Duration = Duration::from_secs(1500);
/// How long one command of the documentation may take.
const COMMAND: Duration = Duration::from_secs(600);

/// The arrows.
pub fn deps(project: &Project) -> Case {
    let project = project.clone();
    let run = move || {
        let findings = deps::check(project.root())?.findings;
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        Ok(vec![Outcome::of(lines.is_empty(), lines.join("\n"))])
    };
    Case::new("deps", Group::Deps, TIMEOUT, run)
}

/// Each check of lint.
///
/// # Errors
///
/// When the workspace cannot be read.
pub fn lint(project: &Project, compilers: &[Bare]) -> Result<Vec<Case>> {
    let case = |step: crate::lint::step::Step| {
        let (name, fills) = (format!("lint::{}", step.name), Some(step.fills));
        let run = move || {
            let checked = (step.run)()?;
            Ok(vec![Outcome::of(checked.ok, checked.output)])
        };
        Case { fills, ..Case::new(name, Group::Lint, TIMEOUT, run) }
    };
    Ok(steps::steps(project, compilers)?.into_iter().map(case).collect())
}

/// Each page of the documentation.
///
/// # Errors
///
/// When a page cannot be read.
pub fn docs(project: &Project) -> Result<Vec<Case>> {
    let case = |page: docs::Page| {
        let project = project.clone();
        let name = format!("docs::{}", page.name);
        let run = move || {
            let failures = docs::carry_out(&project, &page, COMMAND)?;
            Ok(vec![Outcome::of(failures.is_empty(), failures.join("\n"))])
        };
        Case::new(name, Group::Docs, COMMAND, run)
    };
    Ok(docs::pages(project)?.into_iter().map(case).collect())
}

/// How much stack the images of `tests/stack-sizes/budget.toml` may take. Images that guests have been built from are there already.
pub fn stack_sizes(project: &Project, setup: SetupArgs) -> Case {
    let project = project.clone();
    let run = move || {
        let wrong = sizes::check(&project, &setup, &Progress::silent())?;
        Ok(vec![Outcome::of(wrong.is_empty(), wrong.join("\n"))])
    };
    Case::new("stack-sizes", Group::Sizes, COMMAND, run)
}

/// The quick comparison: each record and each promise about it a test, each record's counts against the baselines, and
/// what README.md shows of it. `workloads` narrows it, if any are named. It boots `images`, or else builds its own.
pub fn compare(
    project: &Project,
    archs: Vec<Arch>,
    policies: Vec<String>,
    workloads: Vec<String>,
    setup: SetupArgs,
    images: Option<Arc<Images>>,
) -> Case {
    let project = project.clone();
    let run = move || {
        let shared = |arch: Arch, policy: &str, package: &str, audit| {
            let images = images.as_ref().context("there are no images to share")?;
            images.get(&key(arch, policy, package, audit)?)?.map_err(|why| anyhow!(why))
        };
        let from = images.is_some().then_some(&shared as _);
        let records = compare::quick(&project, &archs, &policies, &workloads, &setup, from)?;
        let outcome = |name: String, error: Option<String>| match error {
            None => Outcome::passed(name),
            Some(error) => Outcome::failed(name, error),
        };
        let held = baseline::check(&records, &baseline::read(&project, &records)?);
        let mut outcomes: Vec<_> = limits::judge(&records)
            .into_iter()
            .chain(held.verdicts)
            .map(|verdict| outcome(verdict.name, verdict.error))
            .collect();
        // Another compiler makes other counts than those shown.
        if held.notes.is_empty() && compare::is_whole(&project, &archs, &policies, &workloads)? {
            outcomes.push(outcome("README.md".into(), compare::stale_readme(&project, &records)?));
        }
        Ok(outcomes)
    };
    Case::new("compare", Group::Compare, COMPARE, run)
}

/// The images that [`compare()`] boots.
///
/// # Errors
///
/// When the workloads or the policies cannot be read.
pub fn compared(project: &Project, archs: &[Arch], policies: &[String]) -> Result<Vec<Key>> {
    let booted = compare::quick_images(project, archs, policies)?;
    booted.iter().map(|image| key(image.arch, &image.policy, &image.package, image.audit)).collect()
}

/// An image of the comparison.
fn key(arch: Arch, policy: &str, package: &str, audit: bool) -> Result<Key> {
    Ok(Key {
        package: package.to_owned(),
        bin: None,
        policy: policy.parse().map_err(exit::usage)?,
        audit,
        arch: arch.name(),
        profile: Profile::Release,
        loader: None,
    })
}

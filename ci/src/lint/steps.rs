//! The checks of `lint`, in order: the quick ones first.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::members::{self, Member};
use super::step::{Checked, Step};
use super::{house_rules, tree};
use crate::arch::Arch;
use crate::policy::Policy;
use crate::project::Project;
use crate::toolchain::{self, HOST, Toolchain, find_program};

/// A bare-metal compiler and what it is to check.
#[derive(Clone)]
pub struct Bare {
    /// The architecture.
    pub arch: Arch,
    /// Its compiler.
    pub toolchain: Toolchain,
}

/// Lists every check.
///
/// # Errors
///
/// When the workspace cannot be read.
pub fn steps(project: &Project, bare: &[Bare]) -> Result<Vec<Step>> {
    let mut steps = vec![
        format_step(project),
        house_step(project),
        scripts_step(project)?,
        host_clippy(project),
        host_docs(project),
    ];
    let policies = Policy::all(project)?;
    for bare in bare {
        steps.extend(bare_steps(project, bare, &policies)?);
    }
    Ok(steps)
}

/// rustfmt over every member.
fn format_step(project: &Project) -> Step {
    let project = project.clone();
    Step::commands("rustfmt", move || {
        let mut command = toolchain::host_cargo("fmt")?;
        command.arg("--manifest-path").arg(project.manifest()).args(["--all", "--", "--check"]);
        Ok(vec![command])
    })
}

/// The house rules over every source file.
fn house_step(project: &Project) -> Step {
    let root = project.root().to_owned();
    let run = move || {
        let house = house_rules(&root)?;
        let lines: Vec<_> = house.findings.iter().map(|finding| format!("{finding}\n")).collect();
        Ok(Checked { ok: house.findings.is_empty(), output: lines.concat(), timed_out: false })
    };
    Step { name: "house rules".into(), fills: HOST, run: Box::new(run) }
}

/// Scripts: the shell's own syntax check, and shellcheck where it is installed.
fn scripts_step(project: &Project) -> Result<Step> {
    let scripts = scripts(project)?;
    let shellcheck = find_program("shellcheck");
    let name = if shellcheck.is_some() { "scripts (sh -n, shellcheck)" } else { "scripts (sh -n; no shellcheck here)" };
    Ok(Step::commands(name, move || {
        let mut commands = Vec::new();
        for script in &scripts {
            let mut syntax = Command::new("sh");
            syntax.arg("-n").arg(script);
            commands.push(syntax);
            if let Some(shellcheck) = &shellcheck {
                let mut command = Command::new(shellcheck);
                command.arg(script);
                commands.push(command);
            }
        }
        Ok(commands)
    }))
}

/// The files that begin with `#!` and name a shell.
fn scripts(project: &Project) -> Result<Vec<PathBuf>> {
    let is_script = |path: &PathBuf| {
        let first = std::fs::read(path).unwrap_or_default();
        let line = String::from_utf8_lossy(first.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
        line.starts_with("#!") && line.ends_with("sh")
    };
    Ok(tree::files(project.root())?.into_iter().filter(is_script).collect())
}

/// Clippy over the default members and their tests.
fn host_clippy(project: &Project) -> Step {
    let project = project.clone();
    Step::commands("clippy, host", move || {
        let mut command = toolchain::host_cargo("clippy")?;
        command.arg("--manifest-path").arg(project.manifest()).args([
            "--all-targets",
            "--quiet",
            "--keep-going",
            "--",
            "-Dwarnings",
        ]);
        Ok(vec![command.current(&project)])
    })
}

/// Documentation of the default members.
fn host_docs(project: &Project) -> Step {
    let project = project.clone();
    Step::commands("docs, host", move || {
        let mut command = toolchain::host_cargo("doc")?;
        command.arg("--manifest-path").arg(project.manifest()).args(["--no-deps", "--quiet", "--keep-going"]);
        command.env("RUSTDOCFLAGS", "-Dwarnings");
        Ok(vec![command.current(&project)])
    })
}

/// Clippy and documentation for one architecture: what needs no policy once, the rest once per policy; but the pages of apps once.
fn bare_steps(project: &Project, bare: &Bare, policies: &[Policy]) -> Result<Vec<Step>> {
    let members: Vec<_> = members::bare(project)?.into_iter().filter(|member| member.is_for(bare.arch)).collect();
    let (with, without): (Vec<&Member>, Vec<&Member>) = members.iter().partition(|member| member.has_policy());
    let arch = bare.arch;
    let mut steps = Vec::new();
    let mut step = |verb, suffix: &str, members: &[&Member], policy: Option<&Policy>| {
        let names: Vec<_> = members.iter().map(|member| member.package.name.to_string()).collect();
        if !names.is_empty() {
            let title = if verb == "doc" { "docs" } else { verb };
            steps.push(bare_step(project, bare, verb, format!("{title}, {suffix}"), &names, policy));
        }
    };
    step("clippy", arch.name(), &without, None);
    step("doc", arch.name(), &without, None);
    for policy in policies {
        let suffix = format!("{arch}, {policy}");
        let these: Vec<_> = with.iter().copied().filter(|member| member.accepts(policy, policies)).collect();
        step("clippy", &suffix, &these, Some(policy));
        // What an app's pages say and point at is the same under each policy, so they are made under one of them.
        let is_first = |member: &&&Member| {
            let first = policies.iter().find(|policy| member.accepts(policy, policies));
            !member.is_app() || first == Some(policy)
        };
        step("doc", &suffix, &these.iter().filter(is_first).copied().collect::<Vec<_>>(), Some(policy));
    }
    Ok(steps)
}

/// One cargo call for bare metal.
fn bare_step(
    project: &Project,
    bare: &Bare,
    verb: &'static str,
    name: String,
    packages: &[String],
    policy: Option<&Policy>,
) -> Step {
    let (project, bare) = (project.clone(), bare.clone());
    let packages: Vec<_> = packages.iter().flat_map(|name| ["--package".to_owned(), name.clone()]).collect();
    let features = policy.map(|policy| format!("ebbtide/{policy}"));
    let fills = bare.arch.name();
    let step = Step::commands(name, move || {
        let mut command = bare.toolchain.bare_cargo(&project, bare.arch, verb)?;
        command
            .arg("--manifest-path")
            .arg(project.manifest())
            .args(["--quiet", "--keep-going"])
            .args(["--profile", "release"])
            .args(&packages);
        if let Some(features) = &features {
            command.args(["--features", features]);
        }
        if verb == "doc" {
            // The image's configuration says the second flag to rustc alone.
            command.arg("--no-deps").env("RUSTDOCFLAGS", "-Dwarnings --cfg=ebbtide_image");
        } else {
            command.args(["--", "-Dwarnings"]);
        }
        Ok(vec![command.current(&project)])
    });
    Step { fills, ..step }
}

/// Commands that run in the repository, wherever the tool was started.
trait InRepository {
    /// The same command, at the repository's root.
    fn current(self, project: &Project) -> Self;
}

impl InRepository for Command {
    fn current(mut self, project: &Project) -> Self {
        self.current_dir(project.root());
        self
    }
}

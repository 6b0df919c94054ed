//! The host's tests: `cargo test` of one package, its own counts parsed and held against its lines; and loom's models.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use cargo_metadata::{MetadataCommand, Package};

use super::case::{Case, Group, Outcome, Verdict};
use crate::lint::step::captured;
use crate::project::Project;
use crate::toolchain::{self, Compiler, HOST};

/// How long the tests of one package may take, their build included.
const TIMEOUT: Duration = Duration::from_secs(900);

/// The package whose lock-free parts loom tries in every order, and the name of the modules that hold the models.
const LOOM: [&str; 2] = ["ebbtide-core", "models"];

/// A package with tests for the host.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Its name.
    pub name: String,
    /// Whether it is tested as a library alone.
    pub lib: bool,
}

/// One case for each package with tests for the host, and one for loom's models.
///
/// # Errors
///
/// When the workspace cannot be read.
pub fn cases(project: &Project) -> Result<Vec<Case>> {
    let mut cases: Vec<_> = packages(project)?.into_iter().map(|package| case(project, package)).collect();
    cases.push(loom(project));
    Ok(cases)
}

/// The packages that build on every host, and those that build on hosts of this architecture: such a package says so in
/// its manifest, by `[package.metadata.ebbtide]` with `host-tests = "ARCH"`, and is tested as a library alone.
///
/// # Errors
///
/// When the workspace cannot be read.
pub fn packages(project: &Project) -> Result<Vec<Tested>> {
    let mut command = MetadataCommand::new();
    if let Some(compiler) = Compiler::active() {
        command.cargo_path(compiler.program("cargo"));
    }
    let metadata = command.manifest_path(project.manifest()).no_deps().exec().context("reading the workspace")?;
    let tested = |lib| move |package: &Package| Tested { name: package.name.to_string(), lib };
    let everywhere = metadata.workspace_default_packages().into_iter().map(tested(false));
    let here = metadata.workspace_packages().into_iter().filter(|package| is_for_this_host(package)).map(tested(true));
    Ok(everywhere.chain(here).collect())
}

/// Says whether a package's manifest wants its library tested on hosts of this architecture.
fn is_for_this_host(package: &Package) -> bool {
    package.metadata["ebbtide"]["host-tests"] == std::env::consts::ARCH
}

/// The tests of one package.
fn case(project: &Project, package: Tested) -> Case {
    let project = project.clone();
    let name = format!("host::{}", package.name);
    let run = move || {
        let mut command = toolchain::host_cargo("test")?;
        command.arg("--manifest-path").arg(project.manifest()).args(["--package", &package.name, "--no-fail-fast"]);
        if package.lib {
            command.arg("--lib");
        }
        let ran = captured(command.current_dir(project.root()), Some(TIMEOUT))?;
        Ok(judge(ran.ok, &ran.output))
    };
    Case { fills: Some(HOST), ..Case::new(name, Group::Host, TIMEOUT, run) }
}

/// loom's models.
fn loom(project: &Project) -> Case {
    let project = project.clone();
    let run = move || {
        let ran = captured(loom_command(&project)?.arg(LOOM[1]), Some(TIMEOUT))?;
        let mut outcomes = judge(ran.ok, &ran.output);
        if outcomes.is_empty() {
            outcomes.push(Outcome::failed("", format!("no model was run\n{}", ran.output.trim_end())));
        }
        Ok(outcomes)
    };
    Case { fills: Some("loom"), ..Case::new("host::loom", Group::Host, TIMEOUT, run) }
}

/// `cargo test` with loom's atomics; the tests' names are still to be added.
///
/// # Errors
///
/// When there is no cargo (122).
pub fn loom_command(project: &Project) -> Result<Command> {
    let mut command = toolchain::host_cargo("test")?;
    command
        .arg("--manifest-path")
        .arg(project.manifest())
        .args(["--package", LOOM[0], "--lib", "--release", "--no-fail-fast"])
        // Other flags are other builds of all that is needed, so they have a folder of their own.
        .arg("--target-dir")
        .arg(project.root().join("target/loom"))
        .env("RUSTFLAGS", "--cfg loom")
        .current_dir(project.root());
    Ok(command)
}

/// Reads what `cargo test` printed.
pub fn judge(ok: bool, output: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut binary = Binary::default();
    let mut complaints = Vec::new();
    let mut ended = false;
    for line in output.lines() {
        let line = line.trim_end();
        if let Some(name) = started(line) {
            binary = Binary { name, seen: 0 };
        } else if let Some(outcome) = test(&binary.name, line) {
            binary.seen += 1;
            outcomes.push(outcome);
        } else if let Some(announced) = total(line) {
            ended = true;
            if announced != binary.seen {
                complaints.push(format!("{} announced {announced} tests, {} were seen", binary.name, binary.seen));
            }
            binary.seen = 0;
        }
    }
    let failed = outcomes.iter().any(|outcome| matches!(outcome.verdict, Verdict::Failed(_)));
    if !ended {
        complaints.push("no `test result:` line: no test program was run to its end".into());
    }
    if !ok && !failed {
        complaints.push("cargo test failed".into());
    }
    if !complaints.is_empty() {
        outcomes.push(Outcome::failed("", format!("{}\n{}", complaints.join("; "), output.trim_end())));
    } else if failed {
        // The tests' own output stands once, with the first that failed.
        if let Some(first) = outcomes.iter_mut().find(|outcome| matches!(outcome.verdict, Verdict::Failed(_))) {
            first.verdict = Verdict::Failed(details(output));
        }
    }
    outcomes
}

/// The test program that is running.
#[derive(Default)]
struct Binary {
    name: String,
    seen: usize,
}

/// The name of a test program that starts: `unittests src/lib.rs`, `tests/ui.rs`, `Doc-tests ebbtide_core`.
fn started(line: &str) -> Option<String> {
    let line = line.trim_start();
    if line.starts_with("Doc-tests ") {
        return Some("doc".into());
    }
    let (what, _) = line.strip_prefix("Running ")?.rsplit_once(" (")?;
    Some(what.trim_start_matches("unittests ").to_owned())
}

/// One test's line.
fn test(binary: &str, line: &str) -> Option<Outcome> {
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = format!("{binary}::{name}");
    let verdict = match verdict.split(',').next()? {
        "ok" => Verdict::Passed,
        "ignored" => Verdict::Skipped,
        other => Verdict::Failed(other.to_owned()),
    };
    Some(Outcome { name, verdict })
}

/// The number of tests that a program's last line adds up to.
fn total(line: &str) -> Option<usize> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |part: &str| part.split_whitespace().next()?.parse::<usize>().ok();
    let parts: Vec<_> = rest.split("; ").take(3).map(number).collect();
    parts.into_iter().sum()
}

/// From the first failure's output on.
fn details(output: &str) -> String {
    let lines: Vec<_> = output.lines().collect();
    let from = lines.iter().position(|line| line.trim_end() == "failures:").unwrap_or(0);
    format!("FAILED\n{}", lines[from..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::test::case::{Counts, Done, Group, Outcome};

    const GOOD: &str = "   Compiling x v0.1.0\n     Running unittests src/lib.rs (target/debug/deps/x-1)\n\nrunning 3 tests\n\
                        test a ... ok\ntest b - should panic ... ok\ntest c ... ignored, slow\n\n\
                        test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n   \
                        Doc-tests x\n\nrunning 1 test\ntest src/lib.rs - f (line 3) ... ok\n\n\
                        test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";

    fn counts(outcomes: Vec<Outcome>) -> Counts {
        Done { name: "host::x".into(), group: Group::Host, duration: Default::default(), outcomes }.counts()
    }

    #[test]
    fn cargos_own_counts_are_taken() {
        let outcomes = judge(true, GOOD);
        assert_eq!(outcomes[0], Outcome::passed("src/lib.rs::a"));
        assert_eq!(counts(outcomes), Counts { passed: 3, failed: 0, skipped: 1 });
    }

    #[test]
    fn failures_and_disagreement_count() {
        let failed =
            GOOD.replace("test a ... ok", "test a ... FAILED").replace("2 passed; 0 failed", "1 passed; 1 failed");
        assert_eq!(counts(judge(false, &failed)), Counts { passed: 2, failed: 1, skipped: 1 });
        let lost = GOOD.replace("test a ... ok\n", "");
        assert_eq!(counts(judge(true, &lost)).failed, 1);
        assert_eq!(counts(judge(false, GOOD)).failed, 1, "cargo's status counts too");
        assert_eq!(counts(judge(true, "    Finished\n")).failed, 1, "nothing was run");
        assert_eq!(counts(judge(false, "error: could not compile\n")).failed, 1);
    }
}

//! Runs the tests that mutants name, on the copy as it is at that moment.

use std::time::Duration;

use anyhow::Result;

use super::red::{GuestRed, Known, Red};
use crate::arch::Arch;
use crate::cli::{Profile, SetupArgs};
use crate::lint::step::captured;
use crate::lint::steps::Bare;
use crate::project::Project;
use crate::qemu::Ending;
use crate::test::case::{Outcome, Verdict};
use crate::test::guest::{Machine, boot_once};
use crate::test::images::{Images, Key};
use crate::test::{host, own};
use crate::toolchain;

/// How long a build for the host may take.
const BUILD: Duration = Duration::from_secs(900);
/// How long the tests that one name means may take on the host. A mutant may well hang.
const TEST: Duration = Duration::from_secs(120);

/// What a test came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Came {
    /// It passed.
    Passed,
    /// It failed.
    Failed(String),
    /// Its time was up.
    TimedOut(String),
    /// It is not there.
    NotFound(String),
    /// The code does not build.
    NotBuilt(String),
}

impl Came {
    /// Why it is not the pass that it must be on the code as it is.
    pub fn why_not_green(&self) -> Option<String> {
        match self {
            Self::Passed => None,
            Self::Failed(why) => Some(format!("it fails:\n{why}")),
            other => other.why_no_verdict(),
        }
    }

    /// Why it is not the failure that it must be on a mutant; whether a time-out is one, and what a failure says, the
    /// mutant knows.
    pub fn why_not_red(&self, by_timeout: bool, says: Option<&str>) -> Option<String> {
        match (self, says) {
            (Self::Failed(why), Some(says)) if !why.contains(says) => {
                Some(format!("it fails for another reason: nowhere does it say `{says}`:\n{why}"))
            }
            _ => self.why_no_failure(by_timeout),
        }
    }

    fn why_no_failure(&self, by_timeout: bool) -> Option<String> {
        match self {
            Self::Failed(_) => None,
            Self::TimedOut(_) if by_timeout => None,
            Self::Passed => Some("it passes: no test notices what is broken".to_owned()),
            other => other.why_no_verdict(),
        }
    }

    fn why_no_verdict(&self) -> Option<String> {
        match self {
            Self::Passed | Self::Failed(_) => None,
            Self::TimedOut(why) => {
                Some(format!("its time was up; if that is how it fails, say `Red-by: timeout`:\n{why}"))
            }
            Self::NotFound(why) => Some(format!("no such test ran:\n{why}")),
            Self::NotBuilt(why) => Some(format!("the code does not build:\n{why}")),
        }
    }
}

/// What tests need.
pub struct Trial {
    /// Packages, guests, policies.
    pub known: Known,
    /// The compilers for guests; empty where no guest is asked for.
    pub compilers: Vec<Bare>,
    /// How a compiler is found.
    pub setup: SetupArgs,
}

impl Trial {
    /// Tests the code that lies in `project` now. No image of another state of it is used.
    pub fn on<'a>(&'a self, project: &'a Project) -> OnCode<'a> {
        OnCode { trial: self, project, images: Images::new(project, self.compilers.clone()) }
    }
}

/// Tests of one state of the code.
pub struct OnCode<'a> {
    trial: &'a Trial,
    project: &'a Project,
    images: Images,
}

impl OnCode<'_> {
    /// Runs a test.
    ///
    /// # Errors
    ///
    /// An interruption, a missing tool, or what hinders the tool itself.
    pub fn run(&self, red: &Red) -> Result<Came> {
        match red {
            Red::Host { package, test } => self.host(package, test),
            Red::Loom { test } => on_host(|| host::loom_command(self.project), test),
            Red::Guest(red) => self.guest(red),
            Red::Compare { test } => self.compare(test),
        }
    }

    fn host(&self, package: &str, test: &str) -> Result<Came> {
        let package = match self.trial.known.package(package) {
            Ok(package) => package,
            Err(what) => return Ok(Came::NotFound(what)),
        };
        let command = || {
            let mut command = toolchain::host_cargo("test")?;
            command
                .arg("--manifest-path")
                .arg(self.project.manifest())
                .args(["--package", &package.name, if package.lib { "--lib" } else { "--tests" }, "--no-fail-fast"])
                // Never the folder that the repository's own builds go to.
                .arg("--target-dir")
                .arg(self.project.root().join("target"))
                .current_dir(self.project.root());
            Ok(command)
        };
        on_host(command, test)
    }

    fn guest(&self, red: &GuestRed) -> Result<Came> {
        let (case, test, policy) = match self.trial.known.guest(red) {
            Ok(found) => found,
            Err(what) => return Ok(Came::NotFound(what)),
        };
        let key = Key {
            package: case.package.clone(),
            bin: case.bin.clone(),
            policy: policy.clone(),
            audit: red.audit || case.audit,
            arch: red.arch.name(),
            profile: case.profile.unwrap_or(Profile::Release),
            loader: case.loader.clone(),
        };
        let image = match self.images.get(&key)? {
            Ok(image) => image,
            Err(why) => return Ok(Came::NotBuilt(why)),
        };
        let booted = boot_once(self.project, case, &key, red.arch, &Machine::of(case), &image, &case.name)?;
        Ok(guest_came(&booted.ending, &booted.outcomes, test, red.code))
    }

    /// Only the workload that the test's name begins with is run.
    fn compare(&self, test: &str) -> Result<Came> {
        let policies = self.trial.known.policies.iter().map(ToString::to_string).collect();
        let workload = test.split("::").take(1).map(str::to_owned).collect();
        let (archs, setup) = (Arch::EXISTING.to_vec(), self.trial.setup.clone());
        let compared = own::compare(self.project, archs, policies, workload, setup, None);
        Ok(named((compared.run)()?, test, |name| name))
    }
}

/// Builds tests for the host, and runs those that a name means.
fn on_host(command: impl Fn() -> Result<std::process::Command>, test: &str) -> Result<Came> {
    let built = captured(command()?.arg("--no-run"), Some(BUILD))?;
    if !built.ok {
        return Ok(Came::NotBuilt(built.output));
    }
    // One thread: a test's name is printed before it runs, so a program that dies says in which.
    let mut command = command()?;
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true").args([test, "--", "--test-threads=1"]);
    let ran = captured(&mut command, Some(TEST))?;
    if ran.timed_out {
        return Ok(Came::TimedOut(ran.output));
    }
    let died =
        ran.output.lines().any(|line| line.strip_prefix("test ").is_some_and(|name| name.trim_end().ends_with(" ...")));
    let outcomes = host::judge(ran.ok, &ran.output);
    match named(outcomes, test, |name| name.split_once("::").map_or(name, |(_, test)| test)) {
        Came::NotFound(_) if died => Ok(Came::Failed(ran.output)),
        Came::NotFound(_) => Ok(Came::NotFound(ran.output)),
        // All of it: what a test said stands with the first one that failed.
        Came::Failed(_) => Ok(Came::Failed(ran.output)),
        came => Ok(came),
    }
}

/// What a guest came to, of which one test is meant, or the whole, or its end.
fn guest_came(ending: &Ending, outcomes: &[Outcome], test: Option<&str>, code: Option<u8>) -> Came {
    let whys = || {
        let why = |outcome: &Outcome| match &outcome.verdict {
            Verdict::Failed(why) => Some(format!("{} {why}", outcome.name)),
            _ => None,
        };
        outcomes.iter().filter_map(why).collect::<Vec<_>>().join("\n")
    };
    match (ending, test, code) {
        (Ending::TimedOut, ..) => Came::TimedOut(whys()),
        _ if whys().is_empty() => named(outcomes.to_vec(), test.unwrap_or_default(), |name| name),
        (Ending::Guest { code: ended, .. }, _, Some(code)) if *ended == code => Came::Failed(whys()),
        (_, _, Some(code)) => Came::NotFound(format!("it did not end with {code}, but so:\n{}", whys())),
        (_, None, None) => Came::Failed(whys()),
        (_, Some(test), None) => match named(outcomes.to_vec(), test, |name| name) {
            Came::NotFound(_) => Came::NotFound(format!(
                "it did not report `{test}` before it ended so (`code=N` in `Red` means an end):\n{}",
                whys()
            )),
            came => came,
        },
    }
}

/// Of tests, what that of this name came to, or together those whose names begin with it.
fn named(outcomes: Vec<Outcome>, test: &str, name: impl Fn(&str) -> &str) -> Came {
    let exact = outcomes.iter().any(|outcome| name(&outcome.name) == test);
    let is_meant = |outcome: &Outcome| match name(&outcome.name) {
        found if exact => found == test,
        found => found.starts_with(test),
    };
    let (mut passed, mut names) = (0, Vec::new());
    for outcome in outcomes {
        match &outcome.verdict {
            _ if !is_meant(&outcome) => names.push(outcome.name),
            Verdict::Failed(why) => return Came::Failed(why.clone()),
            Verdict::Passed => passed += 1,
            Verdict::Skipped => {}
        }
    }
    if passed > 0 { Came::Passed } else { Came::NotFound(format!("there were: {}", names.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> Vec<Outcome> {
        vec![
            Outcome::passed("stacks::one"),
            Outcome::failed("stacks::one_more", "2 != 3"),
            Outcome::passed("time::now"),
        ]
    }

    fn failed(why: &str) -> Came {
        Came::Failed(why.to_owned())
    }

    #[test]
    fn a_whole_name_is_that_test_and_part_of_one_is_several() {
        let came = |test| named(suite(), test, |name| name);
        assert_eq!(came("stacks::one"), Came::Passed, "though the other begins so");
        assert_eq!(came("stacks::one_more"), failed("2 != 3"));
        assert_eq!(came("stacks"), failed("2 != 3"));
        assert_eq!(came("time"), Came::Passed);
        assert!(matches!(came("stack::one"), Came::NotFound(_)));
        let skipped = vec![Outcome { name: "slow".to_owned(), verdict: Verdict::Skipped }];
        assert!(matches!(named(skipped, "slow", |name| name), Came::NotFound(_)), "what does not run is not there");
    }

    #[test]
    fn of_a_guest_a_line_the_whole_or_the_end_is_meant() {
        let ended = |code| Ending::Guest { code, reason: "any".to_owned() };
        let came = |ending: &Ending, test, code| guest_came(ending, &suite(), test, code);
        assert_eq!(came(&ended(1), Some("stacks::one_more"), None), failed("2 != 3"));
        assert_eq!(came(&ended(1), Some("time"), None), Came::Passed);
        assert!(matches!(came(&ended(1), None, None), Came::Failed(_)));
        assert!(matches!(came(&ended(107), None, Some(107)), Came::Failed(_)));
        assert!(matches!(came(&ended(1), None, Some(107)), Came::NotFound(_)), "another end proves something else");
        assert!(matches!(came(&ended(101), Some("sync"), None), Came::NotFound(_)), "it never ran");
        assert!(matches!(came(&Ending::TimedOut, None, None), Came::TimedOut(_)));
        let good = [Outcome::passed("stacks::one")];
        assert_eq!(guest_came(&ended(0), &good, None, Some(107)), Came::Passed);
        assert_eq!(guest_came(&ended(0), &[Outcome::passed("")], None, None), Came::Passed);
    }

    #[test]
    fn only_a_failure_is_red_and_a_time_out_where_it_is_meant() {
        let all = [
            Came::Passed,
            failed("a"),
            Came::TimedOut("b".to_owned()),
            Came::NotFound("c".to_owned()),
            Came::NotBuilt("d".to_owned()),
        ];
        let red = |by_timeout| all.iter().map(|came| came.why_not_red(by_timeout, None).is_none()).collect::<Vec<_>>();
        assert_eq!(red(false), [false, true, false, false, false]);
        assert_eq!(red(true), [false, true, true, false, false]);
        assert_eq!(failed("1 != 2").why_not_red(false, Some("!= 2")), None);
        assert!(failed("1 != 2").why_not_red(false, Some("!= 3")).is_some(), "another reason proves something else");
        let green: Vec<_> = all.iter().map(|came| came.why_not_green().is_none()).collect();
        assert_eq!(green, [true, false, false, false, false]);
    }
}

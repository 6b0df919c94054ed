//! Carries cases out, and says what came of them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Error, Result};

use super::case::{Case, Done, Group, Outcome};
use super::{order, summary};
use crate::exit::{self, Code};
use crate::parallel::{self, Room};
use crate::progress::Progress;
use crate::{files, process};

/// What was run, and what ended it before all was.
pub struct Ran {
    /// What ran.
    pub done: Vec<Done>,
    /// Why it ended early.
    pub stopped: Option<Error>,
}

/// How many runs it takes to run each case `repeat` times, if it can come out in more than one way, or once.
pub fn runs(cases: &[Case], repeat: u32) -> usize {
    let varying = cases.iter().filter(|case| case.group.can_vary()).count();
    cases.len() + varying * (repeat as usize - 1)
}

/// Runs every case, and again as often as is asked for, if it can come out in more than one way.
pub fn run_all(cases: &[Case], repeat: u32, guests: Room) -> Ran {
    let progress = Progress::new(runs(cases, repeat));
    let mut all = Ran { done: Vec::new(), stopped: None };
    let stop = AtomicBool::new(false);
    for round in 1..=repeat {
        for groups in Group::ALL {
            let is_due = |case: &&Case| groups.contains(&case.group) && (round == 1 || case.group.can_vary());
            let these: Vec<_> = cases.iter().filter(is_due).collect();
            let room = if groups.contains(&Group::Guest) { guests } else { Room::of(1) };
            let ran = parallel::in_order(room, &order::of(&these), |index| {
                let ran = (!stop.load(Ordering::SeqCst)).then(|| run_one(these[index], round, &progress))?;
                stop.fetch_or(ran.is_err(), Ordering::SeqCst);
                Some(ran)
            });
            for one in ran.into_iter().flatten() {
                match one {
                    Ok(done) => all.done.push(done),
                    Err(error) => all.stopped = all.stopped.or(Some(error)),
                }
            }
        }
    }
    if process::interrupted() {
        all.stopped = Some(exit::interrupted());
    }
    all
}

/// Runs one case and shows what came of it.
fn run_one(case: &Case, round: u32, progress: &Progress) -> Result<Done> {
    if process::interrupted() {
        return Err(exit::interrupted());
    }
    progress.doing(&format!("test {} [at most {} s]", case.name, case.timeout.as_secs()));
    let start = Instant::now();
    let outcomes = match (case.run)() {
        Ok(outcomes) => outcomes,
        Err(error) if exit::ends_all(&error) => return Err(error),
        Err(error) => vec![Outcome::failed("", format!("{error:#}"))],
    };
    let name = if round == 1 { case.name.clone() } else { format!("{}#{round}", case.name) };
    let done = Done { name, group: case.group, duration: start.elapsed(), outcomes };
    progress.done(&summary::line(&done, case.timeout));
    Ok(done)
}

/// How many cases have no outcome.
#[derive(Clone, Copy)]
pub struct Rest {
    /// Left out by the filter.
    pub left_out: usize,
    /// Not run, because the run ended early.
    pub not_run: usize,
}

/// The files that were asked for.
pub struct Files<'a> {
    /// For the records.
    pub json: Option<&'a Path>,
    /// For the results in JUnit's format.
    pub junit: Option<&'a Path>,
}

impl Files<'_> {
    /// Removes what an earlier run left in their place.
    ///
    /// # Errors
    ///
    /// A file cannot be removed.
    pub fn remove(&self) -> Result<()> {
        for path in [self.json, self.junit].into_iter().flatten().filter(|path| path.exists()) {
            std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// Writes the files, and prints what `text` makes of it, whose last line counts; the code to end with.
///
/// # Errors
///
/// What ended the run early, or why a file cannot be written.
pub fn conclude(ran: Ran, rest: Rest, files: &Files<'_>, text: &dyn Fn(&[Done], Rest) -> String) -> Result<Code> {
    let Ran { done, stopped } = ran;
    let written = write(files, &done, rest);
    print!("{}", text(&done, rest));
    if let Some(error) = stopped {
        if let Err(error) = written {
            eprintln!("error: {error:#}");
        }
        return Err(error);
    }
    written?;
    let counts = summary::counts(&done, rest.left_out);
    Ok(if counts.failed == 0 && counts.passed > 0 { Code::OK } else { Code::FAILED })
}

/// Writes the files, each whole or not at all.
fn write(files: &Files<'_>, done: &[Done], rest: Rest) -> Result<()> {
    if let Some(path) = files.json {
        let text = serde_json::to_string_pretty(&summary::json(done, rest))?;
        files::write(path, text + "\n")?;
    }
    if let Some(path) = files.junit {
        files::write(path, summary::junit(done, rest.not_run)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ran, run_all, runs};
    use crate::exit::{self, Code, code_of};
    use crate::parallel::Room;
    use crate::test::case::{Case, Group, Outcome};

    fn case(name: &str, run: fn() -> anyhow::Result<Vec<Outcome>>) -> Case {
        Case { load: 1, ..Case::new(name, Group::Guest, Duration::from_secs(1), run) }
    }

    #[test]
    fn an_error_fails_its_case_and_a_missing_tool_ends_the_run() {
        let cases = [
            case("breaks", || Err(anyhow::anyhow!("disk full").context("writing"))),
            case("passes", || Ok(vec![Outcome::passed("")])),
            case("lacks", || Err(exit::missing("no clippy"))),
            case("late", || Ok(vec![Outcome::passed("")])),
        ];
        let Ran { done, stopped } = run_all(&cases, 1, Room::of(1));
        assert_eq!(done.len(), 2);
        assert_eq!(done[0].outcomes, [Outcome::failed("", "writing: disk full")]);
        assert_eq!(stopped.map(|error| code_of(&error)), Some(Code::MISSING));
    }

    #[test]
    fn only_what_can_vary_runs_again() {
        let passes = |group| Case { group, ..case(&group.to_string(), || Ok(vec![Outcome::passed("")])) };
        let cases = [Group::Lint, Group::Host, Group::Build, Group::Guest, Group::Docs, Group::Compare].map(passes);
        let done = run_all(&cases, 3, Room::of(2)).done;
        let names: Vec<_> = done.iter().map(|one| one.name.as_str()).collect();
        let first = ["lint", "host", "build", "guest", "docs", "compare"];
        assert_eq!(names, [&first[..], &["host#2", "guest#2", "host#3", "guest#3"]].concat());
        assert_eq!(done.len(), runs(&cases, 3));
    }
}

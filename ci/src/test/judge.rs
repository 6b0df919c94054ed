//! Judges a guest's run: by its end, its last line, its own counts and the lines that it had to print.
//!
//! Nothing passes by silence: a suite that prints no total, or a total that its lines do not add up to, has failed.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

use super::case::{Outcome, Verdict};
use super::manifest::{Expect, GuestCase, Kind};
use crate::qemu::{Ending, Report};
use crate::symbols::with_names;

/// Judges a run; `elf` names the functions of a backtrace.
pub fn judge(case: &GuestCase, policy: &str, report: &Report, elf: &Path) -> Vec<Outcome> {
    // Backtraces as a user of `run` sees them: the lines that a case expects may name functions.
    let output = with_names(&report.output, elf);
    let mut outcomes = match case.kind {
        Kind::Suite => tests_of(&report.output),
        Kind::End | Kind::Damaged => Vec::new(),
    };
    let as_a_whole = match case.kind {
        Kind::Suite => suite(&outcomes, case, policy, report, &output),
        Kind::End | Kind::Damaged => end(&case.expect, policy, report, &output),
    };
    match (as_a_whole, case.kind) {
        (Ok(()), Kind::Suite) => {}
        (Ok(()), Kind::End | Kind::Damaged) => outcomes.push(Outcome::passed("")),
        (Err(why), _) => outcomes.push(Outcome::failed("", format!("{why}\n{}", report.last_words(elf)))),
    }
    match &case.fails {
        Some(why) => outcomes.into_iter().map(|outcome| failing(outcome, why)).collect(),
        None => outcomes,
    }
}

/// What comes of a test that is known to fail.
fn failing(outcome: Outcome, why: &str) -> Outcome {
    match outcome.verdict {
        Verdict::Passed => Outcome::failed(outcome.name, format!("it passes now, though `fails` says: {why}")),
        Verdict::Failed(_) | Verdict::Skipped => Outcome::passed(outcome.name),
    }
}

/// Judges the end of a guest, whose output got names.
fn end(expect: &Expect, policy: &str, report: &Report, output: &str) -> Result<(), String> {
    match &report.ending {
        Ending::Guest { code, reason } => {
            let word = expect.reason.as_ref().unwrap_or(reason);
            if (*code, reason) != (expect.code, word) {
                let wanted = expect.reason.as_ref().map(|word| format!(" ({word})"));
                return Err(format!(
                    "it ended with {code} ({reason}), expected {}{}",
                    expect.code,
                    wanted.unwrap_or_default()
                ));
            }
        }
        _ => return Err(report.error().unwrap_or_else(|| "it did not end".into())),
    }
    lines(expect, policy, output)
}

/// Checks the lines that must be there, in order, and those that must not.
fn lines(expect: &Expect, policy: &str, output: &str) -> Result<(), String> {
    let regex = |pattern: &String| {
        let pattern = pattern.replace("{policy}", &regex::escape(policy));
        Regex::new(&pattern).map_err(|error| error.to_string())
    };
    let mut rest = output.lines().map(|line| line.trim_end());
    for pattern in &expect.lines {
        let wanted = regex(pattern)?;
        if !rest.any(|line| wanted.is_match(line)) {
            return Err(format!("no line matches `{pattern}` (or not in this order)"));
        }
    }
    for pattern in &expect.absent {
        let unwanted = regex(pattern)?;
        if let Some(line) = output.lines().find(|line| unwanted.is_match(line.trim_end())) {
            return Err(format!("`{pattern}` must match no line, but matches `{}`", line.trim_end()));
        }
    }
    Ok(())
}

/// The tests that a suite reports, one a line.
fn tests_of(output: &str) -> Vec<Outcome> {
    let line = |line: &str| {
        let (name, verdict) = line.trim_end().strip_prefix("test ")?.split_once(" ... ")?;
        match verdict {
            "ok" => Some(Outcome::passed(name)),
            _ => Some(Outcome::failed(name, verdict.strip_prefix("FAILED: ").unwrap_or(verdict))),
        }
    };
    output.lines().filter_map(line).collect()
}

/// Judges a suite as a whole: each test once, the announced total, the end, the lines.
fn suite(outcomes: &[Outcome], case: &GuestCase, policy: &str, report: &Report, output: &str) -> Result<(), String> {
    let mut names = BTreeSet::new();
    if let Some(twice) = outcomes.iter().find(|outcome| !names.insert(&outcome.name)) {
        return Err(format!("the test `{}` is reported twice", twice.name));
    }
    let passed = outcomes.iter().filter(|outcome| **outcome == Outcome::passed(&*outcome.name)).count();
    let failed = outcomes.len() - passed;
    match total(&report.output) {
        _ if !matches!(report.ending, Ending::Guest { .. }) => {
            let why = report.error().unwrap_or_else(|| "it did not end".into());
            return Err(format!("after {} reported tests: {why}", outcomes.len()));
        }
        None => {
            return Err("it announced no total (`tests: P passed, F failed`), or more than one".into());
        }
        Some(counts) if counts != (passed, failed) => {
            let (p, f) = counts;
            return Err(format!("it announced {p} passed, {f} failed, but reported {passed} passed, {failed} failed"));
        }
        Some((0, 0)) => return Err("it holds no test".into()),
        Some(_) => {}
    }
    match &report.ending {
        // The tests that failed speak for themselves; but a suite must know that it failed.
        Ending::Guest { code: 1..=99, .. } if failed > 0 => Ok(()),
        Ending::Guest { code: 0, .. } if failed > 0 => Err("tests failed, but it ended with 0".into()),
        _ => end(&case.expect, policy, report, output),
    }
}

/// The announced total, if there is exactly one.
fn total(output: &str) -> Option<(usize, usize)> {
    let line = |line: &str| {
        let (passed, failed) =
            line.trim_end().strip_prefix("tests: ")?.strip_suffix(" failed")?.split_once(" passed, ")?;
        Some((passed.parse().ok()?, failed.parse().ok()?))
    };
    let mut totals = output.lines().filter_map(line);
    totals.next().filter(|_| totals.next().is_none())
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

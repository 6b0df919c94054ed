//! What is shown and written at the end.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::case::{Counts, Done, Group, Verdict};
use super::runner::Rest;

/// How many of the slowest cases are shown.
const SLOWEST: usize = 10;

/// The end of a run of tests: the slowest, what failed, and the line that scripts look for.
pub fn text(done: &[Done], rest: Rest) -> String {
    let mut text = String::from("slowest:\n");
    let mut slowest: Vec<_> = done.iter().collect();
    slowest.sort_by_key(|one| std::cmp::Reverse(one.duration));
    for one in slowest.iter().take(SLOWEST) {
        let _ = writeln!(text, "  {:7.1} s  {}", one.duration.as_secs_f64(), one.name);
    }
    for one in done {
        for outcome in &one.outcomes {
            if let Verdict::Failed(why) = &outcome.verdict {
                let _ = writeln!(text, "failed: {}: {}", one.full_name(outcome), first_line(why));
            }
        }
    }
    text + &last_line(done, rest)
}

/// The line that scripts look for. When cases are left because the run ended early, it says that instead.
pub fn last_line(done: &[Done], rest: Rest) -> String {
    let counts = counts(done, rest.left_out);
    match rest.not_run {
        0 => format!("{counts}\n"),
        not_run => format!("incomplete: {counts}, and {}\n", early(not_run)),
    }
}

/// Why a run is not whole.
fn early(not_run: usize) -> String {
    format!("{not_run} not run: the run ended early")
}

/// The sum of all counts; cases that a filter left out are skipped ones.
pub fn counts(done: &[Done], left_out: usize) -> Counts {
    let mut counts: Counts = done.iter().map(Done::counts).sum();
    counts.skipped += left_out;
    counts
}

/// The line of a case that has run, and what was said by the tests that failed.
pub fn line(done: &Done, timeout: Duration) -> String {
    let counts = done.counts();
    let verdict = if counts.failed == 0 { "ok" } else { "FAILED" };
    let many = if done.outcomes.len() == 1 { String::new() } else { format!(" ({counts})") };
    let (took, limit) = (done.duration.as_secs_f64(), timeout.as_secs_f64());
    let mut text = format!("test {} ... {verdict}{many} [{took:.1} s of {limit:.0} s]", done.name);
    for outcome in &done.outcomes {
        if let Verdict::Failed(why) = &outcome.verdict {
            let _ = write!(text, "\n  {}:\n    {}", done.full_name(outcome), why.trim_end().replace('\n', "\n    "));
        }
    }
    text
}

/// The records of all tests.
pub fn json(done: &[Done], rest: Rest) -> Value {
    let record = |one: &Done| {
        let seconds = one.duration.as_secs_f64();
        let record = |outcome| test_record(one, outcome, seconds);
        one.outcomes.iter().map(record).collect::<Vec<_>>()
    };
    let Counts { passed, failed, skipped } = counts(done, rest.left_out);
    json!({
        "schema": 1,
        "complete": rest.not_run == 0,
        "not_run": rest.not_run,
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "records": done.iter().flat_map(record).collect::<Vec<_>>(),
    })
}

/// One test as a record: `seconds` are its case's.
fn test_record(done: &Done, outcome: &super::case::Outcome, seconds: f64) -> Value {
    let mut record = json!({
        "name": done.full_name(outcome),
        "case": done.name,
        "group": done.group.to_string(),
        "case_seconds": (seconds * 1000.0).round() / 1000.0,
    });
    let (status, error) = match &outcome.verdict {
        Verdict::Passed => ("ok", None),
        Verdict::Skipped => ("skipped", None),
        Verdict::Failed(why) => ("failed", Some(first_line(why))),
    };
    record["status"] = status.into();
    if let Some(error) = error {
        record["error"] = error.into();
    }
    record
}

/// The same as JUnit's XML, a suite for each group.
///
/// # Errors
///
/// Never in practice: everything written is text.
pub fn junit(done: &[Done], not_run: usize) -> Result<String> {
    let mut report = quick_junit::Report::new("ebbtide");
    for group in Group::ALL.iter().copied().flatten() {
        let mut suite = TestSuite::new(group.to_string());
        for one in done.iter().filter(|one| one.group == *group) {
            suite.add_test_cases(one.outcomes.iter().map(|outcome| junit_case(one, outcome)));
        }
        if suite.tests > 0 {
            report.add_test_suite(suite);
        }
    }
    if not_run > 0 {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(early(not_run));
        let mut suite = TestSuite::new("incomplete");
        suite.add_test_case(TestCase::new("incomplete", status));
        report.add_test_suite(suite);
    }
    report.to_string().context("writing JUnit's format")
}

/// One test for JUnit.
fn junit_case(done: &Done, outcome: &super::case::Outcome) -> TestCase {
    let status = match &outcome.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Skipped => TestCaseStatus::skipped(),
        Verdict::Failed(why) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(first_line(why)).set_description(why.clone());
            status
        }
    };
    let mut case = TestCase::new(done.full_name(outcome), status);
    if done.outcomes.len() == 1 {
        case.set_time(done.duration);
    }
    case
}

/// The first line of a reason.
fn first_line(why: &str) -> &str {
    why.lines().next().unwrap_or("failed")
}

#[cfg(test)]
mod tests {
    use super::{json, junit, line, text};
    use crate::test::case::{Done, Group, Outcome};
    use crate::test::runner::Rest;
    use std::time::Duration;

    fn done() -> Vec<Done> {
        let one = |name: &str, seconds, outcomes| Done {
            name: name.into(),
            group: Group::Guest,
            duration: Duration::from_secs(seconds),
            outcomes,
        };
        let mut all: Vec<_> = (0..12).map(|n| one(&format!("quick{n}"), n, vec![Outcome::passed("")])).collect();
        let failed = Outcome::failed("b", "first <line>\n| last words");
        all.push(one("suite", 99, vec![Outcome::passed("a"), failed]));
        all
    }

    #[test]
    fn the_last_line_counts_and_stands_alone() {
        let text = text(&done(), Rest { left_out: 3, not_run: 0 });
        assert_eq!(text.lines().next_back(), Some("13 passed, 1 failed, 3 skipped"));
        assert_eq!(text.lines().filter(|line| line.ends_with("quick11") || line.ends_with(" suite")).count(), 2);
        assert_eq!(text.lines().filter(|line| line.contains(" s  ")).count(), 10);
        assert!(text.contains("failed: suite::b: first <line>\n"), "{text}");
    }

    #[test]
    fn a_case_shows_its_time_out_and_why_it_failed() {
        let suite = done().pop().expect("there are some");
        let line = line(&suite, Duration::from_secs(120));
        assert!(
            line.starts_with("test suite ... FAILED (1 passed, 1 failed, 0 skipped) [99.0 s of 120 s]\n"),
            "{line}"
        );
        assert!(line.contains("| last words"), "{line}");
    }

    #[test]
    fn a_run_that_ended_early_never_looks_whole() {
        let text = text(&done(), Rest { left_out: 3, not_run: 2 });
        assert_eq!(text.lines().next_back().map(|line| line.starts_with("incomplete: ")), Some(true), "{text}");
        let value = json(&done(), Rest { left_out: 0, not_run: 2 });
        assert_eq!((&value["complete"], &value["not_run"]), (&false.into(), &2.into()));
        let xml = junit(&done(), 2).expect("text");
        assert!(xml.contains("errors=\"1\"") && xml.contains("2 not run"), "{xml}");
    }

    #[test]
    fn a_reader_of_junits_format_finds_every_test() {
        let xml = junit(&done(), 2).expect("text");
        let read = junit_parser::from_reader(xml.as_bytes()).expect("JUnit's format");
        assert_eq!((read.tests, read.failures, read.errors), (15, 1, 1));
        let failed = read.suites.iter().flat_map(|suite| &suite.cases).find(|case| case.status.is_failure());
        assert_eq!(failed.map(|case| case.name.as_str()), Some("suite::b"));
    }

    #[test]
    fn files_hold_every_test() {
        let value = json(&done(), Rest { left_out: 0, not_run: 0 });
        assert_eq!(value["records"].as_array().map(Vec::len), Some(14));
        assert_eq!((&value["passed"], &value["records"][13]["status"]), (&13.into(), &"failed".into()));
        let xml = junit(&done(), 0).expect("text");
        assert!(
            xml.contains("tests=\"14\"") && xml.contains("failures=\"1\"") && xml.contains("first &lt;line&gt;"),
            "{xml}"
        );
    }
}

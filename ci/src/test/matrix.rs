//! `cargo xtask matrix`: guests alone, on all that is named: {architecture × policy × profile × CPUs × machine × CPU model}.
//!
//! The cases are those of `test`, or an own list. It ends with a table of what came of each build's cases, each failure with its guest's
//! last lines, and the line that counts; and always leaves its results in two files, for machines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::case::{Case, Counts, Done, Group, Verdict};
use super::filter::Filter;
use super::flags::{Flags, print_names};
use super::guest::{self, Lists};
use super::images::Images;
use super::prepare;
use super::runner::{Files, Rest, conclude, run_all};
use super::summary::last_line;
use crate::cli::{self, Profile};
use crate::compare::table::{Style, grid};
use crate::exit::{self, Code};
use crate::parallel::Room;
use crate::policy::Policy;
use crate::project::Project;

/// The arguments of `matrix`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Numbers of CPUs, 1 to 16, for cases that are not about a number of their own
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,4", value_parser = cli::cpus)]
    smp: Vec<u8>,
    /// A list of cases, in the form of tests/cases.toml, which is taken without this
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Where the tests' records go [default: target/ebbtide/matrix/results.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the results go in JUnit's format [default: target/ebbtide/matrix/junit.xml]
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs the matrix; ends with the line `N passed, N failed, N skipped`.
///
/// # Errors
///
/// When something to install is missing (122), the list of cases is wrong (121), or at an interruption (130).
pub fn run(project: &Project, args: &Args) -> Result<Code> {
    let flags = &args.flags;
    let all = cases(project, args)?;
    let count = guests(&all);
    let cases = wanted(all, &flags.filter);
    if cases.is_empty() {
        return Err(if flags.filter.is_given() && count > 0 {
            flags.filter.leaves_none_of(count, "guests")
        } else {
            exit::usage("none of the cases runs on what was named; --list without flags shows all".to_owned())
        });
    }
    if flags.list {
        print_names(&cases);
        return Ok(Code::OK);
    }
    let folder = project.output().join("matrix");
    let (json, junit) = (folder.join("results.json"), folder.join("junit.xml"));
    let files = Files {
        json: Some(args.json.as_deref().unwrap_or(&json)),
        junit: Some(args.junit.as_deref().unwrap_or(&junit)),
    };
    // What an earlier run left is not this one's.
    files.remove()?;
    let ran = run_all(&cases, 1, Room::for_guests(flags.jobs));
    let rest = Rest { left_out: count - guests(&cases), not_run: cases.len() - ran.done.len() };
    conclude(ran, rest, &files, &|done, rest| text(&cases, done, rest))
}

fn guests(cases: &[Case]) -> usize {
    cases.iter().filter(|case| case.group == Group::Guest).count()
}

/// All cases: builds, and guests.
fn cases(project: &Project, args: &Args) -> Result<Vec<Case>> {
    let all = Policy::all(project)?;
    let lists = Lists { cases: args.cases.clone(), ..args.flags.lists(&all, &args.smp) };
    let compilers = prepare(project, &lists, &args.flags.setup)?;
    guest::cases(project, &lists, &all, &Arc::new(Images::new(project, compilers)), Vec::new())
}

/// The guests that are wanted, and the builds of their images.
fn wanted(cases: Vec<Case>, filter: &Filter) -> Vec<Case> {
    if !filter.is_given() {
        return cases;
    }
    let (builds, mut guests): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.group == Group::Build);
    guests.retain(|case| filter.wants(&case.name));
    let is_needed = |build: &Case| guests.iter().any(|guest| guest.after.as_ref() == Some(&build.name));
    let mut kept: Vec<_> = builds.into_iter().filter(is_needed).collect();
    kept.append(&mut guests);
    kept
}

/// What came of the guests that run the same build, and of builds: a row of the table.
#[derive(Default)]
struct Row {
    counts: Counts,
    not_run: usize,
}

/// The table, the failures, and the line that counts.
fn text(cases: &[Case], done: &[Done], rest: Rest) -> String {
    let mut rows = BTreeMap::<String, Row>::new();
    for case in cases {
        rows.entry(built(&case.name)).or_default().not_run += 1;
    }
    for one in done {
        let row = rows.entry(built(&one.name)).or_default();
        row.counts = [std::mem::take(&mut row.counts), one.counts()].into_iter().sum();
        row.not_run -= 1;
    }
    let row = |(name, row): (String, Row)| {
        let numbers = [row.counts.passed, row.counts.failed, row.not_run].map(|count| count.to_string());
        [name].into_iter().chain(numbers).collect()
    };
    let cells: Vec<Vec<String>> = rows.into_iter().map(row).collect();
    let heads = ["image", "passed", "failed", "cases\nnot run"].map(String::from);
    let mut text = grid(&heads, &cells, 1..heads.len(), Style::Terminal);
    for one in done {
        for outcome in &one.outcomes {
            if let Verdict::Failed(why) = &outcome.verdict {
                let why = why.trim_end().replace('\n', "\n    ");
                let _ = writeln!(text, "failed: {}:\n    {why}", one.full_name(outcome));
            }
        }
    }
    text + &last_line(done, rest)
}

/// What a case's name says of its build: architecture, policy, and profile if it is not the usual one.
fn built(name: &str) -> String {
    let mut parts = name.split("::").skip(1);
    let mut built: Vec<_> = parts.by_ref().take(2).collect();
    built.extend(parts.next().filter(|part| Profile::ALL.iter().any(|profile| profile.name() == *part)));
    built.join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{built, text, wanted};
    use crate::test::case::{Case, Done, Group, Outcome};
    use crate::test::filter::Filter;
    use crate::test::runner::Rest;

    fn case(name: &str, group: Group, after: Option<&str>) -> Case {
        let run = Box::new(|| Ok(vec![Outcome::passed("")]));
        Case { after: after.map(Into::into), load: 1, ..Case::new(name, group, Duration::from_secs(1), run) }
    }

    fn cases() -> Vec<Case> {
        vec![
            case("build::x86_64::static::hello", Group::Build, None),
            case("build::x86_64::static::dev::ends", Group::Build, None),
            case("guest::x86_64::static::hello::smp4", Group::Guest, Some("build::x86_64::static::hello")),
            case("guest::x86_64::static::dev::panic", Group::Guest, Some("build::x86_64::static::dev::ends")),
        ]
    }

    #[test]
    fn a_filter_keeps_guests_and_what_they_need() {
        let of = |part: &str| Filter { filter: Some(part.into()), ..Filter::default() };
        let names = |filter: Filter| wanted(cases(), &filter).into_iter().map(|case| case.name).collect::<Vec<_>>();
        assert_eq!(names(Filter::default()).len(), 4);
        assert_eq!(names(of("smp4")), ["build::x86_64::static::hello", "guest::x86_64::static::hello::smp4"]);
        assert_eq!(names(of("ends")), [""; 0], "a build alone is nothing that was asked for");
    }

    #[test]
    fn rows_are_builds_and_failures_have_last_words() {
        assert_eq!(built("guest::aarch64::static+audit::suite::smp4::virt"), "aarch64 static+audit");
        let done = |name: &str, outcome| Done {
            name: name.into(),
            group: Group::Guest,
            duration: Duration::from_secs(1),
            outcomes: vec![outcome],
        };
        let ran = [
            done("build::x86_64::static::hello", Outcome::passed("")),
            done("guest::x86_64::static::hello::smp4", Outcome::failed("", "no line\n  | last words\n")),
        ];
        let text = text(&cases(), &ran, Rest { left_out: 3, not_run: 2 });
        let cells = |name: &str| {
            let line = text.lines().find(|line| line.trim().starts_with(name)).unwrap_or_else(|| panic!("{text}"));
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>()
        };
        assert_eq!(cells("x86_64 static  "), [1, 1, 0]);
        assert_eq!(cells("x86_64 static dev"), [0, 0, 2]);
        assert!(
            text.contains("failed: guest::x86_64::static::hello::smp4:\n    no line\n      | last words\n"),
            "{text}"
        );
        assert!(
            text.ends_with("incomplete: 1 passed, 1 failed, 3 skipped, and 2 not run: the run ended early\n"),
            "{text}"
        );
    }
}

//! The model of a test: a case, and what came of it.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::parallel::CPU;

/// The kinds of cases, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Group {
    /// The arrows.
    Deps,
    /// Formatting, clippy, docs, house rules.
    Lint,
    /// `cargo test` of what builds on the host.
    Host,
    /// Builds of the guests' images.
    Build,
    /// Guests in QEMU.
    Guest,
    /// How much stack images take, by their code.
    Sizes,
    /// The documentation's code blocks.
    Docs,
    /// The quick comparison and its promises.
    Compare,
    /// Code that is broken on purpose.
    Mutants,
}

impl Group {
    /// All groups, in order: those that stand together run together, as far as they do not [fill](Case::fills) the same folder. All
    /// others use all CPUs, or what is made by the ones before.
    pub const ALL: &'static [&'static [Self]] = &[
        &[Self::Deps],
        &[Self::Lint, Self::Host, Self::Build, Self::Guest],
        &[Self::Sizes],
        &[Self::Docs],
        &[Self::Compare],
        &[Self::Mutants],
    ];

    /// Whether the same files can come to something else when it runs again: what is only read, built or counted cannot.
    pub fn can_vary(self) -> bool {
        matches!(self, Self::Host | Self::Guest | Self::Mutants)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Deps => "deps",
            Self::Lint => "lint",
            Self::Host => "host",
            Self::Build => "build",
            Self::Guest => "guest",
            Self::Sizes => "sizes",
            Self::Docs => "docs",
            Self::Compare => "compare",
            Self::Mutants => "mutants",
        })
    }
}

/// How a case is carried out. An interruption or a missing tool ends the whole run of
/// tests; another error is a failure.
pub type Work = Box<dyn Fn() -> Result<Vec<Outcome>> + Send + Sync>;

/// A case: one thing that runs once, and may hold several tests.
pub struct Case {
    /// The whole name, as `guest::x86_64::static::traps`.
    pub name: String,
    /// The kind.
    pub group: Group,
    /// The case that it waits for, if that is run too: the build of its image.
    pub after: Option<String>,
    /// The folder that cargo fills for it, by a name: cargo locks it, so one of those that fill it runs at a time.
    pub fills: Option<&'static str>,
    /// How much of the host it keeps busy, see [`CPU`].
    pub load: usize,
    /// When it is given up.
    pub timeout: Duration,
    /// Carries it out.
    pub run: Work,
}

impl Case {
    /// One that waits for nothing, fills no folder and keeps one of the host's CPUs busy.
    pub fn new(
        name: impl Into<String>,
        group: Group,
        timeout: Duration,
        run: impl Fn() -> Result<Vec<Outcome>> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), group, after: None, fills: None, load: CPU, timeout, run: Box::new(run) }
    }
}

/// What came of one test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The name within the case; empty when the case is one test.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
}

/// A verdict.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// It failed, for this reason; more lines may follow the first.
    Failed(String),
    /// It says of itself that it is not run (`#[ignore]`).
    Skipped,
}

impl Outcome {
    /// A test that passed.
    pub fn passed(name: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Passed }
    }

    /// A test that failed.
    pub fn failed(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Failed(why.into()) }
    }

    /// The one test of a case, from whether it passed and what was said meanwhile.
    pub fn of(ok: bool, why: impl Into<String>) -> Self {
        if ok { Self::passed("") } else { Self::failed("", why) }
    }
}

/// A case that has run.
#[derive(Clone, Debug)]
pub struct Done {
    /// The case's name.
    pub name: String,
    /// Its kind.
    pub group: Group,
    /// How long it took.
    pub duration: Duration,
    /// Its tests.
    pub outcomes: Vec<Outcome>,
}

impl Done {
    /// How many of its tests passed, failed and were skipped.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            match outcome.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed(_) => counts.failed += 1,
                Verdict::Skipped => counts.skipped += 1,
            }
        }
        counts
    }

    /// The whole name of one of its tests.
    pub fn full_name(&self, outcome: &Outcome) -> String {
        if outcome.name.is_empty() { self.name.clone() } else { format!("{}::{}", self.name, outcome.name) }
    }
}

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Not run.
    pub skipped: usize,
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |sum, one| Self {
            passed: sum.passed + one.passed,
            failed: sum.failed + one.failed,
            skipped: sum.skipped + one.skipped,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

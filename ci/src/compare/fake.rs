//! A stand-in for cargo and QEMU.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use anyhow::{Context, Result};

use super::kind::Kind;
use super::record::Provenance;
use super::runner::Runner;
use crate::arch::Arch;
use crate::build::{Image, kind};
use crate::exit;
use crate::qemu::{Ending, Guest, Report};

/// What the stand-in does with a policy's guests.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Prints figures with this many KiB of stacks a thread.
    Works(u64),
    BuildFails,
    /// Works, but cannot be built with the feature `audit`.
    AuditBuildFails,
    /// Works, but hangs when it is built with the feature `audit`.
    AuditHangs,
    NoCompiler,
    Hangs,
    TripleFaults,
    Panics,
    ReturnsAnError,
    PrintsNothing,
    /// Prints its record, but the points of no series.
    PrintsNoPoints,
    /// Prints other points each time.
    PointsDrift,
    RunsFewer,
    Drifts,
    Interrupted,
    /// Would work, but its log does not fit the disk.
    FillsTheDisk,
    /// Works, and meanwhile somebody checks out another commit.
    CommitMoves,
}

/// A stand-in for cargo and QEMU.
pub struct Fake {
    /// What each policy's guests do.
    pub acts: BTreeMap<String, Act>,
    /// How many guests were booted.
    pub booted: Mutex<u64>,
    /// The folders of the images that were built.
    pub folders: Mutex<Vec<Weak<tempfile::TempDir>>>,
}

impl Fake {
    /// An image with a folder of its own.
    fn built(&self, arch: Arch, package: &str, kind: String) -> Result<Image> {
        let folder = Arc::new(tempfile::tempdir()?);
        self.folders.lock().expect("no test panics with it").push(Arc::downgrade(&folder));
        Ok(Image {
            name: package.into(),
            arch,
            policy: None,
            bootable: PathBuf::from(kind),
            hermit: PathBuf::new(),
            debug: PathBuf::new(),
            folder: Some(folder),
        })
    }
}

impl Runner for Fake {
    fn image(&self, arch: Arch, policy: &str, package: &str, audit: bool) -> Result<Image> {
        match self.acts.get(policy) {
            None | Some(Act::BuildFails) => Err(exit::build(format!("building {package} failed\nsecond line"))),
            Some(Act::NoCompiler) => Err(exit::missing("no compiler")),
            Some(Act::AuditBuildFails) if audit => Err(exit::build("no audit")),
            Some(_) => self.built(arch, package, kind(policy, audit)),
        }
    }

    fn image_bytes(&self, _: &Image) -> Result<u64> {
        Ok(150_000)
    }

    fn boot(&self, guest: &Guest, _: &str, _: Duration) -> Result<Report> {
        let mut booted = self.booted.lock().expect("no test panics with it");
        *booted += 1;
        let image = guest.image.to_string_lossy();
        let audit = image.ends_with("+audit");
        let act = self.acts[image.trim_end_matches("+audit")];
        if matches!(act, Act::FillsTheDisk) {
            return Err(io::Error::from(io::ErrorKind::StorageFull)).context("writing the log");
        }
        let (ending, output) = play(act, guest, *booted, audit);
        Ok(Report {
            ending,
            output,
            log: PathBuf::new(),
            stderr: String::new(),
            duration: Duration::from_secs(1),
            command: "qemu-system-x86_64 …".into(),
        })
    }

    fn provenance(&self, _: Arch) -> Provenance {
        let moves = self.acts.values().any(|act| matches!(act, Act::CommitMoves));
        let booted = *self.booted.lock().expect("no test panics with it");
        Provenance { commit: if moves && booted > 0 { "two" } else { "one" }.into(), ..Provenance::default() }
    }
}

fn play(act: Act, guest: &Guest, booted: u64, audit: bool) -> (Ending, String) {
    let code = |code, reason: &str| Ending::Guest { code, reason: reason.into() };
    let print = |guest, kib, fewer, insns| {
        if audit && !is_of_depths(guest) {
            "ebbtide: record workload=switch irq_off_max_insns=700\n".into()
        } else {
            print(guest, kib, fewer, insns)
        }
    };
    match act {
        Act::Works(kib) => (code(0, "main"), print(guest, kib, 0, 800_000)),
        Act::AuditHangs if audit => (Ending::TimedOut, String::new()),
        Act::AuditHangs | Act::AuditBuildFails => (code(0, "main"), print(guest, 4, 0, 800_000)),
        Act::CommitMoves => (code(0, "main"), print(guest, 16, 0, 800_000)),
        Act::RunsFewer => (code(0, "main"), print(guest, 4, 1, 800_000)),
        Act::Drifts => (code(0, "main"), print(guest, 4, 0, 800_000 + booted)),
        Act::Panics => (code(101, "panic"), print(guest, 4, 0, 800_000)),
        Act::ReturnsAnError => (code(1, "exit"), "Error: \"no memory\"\r\nebbtide: end code=1 reason=exit\n".into()),
        Act::PrintsNothing => (code(0, "main"), "hello\n".into()),
        Act::PrintsNoPoints => (code(0, "main"), without_points(&print(guest, 4, 0, 800_000))),
        Act::PointsDrift => {
            (code(0, "main"), without_points(&print(guest, 4, 0, 800_000)) + &points(kind_of(guest), 1_000 + booted))
        }
        Act::Hangs => (Ending::TimedOut, print(guest, 4, 0, 800_000)),
        Act::TripleFaults => (Ending::Crashed("QEMU ended with 0".into()), print(guest, 4, 0, 800_000)),
        Act::Interrupted => (Ending::Interrupted, String::new()),
        Act::BuildFails | Act::NoCompiler | Act::FillsTheDisk => unreachable!("nothing to boot"),
    }
}

fn is_of_depths(guest: &Guest) -> bool {
    guest.words[0].starts_with("each=")
}

/// The workload that a guest, which is of no published machine, is of.
fn kind_of(guest: &Guest) -> Kind {
    match &guest.words[0] {
        word if word == "record" => Kind::Boot,
        word if word.starts_with("few=") => Kind::Sleepers,
        word if word == "workload=server" => Kind::Server,
        word if word == "workload=chain" => Kind::Chain,
        word if word == "workload=deep-sleepers" => Kind::DeepSleepers,
        word if word == "workload=fork-join" => Kind::ForkJoin,
        _ if is_of_depths(guest) => Kind::Depth,
        _ if guest.words.len() == 1 => Kind::SpawnJoin,
        _ => Kind::Switch,
    }
}

/// Two points of each series, the second of which ends with `last` everywhere.
fn points(kind: Kind, last: u64) -> String {
    let line = |(name, keys): &(&str, &[&str]), value: u64| {
        let figures: String = keys.iter().map(|key| format!(" {key}={value}")).collect();
        format!("ebbtide: point series={name}{figures}\n")
    };
    kind.series().iter().map(|series| line(series, 1) + &line(series, last)).collect()
}

fn without_points(output: &str) -> String {
    output.lines().filter(|line| !line.contains(": point ")).map(|line| format!("{line}\n")).collect()
}

fn print(guest: &Guest, kib: u64, fewer: u64, insns: u64) -> String {
    let Some(stacks) = guest.words[0].strip_prefix("stacks=") else {
        let kind = kind_of(guest);
        let several = if guest.smp > 1 { kind.keys_of_several_cpus() } else { &[] };
        let figures: Vec<_> = kind.keys().iter().chain(several).map(|key| format!(" {key}={insns}")).collect();
        return points(kind, insns) + &format!("ebbtide: record workload={}{}\n", kind.word(), figures.concat());
    };
    let threads = stacks.parse::<u64>().expect("a number") - fewer;
    format!(
        "banner\nebbtide: record workload=idle-machines threads={threads} stack_kib={} cache_kib=0 table_kib=100 \
         system_kib=64 oracle_kib={} stack_faults=0 pages_reclaimed={}\n",
        threads * kib,
        threads * 4,
        threads * 3
    )
}

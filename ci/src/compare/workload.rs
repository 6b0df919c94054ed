//! Workload files: what a guest is made to do, and the published figures that it is compared with.
//!
//! The files of `tests/workloads` are shipped; `--workload FILE` takes any other. A wrong file is refused with the
//! line, the key and what is allowed there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use toml::{Spanned, Value};

use super::kind::Kind;
use super::load::{self, Load};
use super::machine::Machine;
use super::runner::folder;
use crate::policy::Policy;
use crate::project::Project;
use crate::{cli, exit};

/// What may stand in braces in `args`: a published machine's figures.
const PLACEHOLDERS: &[&str] = &["{stacks}", "{pages_grown}"];

/// Something wrong in a file: the place in its text, and what is allowed there.
pub type Wrong = (usize, String);

/// What a workload may name.
pub struct Known<'a> {
    /// The policies.
    pub policies: &'a [String],
    /// Whether there is such a package.
    pub is_package: &'a dyn Fn(&str) -> bool,
    /// Names that it must not have: those of other workloads.
    pub taken: &'a [String],
}

/// A workload, as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The name in records.
    name: Spanned<String>,
    /// What is measured.
    pub kind: Kind,
    /// What is built: an example's name or a folder of this repository.
    package: Spanned<String>,
    /// The guest's command line, or what is to follow on it.
    args: Option<Spanned<String>>,
    /// What its threads are made to do.
    load: Option<Load>,
    /// How many CPUs there are, if `--smp` does not say it: a number, or several with a run for each.
    smp: Option<Spanned<Value>>,
    /// The guest's memory, in QEMU's form.
    memory: Spanned<String>,
    /// The same under single policies, where it is another.
    #[serde(default)]
    memory_under: BTreeMap<Spanned<String>, Spanned<String>>,
    /// When a run is given up.
    timeout_seconds: Spanned<u32>,
    /// How often each run is made; all must agree.
    repetitions: Spanned<u32>,
    /// The size of a static stack on the published machines.
    thread_size_kib: Option<u64>,
    /// The size of a page on the published machines.
    page_kib: Option<u64>,
    /// The published machines.
    #[serde(default)]
    machine: Vec<Spanned<Machine>>,
}

impl Workload {
    /// Reads a workload's text; `path` is for messages, `known` is what it may name.
    ///
    /// # Errors
    ///
    /// When the text is no workload (121).
    pub fn parse(path: &str, text: &str, known: &Known<'_>) -> Result<Self> {
        let workload: Self = toml::from_str(text)
            .map_err(|error| exit::usage(format!("{path} is no workload: {}", error.to_string().trim_end())))?;
        workload.validate().and_then(|()| workload.validate_names(known)).map_err(|(at, wrong)| {
            let line = text[..at.min(text.len())].matches('\n').count() + 1;
            exit::usage(format!("{path} is no workload: line {line}: {wrong}"))
        })?;
        Ok(workload)
    }

    /// Reads a workload's file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no workload (121).
    fn read(path: &Path, known: &Known<'_>) -> Result<Self> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| exit::usage(format!("cannot read the workload {shown}: {error}")))?;
        Self::parse(&shown, &text, known)
    }

    /// The name in records.
    pub fn name(&self) -> &str {
        self.name.get_ref()
    }

    /// What is built: an example's name or a folder of this repository.
    pub fn package(&self) -> &str {
        self.package.get_ref()
    }

    /// The guest's command line, as the file says it: what it gets of a published machine stands in braces.
    pub fn told(&self) -> String {
        // That they can be made was checked when the file was read.
        let load = load::words(self.kind, self.load.as_ref()).unwrap_or_default();
        let words = load.into_iter().chain(self.args.iter().map(|args| args.get_ref().clone()));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The guest's memory under a policy, in QEMU's form.
    pub fn memory(&self, policy: &str) -> &str {
        let under = self.memory_under.iter().find(|(name, _)| name.get_ref() == policy);
        under.map_or(&self.memory, |(_, memory)| memory).get_ref()
    }

    /// The numbers of CPUs to run on.
    pub fn smp(&self) -> Vec<u8> {
        self.smp.as_ref().and_then(|smp| cpus(smp.get_ref())).unwrap_or_else(|| vec![1])
    }

    /// When a run is given up, in seconds.
    pub fn timeout_seconds(&self) -> u32 {
        *self.timeout_seconds.get_ref()
    }

    /// How often each run is made; all must agree.
    pub fn repetitions(&self) -> u32 {
        *self.repetitions.get_ref()
    }

    /// The published machines; `None` stands for the one run of a workload that has none.
    pub fn machines(&self) -> Vec<Option<&Machine>> {
        match self.kind {
            Kind::IdleMachines => self.machine.iter().map(|machine| Some(machine.get_ref())).collect(),
            _ => vec![None],
        }
    }

    /// The guest's words for one published machine.
    pub fn words(&self, machine: Option<&Machine>) -> Vec<String> {
        let mut told = self.told();
        if let Some(machine) = machine {
            told = told
                .replace("{stacks}", &machine.stacks.to_string())
                .replace("{pages_grown}", &machine.pages_grown.to_string());
        }
        told.split_whitespace().map(str::to_owned).collect()
    }

    /// Checks what the types do not say.
    fn validate(&self) -> Result<(), Wrong> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name().is_empty() || !self.name().chars().all(plain) {
            let wrong = format!("`name` is \"{}\"; allowed are small letters, digits and `-`", self.name());
            return Err((self.name.span().start, wrong));
        }
        for (key, number) in [("timeout_seconds", &self.timeout_seconds), ("repetitions", &self.repetitions)] {
            if *number.get_ref() == 0 {
                return Err((number.span().start, format!("`{key}` is at least 1")));
            }
        }
        for (key, memory) in self.memory_under.iter().map(|(name, memory)| (name.get_ref().as_str(), memory)) {
            check_memory(&format!("memory_under.{key}"), memory)?;
        }
        check_memory("memory", &self.memory)?;
        if let Some(smp) = self.smp.as_ref().filter(|smp| cpus(smp.get_ref()).is_none()) {
            let (is, most) = (smp.get_ref(), cli::MOST_CPUS);
            let wrong =
                format!("`smp` is {is}; allowed: a number from 1 to {most}, or a list of them, each once, as [1, 4]");
            return Err((smp.span().start, wrong));
        }
        load::words(self.kind, self.load.as_ref())?;
        match self.kind {
            Kind::IdleMachines => self.validate_machines(),
            _ => match self.machine.first() {
                None => Ok(()),
                Some(machine) => {
                    Err((machine.span().start, "[[machine]] is for the kind \"idle-machines\" only".into()))
                }
            },
        }?;
        self.validate_args()
    }

    /// Checks that what stands in braces can be filled in.
    fn validate_args(&self) -> Result<(), Wrong> {
        let Some(args) = &self.args else {
            let needed = if load::is_for(self.kind) { "[load]" } else { "`args`, the guest's command line" };
            let missing = || (0, format!("the kind \"{}\" needs {needed}", self.kind.word()));
            return self.load.is_some().then_some(()).ok_or_else(missing);
        };
        let allowed = if self.kind == Kind::IdleMachines { PLACEHOLDERS } else { &[] };
        let rest = allowed.iter().fold(args.get_ref().clone(), |args, known| args.replace(known, ""));
        if !rest.contains(['{', '}']) {
            return Ok(());
        }
        let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
        let wrong = format!("`args`: for the kind \"{}\", in braces may stand: {allowed}", self.kind.word());
        Err((args.span().start, wrong))
    }

    /// Checks that the published figures agree with each other.
    fn validate_machines(&self) -> Result<(), Wrong> {
        let (Some(thread), Some(page)) = (self.thread_size_kib, self.page_kib) else {
            return Err((0, "the kind \"idle-machines\" needs `thread_size_kib` and `page_kib`".into()));
        };
        if self.machine.is_empty() {
            return Err((0, "the kind \"idle-machines\" needs at least one [[machine]]".into()));
        }
        for machine in &self.machine {
            machine.get_ref().check(thread, page).map_err(|wrong| (machine.span().start, wrong))?;
        }
        Ok(())
    }

    /// Checks that what it names exists.
    fn validate_names(&self, known: &Known<'_>) -> Result<(), Wrong> {
        if known.taken.iter().any(|name| name == self.name()) {
            let wrong = format!("`name` is \"{}\", which another workload has; allowed is any other", self.name());
            return Err((self.name.span().start, wrong));
        }
        if !(known.is_package)(self.package()) {
            let wrong =
                format!("`package` is \"{}\"; allowed are an example's name or a crate's folder", self.package());
            return Err((self.package.span().start, wrong));
        }
        let unknown = self.memory_under.keys().find(|name| !known.policies.contains(name.get_ref()));
        match unknown {
            None => Ok(()),
            Some(name) => {
                let policies = known.policies.join(", ");
                let wrong = format!("`memory_under.{}`: no such policy; known: {policies}", name.get_ref());
                Err((name.span().start, wrong))
            }
        }
    }
}

/// Checks a size of memory.
fn check_memory(key: &str, memory: &Spanned<String>) -> Result<(), Wrong> {
    let checked = cli::memory(memory.get_ref());
    checked
        .map(drop)
        .map_err(|allowed| (memory.span().start, format!("`{key}` is \"{}\"; {allowed}", memory.get_ref())))
}

/// Reads numbers of CPUs, if that is what it is.
fn cpus(value: &Value) -> Option<Vec<u8>> {
    let one =
        |value: &Value| u8::try_from(value.as_integer()?).ok().filter(|count| (1..=cli::MOST_CPUS).contains(count));
    let counts = match value {
        Value::Array(values) => values.iter().map(one).collect::<Option<Vec<_>>>()?,
        value => vec![one(value)?],
    };
    let once = counts.iter().enumerate().all(|(place, count)| !counts[..place].contains(count));
    (once && !counts.is_empty()).then_some(counts)
}

/// Finds what `--workload` names; nothing named means all that are shipped.
///
/// # Errors
///
/// When a name is unknown (121, with the known ones), or a file is no workload.
pub fn find(project: &Project, named: &[String]) -> Result<Vec<Workload>> {
    let shipped = shipped(&project.root().join("tests/workloads"))?;
    let policies: Vec<_> = Policy::all(project)?.iter().map(ToString::to_string).collect();
    let is_package = |name: &str| Path::new(&folder(project, name)).join("Cargo.toml").is_file();
    let mut workloads: Vec<Workload> = Vec::new();
    for path in chosen(named, &shipped)? {
        // Records and baselines go by the name, which is a shipped one's file's.
        let others = shipped.iter().filter(|other| **other != path).map(|path| stem(path));
        let taken: Vec<_> = others.chain(workloads.iter().map(|one| one.name().to_owned())).collect();
        let known = Known { policies: &policies, is_package: &is_package, taken: &taken };
        workloads.push(Workload::read(&path, &known)?);
    }
    Ok(workloads)
}

/// The files that are named, each once; `all` is one element of the list.
fn chosen(named: &[String], shipped: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if named.is_empty() {
        return Ok(shipped.to_vec());
    }
    let mut paths = Vec::new();
    for name in named {
        let meant = if name == "all" { shipped.to_vec() } else { vec![locate(name, shipped)?] };
        for path in meant {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// The shipped files, in order.
fn shipped(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml"));
    paths.sort();
    Ok(paths)
}

/// A shipped workload's name.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The file that one name means.
fn locate(name: &str, shipped: &[PathBuf]) -> Result<PathBuf> {
    if name.contains('/') || name.ends_with(".toml") {
        return Ok(PathBuf::from(name));
    }
    shipped.iter().find(|path| stem(path) == name).cloned().ok_or_else(|| {
        let known: Vec<_> = shipped.iter().map(|path| stem(path)).collect();
        exit::usage(format!("--workload {name}: known: {}; or all, or a FILE", known.join(", ")))
    })
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;

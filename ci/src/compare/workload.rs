//! Workload files: what a guest is made to do, and the published figures that it is compared with.
//!
//! The files of `tests/workloads` are shipped; `--workload FILE` takes any other. A wrong file is refused with the
//! line, the key and what is allowed there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use toml::Spanned;

use crate::exit;
use crate::project::Project;

/// What a workload measures, and so which keys its guest prints.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Memory of a published machine's threads, all asleep.
    IdleMachines,
    /// Instructions to `main`, and the image's size.
    Boot,
}

/// A workload, as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The name in records.
    pub name: String,
    /// What is measured.
    pub kind: Kind,
    /// What is built: an example's name or a folder of this repository.
    pub package: String,
    /// The guest's command line.
    pub args: String,
    /// The guest's memory, in QEMU's form.
    pub memory: String,
    /// When a run is given up.
    pub timeout_seconds: u32,
    /// How often each run is made; all must agree.
    pub repetitions: u32,
    /// The size of a static stack on the published machines.
    thread_size_kib: Option<u64>,
    /// The size of a page on the published machines.
    page_kib: Option<u64>,
    /// The published machines.
    #[serde(default)]
    machine: Vec<Spanned<Machine>>,
}

/// A published machine.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Maker and generation of its processors.
    pub cpu: String,
    /// Their number.
    pub cores: u32,
    /// Kernel stacks alive.
    pub stacks: u64,
    /// What they take when they are static.
    pub base_kib: u64,
    /// What they took under the RFC.
    pub dynamic_kib: u64,
    /// What the RFC saved.
    pub saving_percent: f64,
    /// Pages that some thread faulted in and then kept.
    pub pages_grown: u64,
}

impl Machine {
    /// The name in records: `AMD Rome 256`.
    pub fn name(&self) -> String {
        format!("{} {}", self.cpu, self.cores)
    }
}

impl Workload {
    /// Reads a workload's text; `path` is for messages.
    ///
    /// # Errors
    ///
    /// When the text is no workload (121).
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        let workload: Self = toml::from_str(text)
            .map_err(|error| exit::usage(format!("{path} is no workload: {}", error.to_string().trim_end())))?;
        workload.validate().map_err(|(at, wrong)| {
            let line = text[..at.min(text.len())].lines().count().max(1);
            exit::usage(format!("{path} is no workload: line {line}: {wrong}"))
        })?;
        Ok(workload)
    }

    /// Reads a workload's file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no workload (121).
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| exit::usage(format!("cannot read the workload {shown}: {error}")))?;
        Self::parse(&shown, &text)
    }

    /// The published machines; `None` stands for the one run of a workload that has none.
    pub fn machines(&self) -> Vec<Option<&Machine>> {
        match self.kind {
            Kind::IdleMachines => self.machine.iter().map(|machine| Some(machine.get_ref())).collect(),
            Kind::Boot => vec![None],
        }
    }

    /// The guest's words for one published machine.
    pub fn words(&self, machine: Option<&Machine>) -> Vec<String> {
        let mut args = self.args.clone();
        if let Some(machine) = machine {
            args = args
                .replace("{stacks}", &machine.stacks.to_string())
                .replace("{pages_grown}", &machine.pages_grown.to_string());
        }
        args.split_whitespace().map(str::to_owned).collect()
    }

    /// Checks what the types do not say; an error is a place in the text and what is wrong there.
    fn validate(&self) -> Result<(), (usize, String)> {
        if self.repetitions == 0 || self.timeout_seconds == 0 {
            return Err((0, "`repetitions` and `timeout_seconds` are at least 1".into()));
        }
        match self.kind {
            Kind::Boot => self.machine.first().map_or(Ok(()), |machine| {
                Err((machine.span().start, "[[machine]] is for the kind \"idle-machines\" only".into()))
            }),
            Kind::IdleMachines => self.validate_machines(),
        }
    }

    /// Checks that the published figures agree with each other.
    fn validate_machines(&self) -> Result<(), (usize, String)> {
        let (Some(thread), Some(page)) = (self.thread_size_kib, self.page_kib) else {
            return Err((0, "the kind \"idle-machines\" needs `thread_size_kib` and `page_kib`".into()));
        };
        if self.machine.is_empty() {
            return Err((0, "the kind \"idle-machines\" needs at least one [[machine]]".into()));
        }
        for machine in &self.machine {
            check_machine(machine.get_ref(), thread, page).map_err(|wrong| (machine.span().start + 1, wrong))?;
        }
        Ok(())
    }
}

/// Checks one machine's figures against each other.
fn check_machine(machine: &Machine, thread_kib: u64, page_kib: u64) -> Result<(), String> {
    let expect = |key: &str, found: u64, allowed: Option<u64>| match allowed {
        Some(allowed) if allowed == found => Ok(()),
        Some(allowed) => Err(format!("`{key}` is {found}, but the other figures of this machine give {allowed}")),
        None => Err(format!("`{key}` does not fit: the figures of this machine are out of range")),
    };
    if machine.stacks == 0 {
        return Err("`stacks` is at least 1".into());
    }
    expect("base_kib", machine.base_kib, machine.stacks.checked_mul(thread_kib))?;
    let grown_kib = machine.pages_grown.checked_mul(page_kib);
    let dynamic = machine.stacks.checked_mul(page_kib).zip(grown_kib).and_then(|(one, more)| one.checked_add(more));
    expect("dynamic_kib", machine.dynamic_kib, dynamic)?;
    let saving = 100.0 * (1.0 - machine.dynamic_kib as f64 / machine.base_kib as f64);
    if (saving - machine.saving_percent).abs() > 0.01 {
        return Err(format!("`saving_percent` is {}, but the other figures give {saving:.2}", machine.saving_percent));
    }
    Ok(())
}

/// Finds what `--workload` names; nothing named means all that are shipped.
///
/// # Errors
///
/// When a name is unknown (121, with the known ones), or a file is no workload.
pub fn find(project: &Project, named: &[String]) -> Result<Vec<Workload>> {
    let shipped = shipped(&project.root().join("tests/workloads"))?;
    chosen(named, &shipped)?.iter().map(|path| Workload::read(path)).collect()
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

/// The file that one name means.
fn locate(name: &str, shipped: &[PathBuf]) -> Result<PathBuf> {
    if name.contains('/') || name.ends_with(".toml") {
        return Ok(PathBuf::from(name));
    }
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    shipped.iter().find(|path| stem(path) == name).cloned().ok_or_else(|| {
        let known: Vec<_> = shipped.iter().map(stem).collect();
        exit::usage(format!("--workload {name}: known: {}; or all, or a FILE", known.join(", ")))
    })
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;

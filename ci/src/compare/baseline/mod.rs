//! Counts to hold: `tests/baselines/ARCH/POLICY.toml`, and the comparison with them.
//!
//! A count depends on the compiler, so a file has a section for each rustc version. `--check` holds every count against
//! the section of the compiler that made it; `--bless` renews that section. Where there is none for this compiler, the
//! ratios to `static` are held against those of another compiler: a policy that got dearer shows there too, and what
//! the compiler makes of the rest cancels out.

mod file;
mod ratio;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;

use super::limits::Verdict;
use super::line::MEANS;
use super::record::{Record, Status};
use crate::project::Project;
use crate::{exit, files};

use file::{Counts, File};

/// How much a count may grow, in percent.
pub const MOST_GROWTH_PERCENT: f64 = 2.0;

/// What the check came to.
#[derive(Debug)]
pub struct Checked {
    /// A verdict for each record that was measured.
    pub verdicts: Vec<Verdict>,
    /// What a reader must know of how it was checked, one line each.
    pub notes: Vec<String>,
}

/// The files of those policies that records are about.
pub type Baselines = BTreeMap<(String, String), File>;

/// Reads the baselines of all policies in the records, and of `static`.
///
/// # Errors
///
/// When a file is there but cannot be read or is wrong (121).
pub fn read(project: &Project, records: &[Record]) -> Result<Baselines> {
    let mut baselines = Baselines::new();
    for record in records {
        for policy in [record.setting.policy.as_str(), super::plan::REFERENCE] {
            let key = (record.setting.arch.clone(), policy.to_owned());
            let path = path(project, &key);
            if let Entry::Vacant(place) = baselines.entry(key) {
                place.insert(File::read(&path)?);
            }
        }
    }
    Ok(baselines)
}

/// Where a policy's baselines lie.
fn path(project: &Project, (arch, policy): &(String, String)) -> PathBuf {
    project.root().join("tests/baselines").join(arch).join(format!("{policy}.toml"))
}

/// Holds every record that is ok against the baselines. Those that are not ok have failed anyway.
pub fn check(records: &[Record], baselines: &Baselines) -> Checked {
    let mut notes = BTreeSet::new();
    let mut verdicts = Vec::new();
    for record in records.iter().filter(|record| record.status == Status::Ok) {
        let setting = &record.setting;
        let key = (setting.arch.clone(), setting.policy.clone());
        let own = baselines.get(&key).and_then(|file| file.section(&record.provenance.rustc));
        let (how, errors) = match own {
            Some(counts) => ("baseline".to_owned(), grown(record, counts)),
            None => {
                let how = format!("ratio, for lack of a baseline of {}", record.provenance.rustc);
                (how, ratio::check(record, records, baselines, &mut notes))
            }
        };
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        verdicts.push(Verdict { name: format!("{}::{how}", super::limits::name(record)), error });
    }
    Checked { verdicts, notes: notes.into_iter().collect() }
}

/// What grew beyond bounds in a record, and what has no baseline or no count.
fn grown(record: &Record, counts: &Counts) -> Vec<String> {
    let mut errors = Vec::new();
    for (operation, value) in guarded(record) {
        match counts.get(&operation) {
            None => errors.push(format!("{operation} has no baseline; --bless adds it")),
            Some(base) => errors.extend(growth(&operation, *base, value, MOST_GROWTH_PERCENT)),
        }
    }
    let measured: BTreeSet<_> = guarded(record).map(|(operation, _)| operation).collect();
    let prefix = prefix(record);
    let lost = counts.keys().filter(|operation| operation.starts_with(&prefix) && !measured.contains(*operation));
    errors.extend(lost.map(|operation| format!("{operation} has a baseline, but was not measured")));
    errors
}

/// Says what grew by more than `most` percent.
fn growth(what: &str, base: f64, value: f64, most: f64) -> Option<String> {
    if value <= base * (1.0 + most / 100.0) {
        return None;
    }
    let amount = if base > 0.0 { format!(" by {:.2} %", 100.0 * (value / base - 1.0)) } else { String::new() };
    Some(format!("{what} grew{amount}, from {base} to {value} (allowed: {most} %)"))
}

/// The counts of a record that are to hold, each with the name of its operation. Of all these less is better.
fn guarded(record: &Record) -> impl Iterator<Item = (String, f64)> {
    let meant = |key: &str| {
        let mut ends = MEANS.iter().chain(&["_bytes", "_kib", "stack_faults"]);
        // Where a thread is seen moves with every instruction of every other.
        !key.ends_with("oracle_kib") && !key.starts_with("depth_") && ends.any(|end| key.ends_with(end))
    };
    let prefix = prefix(record);
    record.figures.iter().filter(move |(key, _)| meant(key)).map(move |(key, value)| (format!("{prefix}{key}"), *value))
}

/// How the names of a record's operations begin: `idle-machines, AMD Rome 256: `, `chain, 4 CPUs: `.
fn prefix(record: &Record) -> String {
    let machine = record.setting.machine.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
    let cpus = if record.setting.smp > 1 { format!(", {} CPUs", record.setting.smp) } else { String::new() };
    format!("{}{machine}{cpus}: ", record.setting.workload)
}

/// Makes the records' counts the baselines of their compiler. Returns the files that were written.
///
/// What belongs to other workloads and compilers stays.
///
/// # Errors
///
/// When a record is not ok: half a measurement is no baseline; or when a file cannot be read or written.
pub fn bless(project: &Project, records: &[Record]) -> Result<Vec<PathBuf>> {
    if records.iter().any(|record| record.status != Status::Ok) {
        return Err(exit::failure(exit::Code::FAILED, "no baseline was renewed: not everything was measured"));
    }
    let mut baselines = read(project, records)?;
    let mut touched = BTreeSet::new();
    for record in records {
        let key = (record.setting.arch.clone(), record.setting.policy.clone());
        if let Some(file) = baselines.get_mut(&key) {
            file.renew(&record.provenance.rustc, &prefix(record), guarded(record));
            touched.insert(key);
        }
    }
    let mut written = Vec::new();
    for key in touched {
        let path = path(project, &key);
        files::write(&path, baselines[&key].text(&key.1)?)?;
        written.push(path);
    }
    Ok(written)
}

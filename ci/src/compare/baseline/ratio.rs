//! The check where this compiler has no baseline: ratios to `static`, held against those of another compiler.

use std::collections::BTreeSet;

use super::super::plan::REFERENCE;
use super::super::record::{Record, Status};
use super::{Baselines, growth, guarded};

/// How much a ratio may grow from one compiler to another, in percent. One instruction in a switch of a hundred is 1 %
/// of either side, so the 2 % for the same compiler would be less than what two compilers differ by anyway.
pub const MOST_GROWTH_PERCENT: f64 = 10.0;

/// What grew beyond bounds in a record, compared with `static`; `notes` says how it was compared.
pub fn check(record: &Record, all: &[Record], baselines: &Baselines, notes: &mut BTreeSet<String>) -> Vec<String> {
    let (setting, rustc) = (&record.setting, &record.provenance.rustc);
    let key = |policy: &str| (setting.arch.clone(), policy.to_owned());
    let files = baselines.get(&key(&setting.policy)).zip(baselines.get(&key(REFERENCE)));
    let found = files.and_then(|(file, reference)| {
        let other = file.newest_with(reference)?;
        Some((other, file.section(other)?, reference.section(other)?))
    });
    let Some((other, base, base_of_reference)) = found else {
        return vec![format!("{} has no baseline of any compiler; --bless makes one", setting.policy)];
    };
    if setting.policy == REFERENCE {
        notes.insert(format!("{REFERENCE} has no baseline for {rustc}: it is what ratios are compared with"));
        return Vec::new();
    }
    let Some(reference) = all.iter().find(|one| is_reference(one, record)) else {
        return vec![format!("no baseline for {rustc}, and no ratios, since `{REFERENCE}` was not measured: add it")];
    };
    notes.insert(format!(
        "{} has no baseline for {rustc}: its ratios to {REFERENCE} are compared with those of {other}, where up to \
         {MOST_GROWTH_PERCENT} % more is allowed",
        setting.policy
    ));
    let mut errors = Vec::new();
    let reference: std::collections::BTreeMap<_, _> = guarded(reference).collect();
    for (operation, value) in guarded(record) {
        let (Some(base), Some(by), Some(base_by)) =
            (base.get(&operation), reference.get(&operation), base_of_reference.get(&operation))
        else {
            errors.push(format!("{operation} has no baseline of {other}; --bless makes one for this compiler"));
            continue;
        };
        // What `static` does not do at all has no ratio, and does not depend on the compiler either.
        let error = if *by == 0.0 || *base_by == 0.0 {
            growth(&operation, *base, value, MOST_GROWTH_PERCENT)
        } else {
            let what = format!("the ratio of {operation} to that of {REFERENCE}");
            growth(&what, rounded(base / base_by), rounded(value / by), MOST_GROWTH_PERCENT)
        };
        errors.extend(error);
    }
    errors
}

/// Four decimals are more than such a bound needs.
fn rounded(ratio: f64) -> f64 {
    (ratio * 10_000.0).round() / 10_000.0
}

/// Whether a record is that of `static` for the same workload and machine.
fn is_reference(one: &Record, record: &Record) -> bool {
    let (a, b) = (&one.setting, &record.setting);
    a.policy == REFERENCE
        && one.status == Status::Ok
        && (&a.arch, a.smp, &a.workload, &a.machine) == (&b.arch, b.smp, &b.workload, &b.machine)
}

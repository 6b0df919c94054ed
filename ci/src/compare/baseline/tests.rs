//! Growth is found and named, other compilers are compared by ratio, and a renewal keeps what is others'.

use super::file::File;
use super::{Baselines, Checked, check, guarded, prefix};
use crate::compare::record::tests::{record, work};
use crate::compare::record::{Record, Status};
use crate::exit::{Code, code_of};

const RUSTC: &str = "rustc 1.96.0 (ac68faa20 2026-05-25)";

fn by(rustc: &str, mut record: Record) -> Record {
    record.provenance.rustc = rustc.into();
    record
}

fn switch(policy: &str, yield_insns: f64, broadcasts: f64) -> Record {
    let figures = [("yield_insns", yield_insns), ("tlb_broadcast_per_switch", broadcasts), ("refills", 7.0)];
    by(RUSTC, work(policy, "switch", &figures))
}

/// Baselines that hold just these records.
fn blessed(records: &[Record]) -> Baselines {
    let mut baselines = Baselines::new();
    for record in records {
        let key = (record.setting.arch.clone(), record.setting.policy.clone());
        let file = baselines.entry(key).or_default();
        file.renew(&record.provenance.rustc, &prefix(record), guarded(record));
    }
    baselines
}

fn errors(checked: &Checked) -> Vec<&str> {
    checked.verdicts.iter().filter_map(|verdict| verdict.error.as_deref()).collect()
}

#[test]
fn growth_above_two_percent_is_named_with_its_amount() {
    let base = blessed(&[switch("static", 100.0, 0.0)]);
    for fine in [90.0, 100.0, 102.0] {
        let checked = check(&[switch("static", fine, 0.0)], &base);
        assert_eq!(errors(&checked), [""; 0], "{fine}");
        assert_eq!((checked.verdicts.len(), checked.notes.len()), (1, 0));
    }
    let checked = check(&[switch("static", 103.0, 0.0)], &base);
    assert_eq!(errors(&checked), ["switch: yield_insns grew by 3.00 %, from 100 to 103 (allowed: 2 %)"]);
    assert_eq!(checked.verdicts[0].name, "switch::static::x86_64::baseline");
}

#[test]
fn what_was_nothing_must_stay_nothing() {
    let base = blessed(&[switch("static", 100.0, 0.0)]);
    let checked = check(&[switch("static", 100.0, 0.01)], &base);
    assert_eq!(errors(&checked).len(), 1);
    assert!(errors(&checked)[0].starts_with("switch: tlb_broadcast_per_switch grew, from 0 to 0.01"), "{checked:?}");
}

#[test]
fn counts_of_which_more_is_no_worse_are_not_held() {
    let names: Vec<_> = guarded(&switch("static", 100.0, 0.0)).map(|(name, _)| name).collect();
    assert_eq!(names, ["switch: tlb_broadcast_per_switch", "switch: yield_insns"]);
    let figures = [("oracle_kib", 40.0), ("saving_percent", 75.0), ("stack_kib", 40.0), ("stack_faults", 0.0)];
    let mut deep =
        work("static", "deep-sleepers", &[("deep_most_kib", 9.0), ("deep_most_oracle_kib", 8.0), ("deep_parked", 7.0)]);
    deep.setting.smp = 4;
    let names: Vec<_> = guarded(&deep).map(|(name, _)| name).collect();
    assert_eq!(names, ["deep-sleepers, 4 CPUs: deep_most_kib"]);
    let names: Vec<_> = guarded(&record("static", Some("A 1"), &figures)).map(|(name, _)| name).collect();
    assert_eq!(names, ["idle-machines, A 1: stack_faults", "idle-machines, A 1: stack_kib"]);
}

#[test]
fn a_guard_with_a_hole_is_red() {
    let base = blessed(&[by(RUSTC, work("static", "switch", &[("yield_insns", 100.0), ("wake_insns", 9.0)]))]);
    let new = by(RUSTC, work("static", "switch", &[("yield_insns", 100.0), ("preempt_insns", 9.0)]));
    let checked = check(&[new], &base);
    let text = errors(&checked).join("\n");
    assert!(text.contains("preempt_insns has no baseline"), "{text}");
    assert!(text.contains("wake_insns has a baseline, but was not measured"), "{text}");
    let nothing = check(&[switch("static", 100.0, 0.0)], &Baselines::new());
    assert!(errors(&nothing)[0].contains("--bless"), "{nothing:?}");
}

#[test]
fn failed_records_are_left_to_their_own_verdict() {
    let mut failed = switch("static", 100.0, 0.0);
    failed.status = Status::Timeout;
    assert_eq!(check(&[failed], &Baselines::new()).verdicts.len(), 0);
}

#[test]
fn without_a_baseline_ratios_are_compared_and_that_is_said() {
    let base = blessed(&[
        switch("static", 80.0, 0.0),
        switch("other", 240.0, 1.0),
        by("rustc 1.95.0 (x)", switch("static", 1.0, 0.0)),
        by("rustc 1.95.0 (x)", switch("other", 1.0, 1.0)),
    ]);
    let newer = |policy: &str, insns, broadcasts| by("rustc 1.97.0 (x)", switch(policy, insns, broadcasts));
    // A compiler that makes everything dearer alike is no regression of ours.
    let checked = check(&[newer("static", 120.0, 0.0), newer("other", 360.0, 1.0)], &base);
    assert_eq!(errors(&checked), [""; 0]);
    assert_eq!(checked.notes.len(), 2);
    assert!(
        checked.verdicts.iter().all(|verdict| verdict.name.contains("::ratio, for lack of a baseline of rustc 1.97.0")),
        "{checked:?}"
    );
    assert!(checked.notes.iter().any(|note| note.contains("rustc 1.97.0") && note.contains("rustc 1.96.0")));
    let checked = check(&[newer("static", 80.0, 0.0), newer("other", 268.0, 1.0)], &base);
    let text = errors(&checked).join("\n");
    assert!(text.contains("the ratio of switch: yield_insns") && text.contains("from 3 to 3.35"), "{text}");
    // `static` makes no broadcasts: there is no ratio, so the counts are compared.
    let checked = check(&[newer("static", 80.0, 0.0), newer("other", 240.0, 1.5)], &base);
    assert!(errors(&checked)[0].contains("tlb_broadcast_per_switch grew by 50.00 %"), "{checked:?}");
    let checked = check(&[newer("other", 240.0, 1.0)], &base);
    assert!(errors(&checked)[0].contains("`static` was not measured"), "{checked:?}");
}

#[test]
fn a_renewal_keeps_other_compilers_and_workloads() {
    let mut file = File::default();
    file.renew("rustc 1", "switch: ", [("switch: yield_insns".into(), 82.51)].into_iter());
    file.renew("rustc 1", "boot: ", [("boot: boot_insns".into(), 270_000.0)].into_iter());
    file.renew("rustc 2", "switch: ", [("switch: yield_insns".into(), 90.0), ("switch: gone".into(), 1.0)].into_iter());
    file.renew("rustc 2", "switch: ", [("switch: yield_insns".into(), 91.0)].into_iter());
    let text = file.text("static").expect("text");
    assert!(text.contains("[\"rustc 1\"]") && text.contains("\"boot: boot_insns\" = 270000\n"), "{text}");
    assert!(text.starts_with("# Counts of `static`"), "{text}");
    let read = File::parse("static.toml", &text).expect("what was written is read");
    assert_eq!(read, file);
    assert_eq!(read.section("rustc 1").expect("kept").len(), 2);
    assert_eq!(read.section("rustc 2").expect("renewed").len(), 1);
}

#[test]
fn wrong_files_are_refused() {
    for text in ["[\"rustc 1\"]\n\"switch: yield_insns\" = \"few\"\n", "yield_insns = 1\n", "["] {
        let error = File::parse("static.toml", text).expect_err(text);
        assert_eq!(code_of(&error), Code::USAGE);
        assert!(error.to_string().contains("static.toml"), "{error}");
    }
}

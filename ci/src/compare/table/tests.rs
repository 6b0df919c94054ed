//! What the tables show, and that they stay readable.

use super::{Style, draw};
use crate::compare::kind::Kind;
use crate::compare::peers;
use crate::compare::record::tests::{record, work};
use crate::compare::record::{Record, Status};

/// Records of the work workloads of a policy whose figures are as wide as any will be.
fn wide(policy: &str) -> Vec<Record> {
    let one = |kind: Kind| {
        let keys = kind.keys().iter().chain(kind.audit_keys()).chain(kind.keys_of_several_cpus());
        let value = |key: &str| match key {
            "boot_insns" | "cache_hits" | "refills" | "cache_misses" => 1_234_567.0,
            key if key.ends_with("_insns") => 12_345.67,
            key if key.ends_with("_per_switch") => 123.45,
            _ => 123_456.0,
        };
        let figures: Vec<_> = keys.map(|key| (*key, value(key))).collect();
        work(policy, kind.word(), &figures)
    };
    [Kind::Boot, Kind::Sleepers, Kind::SpawnJoin, Kind::Switch].map(one).to_vec()
}

#[test]
fn policies_stand_side_by_side_and_failures_stand_out() {
    let mut failed = record("static", Some("B 2"), &[]);
    failed.status = Status::Timeout;
    let records = [
        record("static", Some("A 1"), &[("threads", 10.0), ("saving_percent", 74.999), ("oracle_ratio", 1.0)]),
        failed,
        record("other", Some("A 1"), &[("saving_percent", 72.83)]),
        record("other", Some("B 2"), &[]),
        record("other", None, &[("boot_insns", 812_345.25), ("image_bytes", 150_000.0)]),
    ];
    let text = draw(&records, &[], Style::Markdown);
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| A") || line.starts_with("| B")).collect();
    assert_eq!(rows.len(), 4, "{text}");
    assert!(rows[0].contains("static") && rows[0].contains("74.99") && rows[0].contains("1.000"), "{text}");
    assert!(rows[1].contains("other") && rows[1].contains("72.83"), "{text}");
    assert!(rows[2].contains("TIME-OUT") && rows[2].contains('–'), "{text}");
    assert!(text.contains("812345.25") && text.contains("150000"), "{text}");
    assert!(text.starts_with("## x86_64, 1 CPU, QEMU machine q35, CPU model max\n"), "{text}");
}

#[test]
fn a_policy_has_one_row_of_work_and_says_which_workload_failed() {
    let mut hung = work("other", "switch", &[]);
    hung.status = Status::Timeout;
    let records = [
        work("static", "boot", &[("boot_insns", 1000.0)]),
        work("other", "boot", &[("boot_insns", 2000.0)]),
        work("static", "switch", &[("yield_insns", 82.5)]),
        hung,
    ];
    let text = draw(&records, &[], Style::Markdown);
    let row = |policy: &str| {
        let found: Vec<_> = text.lines().filter(|line| line.starts_with(&format!("| {policy}"))).collect();
        assert_eq!(found.len(), 1, "{text}");
        found[0].to_owned()
    };
    assert!(row("static").contains("82.50") && row("static").contains("1000") && row("static").contains("ok"));
    assert!(row("other").contains("2000") && row("other").contains("switch TIME-OUT"), "{text}");
    assert!(!text.contains("Stack cache"), "nobody measured it: {text}");
    let records = [work("static", "switch", &[("preempt_insns", 758.67)])];
    assert!(draw(&records, &[], Style::Markdown).contains("| preemption |"));
    assert!(draw(&records, &[], Style::Terminal).contains("preemp-\n"));
}

#[test]
fn a_workload_of_ones_own_has_a_row_of_its_own() {
    let records = [
        work("static", "switch", &[("yield_insns", 82.0)]),
        work("static", "mine", &[("yield_insns", 99.0)]),
        work("static", "boot", &[("boot_insns", 1000.0)]),
    ];
    let text = draw(&records, &[], Style::Markdown);
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| static")).collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(rows[0].contains("82.00") && rows[0].contains("switch, boot"), "{text}");
    assert!(rows[1].contains("99.00") && rows[1].contains("mine"), "{text}");
}

#[test]
fn references_are_marked_and_nobody_asks_for_them_without_work() {
    let peers = peers::tests::shipped();
    let text = draw(&[work("static", "boot", &[("boot_insns", 1000.0)])], &peers, Style::Terminal);
    let (ours, theirs) = text.split_once("References, not from this run").expect("the references' title");
    assert!(!ours.contains("Hermit") && theirs.contains("Hermit") && theirs.contains("510.50"), "{text}");
    let memory = draw(&[record("static", Some("A 1"), &[])], &peers, Style::Terminal);
    assert!(!memory.contains("References"), "{memory}");
}

#[test]
fn architectures_stand_side_by_side() {
    let on = |arch: &str, qemu: &str, mut record: Record| {
        (record.setting.arch, record.setting.qemu_machine) = (arch.into(), qemu.into());
        record
    };
    let of = |policy: &str| [record(policy, Some("A 1"), &[]), work(policy, "switch", &[("yield_insns", 82.0)])];
    let ours = || ["static", "other"].into_iter().flat_map(of);
    let mut records: Vec<_> = ours().map(|record| on("x86_64", "q35", record)).collect();
    let alone = draw(&records, &[], Style::Markdown);
    assert!(!alone.contains("arch "), "{alone}");
    records.extend(ours().map(|record| on("aarch64", "virt", record)));
    let text = draw(&records, &[], Style::Markdown);
    assert!(text.starts_with("## x86_64 and aarch64, 1 CPU, QEMU machines q35 and virt, CPU model max\n"), "{text}");
    let rows = |begin: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with(begin));
        lines.map(|line| line.split('|').map(str::trim).take(4).collect::<Vec<_>>().join(" ")).collect()
    };
    let memory = ["static x86_64", "static aarch64", "other x86_64", "other aarch64"].map(|end| format!(" A 1 {end}"));
    assert_eq!(rows("| A 1"), memory, "{text}");
    assert_eq!(rows("| static"), [" static x86_64 82.00", " static aarch64 82.00"], "{text}");
    assert!(!text.contains("workloads"), "each has one row: {text}");
    // A second machine type has tables of its own.
    records.push(on("x86_64", "pc", record("static", Some("A 1"), &[])));
    assert!(draw(&records, &[], Style::Markdown).contains("## x86_64, 1 CPU, QEMU machine pc"));
}

#[test]
fn tables_fit_into_120_columns() {
    let mut records: Vec<_> = ["reclaim-before-switch", "static"].into_iter().flat_map(wide).collect();
    let machine = ["stack_kib", "cache_kib", "table_kib", "system_kib"].map(|key| (key, 92_576.0));
    records.push(record("reclaim-before-switch", Some("Intel Skylake 112"), &machine));
    let text = draw(&records, &peers::tests::shipped(), Style::Terminal);
    for line in text.lines() {
        assert!(line.chars().count() <= 120, "{} columns: {line}", line.chars().count());
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn depths_stand_above_those_that_were_published_and_alone() {
    let record = work("static", "depth", &[("depth_threads", 1503.0), ("depth_up_to_4_kib", 10.0)]);
    let text = draw(&[record], &peers::tests::shipped(), Style::Markdown);
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}"));
    assert!(place("| static |") < place("References") && place("References") < place("11391"), "{text}");
    assert!(!text.contains("Work in instructions") && !text.contains("Hermit"), "nobody measured it: {text}");
}

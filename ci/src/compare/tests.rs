//! The paths of a comparison, with a stand-in for cargo and QEMU.

use std::sync::Mutex;

use anyhow::Result;

use super::fake::{Act, Fake};
use super::plan::{Asked, measure, steps};
use super::record::{Record, Status};
use super::workload::{Known, Workload};
use crate::arch::Arch;
use crate::cli::Selected;
use crate::exit::{Code, code_of};
use crate::progress::Progress;

fn workloads() -> Vec<Workload> {
    let texts = [
        include_str!("../../../tests/workloads/idle-machines.toml"),
        include_str!("../../../tests/workloads/boot.toml"),
        include_str!("../../../tests/workloads/switch.toml"),
        include_str!("../../../tests/workloads/spawn-join.toml"),
        include_str!("../../../tests/workloads/sleepers.toml"),
    ];
    let known =
        Known { policies: &["ensure", "grow-on-entry", "static"].map(String::from), is_package: &|_| true, taken: &[] };
    texts.iter().map(|text| Workload::parse("shipped", text, &known).expect("a workload")).collect()
}

fn run(acts: &[(&str, Act)], asked: &[&str], quick: bool) -> Result<(Vec<Record>, u64)> {
    run_on(1, acts, asked, quick)
}

fn run_on(smp: u8, acts: &[(&str, Act)], asked: &[&str], quick: bool) -> Result<(Vec<Record>, u64)> {
    run_these(&workloads(), smp, acts, asked, quick)
}

fn run_these(
    workloads: &[Workload],
    smp: u8,
    acts: &[(&str, Act)],
    asked: &[&str],
    quick: bool,
) -> Result<(Vec<Record>, u64)> {
    run_with(workloads, &[smp], acts, asked, quick)
}

fn run_with(
    workloads: &[Workload],
    smp: &[u8],
    acts: &[(&str, Act)],
    asked: &[&str],
    quick: bool,
) -> Result<(Vec<Record>, u64)> {
    let fake = fake(acts);
    let records = measured_by(&fake, workloads, smp, asked, quick)?;
    Ok((records, fake.booted.into_inner().expect("no test panics with it")))
}

fn fake(acts: &[(&str, Act)]) -> Fake {
    let acts = acts.iter().map(|(policy, act)| ((*policy).to_owned(), *act)).collect();
    Fake { acts, booted: Mutex::new(0), folders: Mutex::default() }
}

fn measured_by(fake: &Fake, workloads: &[Workload], smp: &[u8], asked: &[&str], quick: bool) -> Result<Vec<Record>> {
    let asked = Asked {
        archs: vec![Arch::X86_64],
        policies: asked.iter().map(|policy| (*policy).to_owned()).collect(),
        smp: smp.to_vec(),
        machines: vec![None],
        cpus: vec![Selected::new("max")],
        memory: None,
        timeout: None,
        quick,
        jobs: 2,
    };
    measure(fake, &asked, workloads, &Progress::silent())
}

/// The records of one policy, while `static` works.
fn records_of(act: Act) -> Vec<Record> {
    let (records, _) =
        run(&[("static", Act::Works(16)), ("other", act)], &["static", "other"], false).expect("records");
    assert_eq!(records.len(), 18, "five published machines and four workloads without one, twice");
    assert!(
        records.iter().filter(|record| record.setting.policy == "static").all(|record| record.status == Status::Ok)
    );
    records.into_iter().filter(|record| record.setting.policy == "other").collect()
}

#[test]
fn a_policy_that_works_is_compared() {
    let records = records_of(Act::Works(4));
    for record in &records[..5] {
        assert_eq!((record.status, record.figure("saving_percent")), (Status::Ok, Some(75.0)), "{record:?}");
        assert_eq!(record.figure("oracle_ratio"), Some(1.0));
        assert!(record.figure("published_saving_percent").is_some());
    }
    assert_eq!(records[5].figure("boot_insns"), Some(800_000.0));
    assert_eq!(records[5].figure("image_bytes"), Some(150_000.0));
    assert_eq!(records[6].figure("yield_insns"), Some(800_000.0));
    assert_eq!(records[6].figure("irq_off_max_insns"), Some(700.0), "from the image with the feature audit");
    assert!(records[6].command.contains("; "), "two runs, two commands: {}", records[6].command);
    assert!(records[7].figure("spawn_join_insns").is_some() && records[8].figure("thread_bytes").is_some());
}

#[test]
fn depths_are_measured_in_the_image_that_audits_and_in_no_other() {
    let text = include_str!("../../../tests/workloads/depth.toml");
    let known = Known { policies: &[], is_package: &|_| true, taken: &[] };
    let depth = [Workload::parse("shipped", text, &known).expect("a workload")];
    let (records, booted) = run_these(&depth, 1, &[("static", Act::Works(4))], &["static"], false).expect("records");
    assert_eq!((records.len(), booted), (1, 2), "twice, and no plain image");
    assert_eq!(records[0].figure("depth_up_to_4_kib"), Some(800_000.0), "{records:?}");
    let (records, _) = run_these(&depth, 1, &[("static", Act::AuditBuildFails)], &["static"], false).expect("records");
    assert_eq!(records[0].status, Status::Failed, "{records:?}");
}

#[test]
fn points_are_measured_and_must_agree_or_there_is_no_record() {
    let text = include_str!("../../../tests/workloads/server.toml");
    let known = Known { policies: &[], is_package: &|_| true, taken: &[] };
    let server = [Workload::parse("shipped", text, &known).expect("a workload")];
    let record = |act| {
        let (mut records, _) = run_these(&server, 4, &[("static", act)], &["static"], false).expect("records");
        records.pop().expect("a record")
    };
    let works = record(Act::Works(4));
    assert_eq!((works.status, works.series["bursts"][1]["at_ms"]), (Status::Ok, 800_000.0), "{works:?}");
    for (act, part) in [
        (Act::PrintsNoPoints, "of the series threads the guest printed 0 points"),
        (Act::PointsDrift, "two runs disagree: at_ms of point 2 of bursts was 1001, then 1002"),
    ] {
        let record = record(act);
        assert_eq!((record.status, record.figures.len(), record.series.len()), (Status::Failed, 0, 0), "{act:?}");
        assert!(record.error.as_deref().is_some_and(|error| error.contains(part)), "{:?}", record.error);
    }
}

#[test]
fn a_switch_is_measured_in_both_images_or_not_at_all() {
    for (act, status, part) in [
        (Act::AuditBuildFails, Status::Failed, "no audit"),
        (Act::AuditHangs, Status::Timeout, "with the feature audit: no end within"),
    ] {
        for record in records_of(act) {
            if record.setting.workload == "switch" {
                assert_eq!((record.status, record.figures.len()), (status, 0), "{act:?}");
                assert!(record.error.as_deref().is_some_and(|error| error.contains(part)), "{:?}", record.error);
            } else {
                assert_eq!(record.status, Status::Ok, "{act:?}: the others need no such image");
            }
        }
    }
}

#[test]
fn a_policy_that_reclaims_nothing_saves_nothing() {
    // What a no-op in place of depopulating comes to: stacks as large as those of `static`.
    for record in &records_of(Act::Works(16))[..5] {
        assert_eq!(record.figure("saving_percent"), Some(0.0));
        assert_eq!(record.figure("saving_total_percent"), Some(0.0));
    }
}

#[test]
fn failures_have_records_that_say_so() {
    for (act, status, part) in [
        (Act::BuildFails, Status::Failed, "no image"),
        (Act::Hangs, Status::Timeout, "no end within"),
        (Act::TripleFaults, Status::Crashed, "QEMU ended with 0"),
        (Act::Panics, Status::Failed, "101"),
        (Act::ReturnsAnError, Status::Failed, "ended with 1 (exit): \"no memory\""),
        (Act::PrintsNothing, Status::Failed, "no record line"),
    ] {
        for record in records_of(act) {
            assert_eq!(record.status, status, "{act:?}");
            let error = record.error.as_deref().expect("a reason");
            assert!(error.contains(part) && !error.contains('\n'), "{act:?}: {error}");
            assert!(record.figures.is_empty(), "{act:?}: nothing is kept of a failed run");
            assert!(!record.command.is_empty());
        }
    }
}

#[test]
fn figures_that_cannot_be_fail_their_record() {
    let records = records_of(Act::RunsFewer);
    assert!(
        records[..5].iter().all(|record| record.status == Status::Failed && record.figure("saving_percent").is_none())
    );
}

#[test]
fn runs_that_disagree_have_not_measured() {
    let records = records_of(Act::Drifts);
    let error = records[5].error.as_deref().expect("two runs disagree");
    assert!(error.contains("boot_insns"), "{error}");
}

#[test]
fn the_reference_runs_without_a_record() {
    let acts = [("static", Act::Works(16)), ("other", Act::Works(4))];
    let (records, booted) = run(&acts, &["other"], true).expect("records");
    assert_eq!(records.len(), 9);
    assert!(records.iter().all(|record| record.setting.policy == "other" && record.status == Status::Ok));
    assert_eq!(booted, 15, "ten for the memory of both, four for the rest, one of them once more with the audit");
}

#[test]
fn several_cpus_are_not_timed_and_say_what_crosses_between_them() {
    let (records, booted) = run_on(4, &[("static", Act::Works(16))], &["static"], true).expect("records");
    assert!(records.iter().all(|record| record.status == Status::Ok), "{records:?}");
    assert!(records.iter().flat_map(|record| record.figures.keys()).all(|key| !key.ends_with("_insns")), "{records:?}");
    assert_eq!(booted, 9, "the audit measures instructions alone, so that image is not booted");
    assert!(records[6].figure("across_busy_tlb_broadcast_per_switch").is_some());
    assert!(records[6].figure("cache_most_frames").is_some());
    let (records, _) = run(&[("static", Act::Works(16))], &["static"], true).expect("records");
    assert_eq!(records[6].figure("cache_most_frames"), None, "one CPU has nothing to cross to");
}

#[test]
fn a_commit_that_moves_fails_every_record() {
    let (records, _) = run(&[("static", Act::CommitMoves)], &["static"], true).expect("records");
    assert_eq!(records.len(), 9);
    for record in records {
        assert_eq!((record.status, record.provenance.commit.as_str()), (Status::Failed, "one"));
        let error = record.error.expect("a reason");
        assert!(error.contains("commit changed") && error.contains("then two") && !error.contains('\n'), "{error}");
        assert!(record.figures.is_empty());
    }
}

#[test]
fn without_its_reference_a_policy_has_no_saving() {
    for act in [Act::BuildFails, Act::Hangs, Act::Panics] {
        let (records, _) = run(&[("static", act), ("other", Act::Works(4))], &["other"], true).expect("records");
        for record in &records[..5] {
            assert_eq!(record.status, Status::Failed);
            assert!(record.error.as_deref().is_some_and(|error| error.contains("reference")));
            assert_eq!(record.figure("stack_kib").map(|kib| kib % 4.0), Some(0.0), "what was measured stays");
            assert_eq!(record.figure("saving_percent"), None);
        }
    }
}

#[test]
fn quick_runs_once() {
    let acts = [("static", Act::Works(16))];
    let (full, twice) = run(&acts, &["static"], false).expect("records");
    let (quick, once) = run(&acts, &["static"], true).expect("records");
    assert_eq!((full.len(), twice), (quick.len(), 2 * once));
}

#[test]
fn loads_are_measured_with_their_keys_and_points() {
    let texts = [
        include_str!("../../../tests/workloads/chain.toml"),
        include_str!("../../../tests/workloads/deep-sleepers.toml"),
        include_str!("../../../tests/workloads/fork-join.toml"),
    ];
    let known = Known {
        policies: &["accessed-bit", "ensure", "grow-on-entry", "grow-on-fault", "static"].map(String::from),
        is_package: &|_| true,
        taken: &[],
    };
    let loads = texts.map(|text| Workload::parse("shipped", text, &known).expect("a workload"));
    let measured = |act| run_with(&loads, &[], &[("static", act)], &["static"], false).expect("records").0;
    let records = measured(Act::Works(4));
    assert_eq!(records.iter().map(|record| record.setting.smp).collect::<Vec<_>>(), [1, 4, 1, 1]);
    assert!(records.iter().all(|record| record.status == Status::Ok), "{records:?}");
    assert_eq!((records[0].figure("chain_item_insns"), records[1].figure("chain_item_insns")), (Some(8e5), None));
    assert_eq!((records[2].series["deep"].len(), records[3].figure("fork_after_kib")), (2, Some(8e5)));
    for record in measured(Act::Drifts) {
        assert!(record.error.as_deref().is_some_and(|error| error.contains("two runs disagree")), "{record:?}");
    }
}

#[test]
fn a_workload_may_name_its_cpus_unless_the_command_line_does() {
    let text = include_str!("../../../tests/workloads/boot.toml").replace("memory =", "smp = [1, 4]\nmemory =");
    let known = Known { policies: &[], is_package: &|_| true, taken: &[] };
    let boot = [Workload::parse("mine", &text, &known).expect("a workload")];
    let cpus = |asked: &[u8]| {
        let (records, _) = run_with(&boot, asked, &[("static", Act::Works(4))], &["static"], true).expect("records");
        records.into_iter().map(|record| record.setting.smp).collect::<Vec<_>>()
    };
    assert_eq!((cpus(&[]), cpus(&[2])), (vec![1, 4], vec![2]));
}

#[test]
fn an_interruption_and_a_missing_tool_end_everything() {
    for (act, code) in [(Act::Interrupted, Code::INTERRUPTED), (Act::NoCompiler, Code::MISSING)] {
        let error = run(&[("static", act)], &["static"], true).expect_err("no records");
        assert_eq!(code_of(&error), code);
    }
}

#[test]
fn a_full_disk_ends_everything_at_once() {
    let fake = fake(&[("static", Act::FillsTheDisk)]);
    let error = measured_by(&fake, &workloads(), &[1], &["static"], true).expect_err("no records");
    assert_eq!(error.to_string(), "writing the log");
    let booted = fake.booted.into_inner().expect("no test panics with it");
    assert!(booted <= 2, "each of both workers meets it once: {booted}");
}

#[test]
fn an_image_is_built_once_and_goes_with_its_last_run() {
    let text = include_str!("../../../tests/workloads/boot.toml");
    let known = Known { policies: &[], is_package: &|_| true, taken: &[] };
    let named = |name: &str| text.replace("name = \"boot\"", &format!("name = \"{name}\""));
    let two = ["one", "two"].map(|name| Workload::parse(name, &named(name), &known).expect("a workload"));
    let fake = fake(&[("static", Act::Works(4))]);
    let records = measured_by(&fake, &two, &[1, 2], &["static"], true).expect("records");
    let folders = fake.folders.into_inner().expect("no test panics with it");
    assert_eq!((records.len(), folders.len()), (4, 1));
    assert!(folders[0].upgrade().is_none(), "nobody boots it any more");
}

#[test]
fn steps_count_builds_and_runs() {
    let asked = Asked {
        archs: vec![Arch::X86_64],
        policies: vec!["other".into()],
        smp: vec![1, 4],
        machines: vec![None],
        cpus: vec![Selected::new("max")],
        memory: None,
        timeout: None,
        quick: true,
        jobs: 1,
    };
    let (idle, switch, others) = (2 * (1 + 2 * 5), 2 + 2, 3 * (1 + 2));
    assert_eq!(steps(&asked, &workloads()), idle + switch + others);
}

//! What the comparison must show, held against its records: the promises of README as numbers.

use super::record::{Record, Setting, Status};

/// One promise: a figure, of which policies, and its bound.
#[derive(Debug)]
pub struct Limit {
    /// The figure's key.
    pub key: &'static str,
    /// The policy that it holds for; `None` is every policy.
    pub policy: Option<&'static str>,
    /// The architecture that it holds for; `None` is every architecture. Instructions and images differ, pages do not.
    pub arch: Option<&'static str>,
    /// The workload whose records have it.
    pub workload: &'static str,
    /// What a record must satisfy.
    pub bound: Bound,
}

/// A bound on a figure.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// At least so many times the record's threads.
    PerThread(f64),
    /// At most so many times the record's threads.
    AtMostPerThread(f64),
    /// At most so many times what `static` takes, and so much more; if that was asked for.
    OverStatic(f64, f64),
    /// What was published, but for what its two decimals leave out.
    AsPublished,
}

/// The architecture on which instructions and images are promised so far.
const X86_64: Option<&str> = Some("x86_64");

/// Every promise.
pub const LIMITS: &[Limit] = &[
    reclaim("saving_percent", Bound::AtLeast(75.0)),
    reclaim("stack_faults", Bound::AtMost(0.0)),
    reclaim("pages_reclaimed", Bound::PerThread(3.0)),
    reclaim("oracle_ratio", Bound::AtMost(1.02)),
    boot("image_bytes", 160.0 * 1024.0),
    boot("boot_insns", 1_000_000.0),
    Limit { policy: Some("static"), arch: X86_64, ..switch("yield_insns", 100.0) },
    switch("tlb_local_per_switch", 0.0),
    switch("tlb_broadcast_per_switch", 0.0),
    switch("wake_tlb_local_per_switch", 0.0),
    switch("wake_tlb_broadcast_per_switch", 0.0),
    Limit {
        key: "spawn_join_insns",
        policy: None,
        arch: X86_64,
        workload: "spawn-join",
        bound: Bound::AtMost(3_000.0),
    },
    Limit {
        key: "thread_bytes",
        policy: Some("reclaim-on-sleep"),
        arch: None,
        workload: "sleepers",
        bound: Bound::AtMost(4_700.0),
    },
    deferred("idle-machines", "saving_percent", Bound::AtLeast(75.0)),
    deferred("idle-machines", "stack_faults", Bound::AtMost(0.0)),
    deferred("switch", "yield_insns", Bound::OverStatic(1.0, 2.0)),
    deferred("switch", "wake_insns", Bound::OverStatic(1.05, 0.0)),
    // Of the 1,000 that sleep meanwhile, in the same run.
    deferred("switch", "pages_reclaimed", Bound::AtLeast(3_000.0)),
    deferred("switch", "pte_writes_per_switch", Bound::AtMost(0.0)),
    // Three of four pages, and a switch does nothing.
    ensure("idle-machines", "saving_percent", Bound::AtLeast(25.0)),
    ensure("idle-machines", "stack_faults", Bound::AtMost(0.0)),
    ensure("switch", "yield_insns", Bound::OverStatic(1.0, 0.0)),
    ensure("switch", "wake_insns", Bound::OverStatic(1.0, 0.0)),
    Limit {
        key: "saving_percent",
        policy: Some("grow-on-fault"),
        arch: None,
        workload: "idle-machines",
        bound: Bound::AsPublished,
    },
    call("static", "syscall_insns", Bound::AtMost(120.0)),
    call("static", "pte_writes_per_call", Bound::AtMost(0.0)),
    call("reclaim-on-sleep", "pte_writes_per_call", Bound::AtMost(0.0)),
    call("reclaim-on-sleep", "sleep_tlb_broadcast_per_call", Bound::AtMost(0.0)),
    call("reclaim-on-sleep", "asleep_stack_kib", Bound::AtMostPerThread(4.0)),
    call("grow-on-entry", "tlb_broadcast_per_call", Bound::AtMost(0.0)),
    call("grow-on-entry", "spinning_stack_kib", Bound::AtMostPerThread(4.0)),
];

/// A promise of `reclaim-on-sleep` on each published machine.
const fn reclaim(key: &'static str, bound: Bound) -> Limit {
    Limit { key, policy: Some("reclaim-on-sleep"), arch: None, workload: "idle-machines", bound }
}

/// A promise of `reclaim-on-sleep` about switches in a steady state.
const fn switch(key: &'static str, most: f64) -> Limit {
    Limit { key, policy: Some("reclaim-on-sleep"), arch: None, workload: "switch", bound: Bound::AtMost(most) }
}

/// A promise of `reclaim-deferred`.
const fn deferred(workload: &'static str, key: &'static str, bound: Bound) -> Limit {
    Limit { key, policy: Some("reclaim-deferred"), arch: None, workload, bound }
}

/// A promise of `ensure`.
const fn ensure(workload: &'static str, key: &'static str, bound: Bound) -> Limit {
    Limit { key, policy: Some("ensure"), arch: None, workload, bound }
}

/// A promise about system calls and threads in user mode, on every architecture.
const fn call(policy: &'static str, key: &'static str, bound: Bound) -> Limit {
    Limit { key, policy: Some(policy), arch: None, workload: "system-calls", bound }
}

/// A promise of `hello` under every policy.
const fn boot(key: &'static str, most: f64) -> Limit {
    Limit { key, policy: None, arch: X86_64, workload: "boot", bound: Bound::AtMost(most) }
}

/// What one promise or one record came to.
#[derive(Debug)]
pub struct Verdict {
    /// `idle-machines::AMD Rome 256::reclaim-on-sleep::x86_64::saving_percent`.
    pub name: String,
    /// What is wrong; `None` is a pass.
    pub error: Option<String>,
}

/// Judges every record and every promise about it.
pub fn judge(records: &[Record]) -> Vec<Verdict> {
    records.iter().flat_map(|record| judge_record(record, records)).collect()
}

/// A record's name in verdicts: `idle-machines::AMD Rome 256::reclaim-on-sleep::x86_64`.
pub fn name(record: &Record) -> String {
    let setting = &record.setting;
    let machine = setting.machine.as_ref().map(|name| format!("{name}::")).unwrap_or_default();
    let cpus = if setting.smp > 1 { format!("{}-cpus::", setting.smp) } else { String::new() };
    format!("{}::{machine}{cpus}{}::{}", setting.workload, setting.policy, setting.arch)
}

/// Judges one record: that it is ok, then each promise about it.
fn judge_record(record: &Record, records: &[Record]) -> Vec<Verdict> {
    let setting = &record.setting;
    let name = name(record);
    let unwell = (record.status != Status::Ok).then(|| record.error.clone().unwrap_or_else(|| "not ok".into()));
    let mut verdicts = vec![Verdict { name: format!("{name}::ok"), error: unwell }];
    for limit in LIMITS {
        let meant = limit.workload == setting.workload
            && limit.policy.is_none_or(|policy| policy == setting.policy)
            && limit.arch.is_none_or(|arch| arch == setting.arch);
        if meant && let Some(bound) = known(limit, record, records) {
            verdicts
                .push(Verdict { name: format!("{name}::{}", limit.key), error: check(limit.key, bound, record).err() });
        }
    }
    verdicts
}

/// The bound of a promise about a record, as one that needs no other record; `None` if the record that it needs was not asked for.
fn known(limit: &Limit, record: &Record, records: &[Record]) -> Option<Bound> {
    let Bound::OverStatic(times, more) = limit.bound else { return Some(limit.bound) };
    let setting = |record: &Record| Setting { policy: "static".into(), ..record.setting.clone() };
    let reference = records.iter().find(|other| other.setting == setting(record))?;
    // Two decimals are shown, and the second one of a mean is rounded.
    Some(Bound::AtMost(times * reference.figure(limit.key)? + more + 0.01))
}

/// Holds one record against one promise.
fn check(key: &str, bound: Bound, record: &Record) -> Result<(), String> {
    let value = record.figure(key).ok_or_else(|| format!("{key} was not measured"))?;
    let threads = || record.figure("threads").ok_or("threads was not measured");
    let (fine, bound) = match bound {
        Bound::AtLeast(least) => (value >= least, format!("at least {least}")),
        Bound::AtMost(most) => (value <= most, format!("at most {most}")),
        Bound::PerThread(least) => {
            let least = least * threads()?;
            (value >= least, format!("at least {least}"))
        }
        Bound::OverStatic(..) => unreachable!("it is known by now"),
        Bound::AsPublished => {
            let published = record.figure("published_saving_percent").ok_or("nothing was published")?;
            ((value - published).abs() < 0.01, format!("{published}, as published"))
        }
        Bound::AtMostPerThread(most) => {
            let most = most * threads()?;
            (value <= most, format!("at most {most}"))
        }
    };
    if fine { Ok(()) } else { Err(format!("{key} is {value}, but must be {bound}")) }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{record, work};
    use super::judge;
    use crate::compare::record::{Record, Status};

    const GOOD: &[(&str, f64)] = &[
        ("threads", 10.0),
        ("saving_percent", 75.0),
        ("stack_faults", 0.0),
        ("pages_reclaimed", 30.0),
        ("oracle_ratio", 1.02),
    ];

    fn wrong(policy: &str, figures: &[(&str, f64)]) -> Vec<String> {
        let verdicts = judge(&[record(policy, Some("A 1"), figures)]);
        verdicts.into_iter().filter_map(|verdict| verdict.error).collect()
    }

    #[test]
    fn the_bounds_are_inclusive() {
        assert_eq!(wrong("reclaim-on-sleep", GOOD), [""; 0]);
        assert_eq!(judge(&[record("reclaim-on-sleep", Some("A 1"), GOOD)]).len(), 5);
    }

    #[test]
    fn each_promise_can_break() {
        for (key, value) in
            [("saving_percent", 74.9999), ("stack_faults", 1.0), ("pages_reclaimed", 29.0), ("oracle_ratio", 1.0201)]
        {
            let figures: Vec<_> = GOOD.iter().map(|(k, v)| (*k, if *k == key { value } else { *v })).collect();
            let errors = wrong("reclaim-on-sleep", &figures);
            assert!(errors.len() == 1 && errors[0].contains(key), "{key}: {errors:?}");
        }
        let boot = judge(&[record("static", None, &[("image_bytes", 163_841.0), ("boot_insns", 1_000_001.0)])]);
        assert_eq!(boot.iter().filter(|verdict| verdict.error.is_some()).count(), 2);
    }

    #[test]
    fn a_promise_may_be_about_what_static_takes_or_what_was_published() {
        let wrong =
            |records: &[Record]| judge(records).into_iter().filter_map(|verdict| verdict.error).collect::<Vec<_>>();
        let switch = |policy: &str, cost: f64| {
            let figures = [
                ("yield_insns", 80.0 + cost),
                ("wake_insns", 100.0 + cost),
                ("pages_reclaimed", 3_000.0),
                ("pte_writes_per_switch", 0.0),
            ];
            work(policy, "switch", &figures)
        };
        assert_eq!(wrong(&[switch("static", 0.0), switch("reclaim-deferred", 2.0)]), [""; 0]);
        assert_eq!(wrong(&[switch("static", 0.0), switch("reclaim-deferred", 2.1)]).len(), 1, "the yield");
        assert_eq!(wrong(&[switch("static", 0.0), switch("reclaim-deferred", 5.1)]).len(), 2, "the wake-up too");
        assert_eq!(wrong(&[switch("reclaim-deferred", 5.1)]), [""; 0], "static was not asked for");
        let machine = |saving: f64| {
            record("grow-on-fault", Some("A 1"), &[("saving_percent", saving), ("published_saving_percent", 73.42)])
        };
        assert_eq!(wrong(&[machine(73.4158)]), [""; 0]);
        assert_eq!(wrong(&[machine(73.43)]).len(), 1);
    }

    #[test]
    fn each_promise_about_work_can_break() {
        let errors = |policy: &str, workload: &str, figures: &[(&str, f64)]| {
            let verdicts = judge(&[work(policy, workload, figures)]);
            verdicts.into_iter().filter_map(|verdict| verdict.error).collect::<Vec<_>>()
        };
        assert_eq!(errors("static", "switch", &[("yield_insns", 100.0)]), [""; 0]);
        assert_eq!(errors("static", "switch", &[("yield_insns", 100.01)]).len(), 1);
        for policy in ["static", "reclaim-on-sleep"] {
            assert_eq!(errors(policy, "spawn-join", &[("spawn_join_insns", 3000.0)]), [""; 0]);
            assert_eq!(errors(policy, "spawn-join", &[("spawn_join_insns", 3000.01)]).len(), 1);
        }
        assert_eq!(errors("reclaim-on-sleep", "sleepers", &[("thread_bytes", 4700.0)]), [""; 0]);
        assert_eq!(errors("reclaim-on-sleep", "sleepers", &[("thread_bytes", 4701.0)]).len(), 1);
        let quiet = [
            "tlb_local_per_switch",
            "tlb_broadcast_per_switch",
            "wake_tlb_local_per_switch",
            "wake_tlb_broadcast_per_switch",
        ];
        for loud in quiet {
            let figures = quiet.map(|key| (key, if key == loud { 0.01 } else { 0.0 }));
            let errors = errors("reclaim-on-sleep", "switch", &figures);
            assert!(errors.len() == 1 && errors[0].contains(loud), "{loud}: {errors:?}");
        }
    }

    #[test]
    fn each_promise_about_system_calls_can_break() {
        let holds = [
            ("static", "syscall_insns", 120.0),
            ("static", "pte_writes_per_call", 0.0),
            ("reclaim-on-sleep", "pte_writes_per_call", 0.0),
            ("reclaim-on-sleep", "sleep_tlb_broadcast_per_call", 0.0),
            ("reclaim-on-sleep", "asleep_stack_kib", 40.0),
            ("grow-on-entry", "tlb_broadcast_per_call", 0.0),
            ("grow-on-entry", "spinning_stack_kib", 40.0),
        ];
        for (policy, broken, _) in holds {
            let errors = |more: f64| {
                let of_policy = holds.iter().filter(|(other, ..)| *other == policy);
                let figures = of_policy.map(|&(_, key, most)| (key, if key == broken { most + more } else { most }));
                let figures: Vec<_> = figures.chain([("threads", 10.0)]).collect();
                let verdicts = judge(&[work(policy, "system-calls", &figures)]);
                verdicts.into_iter().filter_map(|verdict| verdict.error).collect::<Vec<_>>()
            };
            assert_eq!(errors(0.0), [""; 0], "{policy}");
            assert!(matches!(&errors(0.01)[..], [one] if one.contains(broken)), "{policy}: {broken}");
        }
    }

    #[test]
    fn what_was_not_measured_breaks_its_promise() {
        assert_eq!(wrong("reclaim-on-sleep", &[]).len(), 4);
        let mut failed = record("static", Some("A 1"), &[]);
        failed.status = Status::Crashed;
        failed.error = Some("gone".into());
        assert_eq!(judge(&[failed]).len(), 1);
    }
}

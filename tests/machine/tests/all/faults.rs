//! Faults that the command line asks for, under each policy: whatever goes wrong, every thread comes to its end, with every invariant.

use ebbtide_core::StackPolicy;
use ebbtide_machine::{End, Outcome, Plan};
use ebbtide_policy_accessed_bit::AccessedBit;
use ebbtide_policy_ensure::Ensure;
use ebbtide_policy_grow_on_entry::GrowOnEntry;
use ebbtide_policy_grow_on_fault::GrowOnFault;
use ebbtide_policy_reclaim_before_switch::ReclaimBeforeSwitch;
use ebbtide_policy_reclaim_deferred::ReclaimDeferred;
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;
use ebbtide_policy_static::Static;
use proptest::prelude::*;

use crate::exhaustion;
use crate::random::{cases, plan, tasks};

/// Each fault alone, and some together. On this machine going deep is left to the programs, which do so anyway: its stack pointer does not
/// move with core's own code.
const FAULTS: [&str; 9] = [
    "alloc:1",
    "alloc:5",
    "alloc-every:2",
    "alloc-every:7",
    "cache-cap:1",
    "drain:1",
    "ipi-delay:40",
    "alloc-every:3,cache-cap:2,drain:2,ipi-delay:20",
    "alloc-every:2,cache-cap:1,drain:1,ipi-delay:10",
];

/// How many faults there were.
fn injected(run: &Outcome) -> u64 {
    let line = run.console.lines().find_map(|line| line.strip_prefix("ebbtide: ")?.split_once(" faults injected: "));
    line.unwrap_or_else(|| panic!("the end tells of faults: {run}")).0.parse().unwrap()
}

/// Programs that take frames in all ways, under each fault, on one CPU and on three.
fn comes_through<P: StackPolicy>(is_hit: impl Fn(&str) -> bool) {
    for faults in FAULTS {
        for cpus in [1, 3] {
            // Time slices are longer than a switch that has to ask again and again.
            let plan = Plan::wild(7, cpus).cache(16).step_ns(5_000).faults(faults);
            let run = plan.run_tasks_audited::<P>(exhaustion::tasks()).unwrap();
            let is_hit = is_hit(faults) && (cpus > 1 || !faults.starts_with("ipi"));
            assert!(injected(&run) > 0 || !is_hit, "{faults} on {cpus} CPUs: {run}");
        }
    }
}

macro_rules! each_comes_through {
    ($($test:ident, $random:ident: $policy:ty where $is_hit:expr;)*) => {
        $(
            #[test]
            fn $test() {
                comes_through::<$policy>($is_hit);
            }

            proptest! {
                #![proptest_config(cases(10))]

                #[test]
                fn $random(seed: u64, cpus in 1..4usize, faults in prop::sample::select(&FAULTS), tasks in tasks()) {
                    plan(seed, cpus, true).step_ns(5_000).faults(faults).run_tasks_audited::<$policy>(tasks).unwrap();
                }
            }
        )*
    };
}

/// A policy whose switches take frames from the caches meets all faults.
fn any(_: &str) -> bool {
    true
}

/// Where threads have their frames from the beginning, caches are for nothing but what ended threads leave.
fn refusals(faults: &str) -> bool {
    faults.starts_with("alloc")
}

each_comes_through! {
    accessed_bit, accessed_bit_by_lot: AccessedBit where any;
    ensure, ensure_by_lot: Ensure where refusals;
    grow_on_entry, grow_on_entry_by_lot: GrowOnEntry where refusals;
    grow_on_fault, grow_on_fault_by_lot: GrowOnFault where any;
    reclaim_before_switch, reclaim_before_switch_by_lot: ReclaimBeforeSwitch where any;
    reclaim_deferred, reclaim_deferred_by_lot: ReclaimDeferred where refusals;
    reclaim_on_sleep, reclaim_on_sleep_by_lot: ReclaimOnSleep where any;
    static_, static_by_lot: Static where refusals;
}

proptest! {
    #![proptest_config(cases(40))]

    /// Where memory does end, it is said so: what is refused beside that keeps nobody looking for frames for ever.
    #[test]
    fn memory_that_ends_is_told(
        seed: u64, cpus in 1..4usize, frames in 90..250usize, faults in prop::sample::select(&FAULTS), tasks in tasks()
    ) {
        let run = plan(seed, cpus, true).frames(frames).step_ns(5_000).faults(faults).run_tasks_audited::<ReclaimOnSleep>(tasks);
        prop_assert!(matches!(run.end, End::Exit(0 | 103)), "{}", run);
    }
}

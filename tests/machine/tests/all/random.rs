//! Random programs on random schedules.

use ebbtide_core::memory::frames::Refusal;
use ebbtide_machine::program::{Op, Task};
use ebbtide_machine::{End, Fill, Plan};
use ebbtide_policy_accessed_bit::AccessedBit;
use ebbtide_policy_ensure::Ensure;
use ebbtide_policy_grow_on_entry::GrowOnEntry;
use ebbtide_policy_grow_on_fault::GrowOnFault;
use ebbtide_policy_reclaim_before_switch::ReclaimBeforeSwitch;
use ebbtide_policy_reclaim_deferred::ReclaimDeferred;
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;
use ebbtide_policy_static::Static;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn op() -> impl Strategy<Value = Op> {
    let leaf = prop_oneof![
        (1..200u32).prop_map(Op::Work),
        (1..200u32).prop_map(Op::UserMode),
        Just(Op::Yield),
        (1..3_000_000u64).prop_map(Op::Sleep),
        Just(Op::Take),
        Just(Op::Give),
        Just(Op::Park),
        (1..300_000u64).prop_map(|ns| Op::Locked(vec![Op::Sleep(ns), Op::Yield])),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let ops = prop::collection::vec(inner, 1..4);
        prop_oneof![
            3 => (8..12_000u64, ops.clone()).prop_map(|(bytes, ops)| Op::Deeper(bytes, ops)),
            1 => task_of(ops).prop_map(Op::Spawn),
        ]
    })
}

pub(super) fn task_of(ops: impl Strategy<Value = Vec<Op>>) -> impl Strategy<Value = Task> {
    let pinned = prop::bool::weighted(0.1);
    (prop::sample::select(vec![8 << 10, 16 << 10, 16 << 10, 32 << 10, 64 << 10]), pinned, 15..18u8, ops)
        .prop_map(|(stack_bytes, pinned, priority, ops)| Task { stack_bytes, pinned, priority, ops })
}

pub(crate) fn tasks() -> impl Strategy<Value = Vec<Task>> {
    prop::collection::vec(task_of(prop::collection::vec(op(), 1..6)), 2..8)
}

pub(crate) fn plan(seed: u64, cpus: usize, eager: bool) -> Plan {
    let fill = if eager { Fill::Eager } else { Fill::OneStepIn(3) };
    Plan::wild(seed, cpus).cache(16).fill(fill)
}

/// So many cases, each of a few thousand steps: always the same ones, unless `PROPTEST_RNG_SEED` says otherwise.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let chosen = ProptestConfig::default();
    let rng_seed = if chosen.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { chosen.rng_seed };
    // A case is one seed and one program, which the failure prints: there is nothing to keep in a file.
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..chosen }
}

/// So many programs under each policy, of those that a strategy makes.
macro_rules! each_keeps_every_invariant {
    ($programs:ident: $($test:ident: $cases:literal under $policy:ty,)*) => {
        $(
            proptest! {
                #![proptest_config(cases($cases))]

                #[test]
                fn $test(seed: u64, cpus in 1..4usize, eager: bool, tasks in $programs()) {
                    plan(seed, cpus, eager).run_tasks::<$policy, 20>(tasks).unwrap();
                }
            }
        )*
    };
}
pub(super) use each_keeps_every_invariant;

each_keeps_every_invariant! {
    tasks:
    accessed_bit_keeps_every_invariant: 120 under AccessedBit,
    ensure_keeps_every_invariant: 60 under Ensure,
    grow_on_entry_keeps_every_invariant: 120 under GrowOnEntry,
    grow_on_fault_keeps_every_invariant: 120 under GrowOnFault,
    reclaim_before_switch_keeps_every_invariant: 120 under ReclaimBeforeSwitch,
    reclaim_deferred_keeps_every_invariant: 120 under ReclaimDeferred,
    reclaim_on_sleep_keeps_every_invariant: 120 under ReclaimOnSleep,
    static_keeps_every_invariant: 60 under Static,
}

proptest! {
    #![proptest_config(cases(120))]

    /// As `memory_that_ends_breaks_nothing`, with threads that go to user mode; `border` is about an entry that finds no frame.
    #[test]
    fn memory_that_ends_at_an_entry_breaks_nothing(seed: u64, cpus in 1..4usize, frames in 90..250usize, tasks in tasks()) {
        let run = plan(seed, cpus, true).frames(frames).run_tasks::<GrowOnEntry, 20>(tasks);
        prop_assert!(matches!(run.end, End::Exit(0 | 103)), "{}", run);
    }

    /// Memory may end anywhere: a spawn fails, threads wait for frames or for good, and nothing breaks on the way there.
    #[test]
    fn memory_that_ends_breaks_nothing(seed: u64, cpus in 1..4usize, frames in 90..250usize, tasks in tasks()) {
        let run = plan(seed, cpus, true).frames(frames).run_tasks::<ReclaimOnSleep, 20>(tasks);
        prop_assert!(matches!(run.end, End::Exit(0 | 103)), "{}", run);
    }

    /// The same where who finds no frames sweeps those that sleep.
    #[test]
    fn memory_that_ends_under_a_reclaimer_breaks_nothing(seed: u64, cpus in 1..4usize, frames in 90..250usize, tasks in tasks()) {
        let run = plan(seed, cpus, true).frames(frames).run_tasks::<ReclaimDeferred, 20>(tasks);
        prop_assert!(matches!(run.end, End::Exit(0 | 103)), "{}", run);
    }

    /// The same where a stack is shrunk before it is left.
    #[test]
    fn memory_that_ends_at_a_switch_breaks_nothing(seed: u64, cpus in 1..4usize, frames in 90..250usize, tasks in tasks()) {
        let run = plan(seed, cpus, true).frames(frames).run_tasks::<ReclaimBeforeSwitch, 20>(tasks);
        prop_assert!(matches!(run.end, End::Exit(0 | 103)), "{}", run);
    }

    /// The same where a thread keeps what it has accessed, as long as nobody waits for frames.
    #[test]
    fn memory_that_ends_under_those_who_keep_it_breaks_nothing(seed: u64, cpus in 1..4usize, frames in 90..250usize, tasks in tasks()) {
        let run = plan(seed, cpus, true).frames(frames).run_tasks::<AccessedBit, 20>(tasks);
        prop_assert!(matches!(run.end, End::Exit(0 | 103)), "{}", run);
    }

    /// The same where a fault finds what was reserved for it, or the thread did not run.
    #[test]
    fn memory_that_ends_under_growing_stacks_breaks_nothing(seed: u64, cpus in 1..4usize, frames in 90..250usize, tasks in tasks()) {
        let run = plan(seed, cpus, true).frames(frames).run_tasks::<GrowOnFault, 20>(tasks);
        prop_assert!(matches!(run.end, End::Exit(0 | 103)), "{}", run);
    }

    /// The same where every so many calls of the frame allocator fail; a run that goes on to its end has no frame lost, and
    /// spawns again.
    #[test]
    fn frames_that_are_refused_break_nothing(seed: u64, cpus in 1..4usize, every in 1..40u64, tasks in tasks()) {
        let refusal = Refusal::Every(every.try_into().unwrap());
        // Steps so short that a time slice is longer than a switch that has to ask again and again.
        let run = plan(seed, cpus, true).step_ns(5_000).refusing(refusal).run_tasks::<ReclaimOnSleep, 20>(tasks);
        prop_assert!(matches!(run.end, End::Exit(0 | 103)), "{}", run);
    }
}

//! Closures on temporary stacks, under every policy.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::stack::{CallError, StackError, call_with};
use ebbtide_core::thread::{Builder, CpuSet, set_affinity, yield_now};
use ebbtide_core::{StackPolicy, System, cpu};
use ebbtide_machine::program::{Op, Task};
use ebbtide_machine::tamper::{own_page, read};
use ebbtide_machine::{Fill, Host, Plan, cpu_number, deeper, in_user_mode, room, settle, sleep, work};
use ebbtide_policy_accessed_bit::AccessedBit;
use ebbtide_policy_ensure::Ensure;
use ebbtide_policy_grow_on_entry::GrowOnEntry;
use ebbtide_policy_grow_on_fault::GrowOnFault;
use ebbtide_policy_reclaim_before_switch::ReclaimBeforeSwitch;
use ebbtide_policy_reclaim_deferred::ReclaimDeferred;
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;
use ebbtide_policy_static::Static;
use proptest::prelude::*;

use super::exhaustion::{every_single_refusal_of, give_back, hoard};
use super::random::{cases, each_keeps_every_invariant, plan, task_of};

/// Bytes that are borrowed: more than a thread has with a stack of [`SMALL`].
const BYTES: usize = 32 << 10;

/// Bytes of the stacks of the threads that borrow.
const SMALL: usize = 8 << 10;

/// Long enough for the reclaimer to come by twice, in nanoseconds.
const LONG: u64 = 10_000_000;

/// A test of each function of a policy, for each policy.
macro_rules! under_every_policy {
    ($($test:ident),* $(,)?) => {
        $(
            mod $test {
                use super::*;

                under_every_policy! { $test:
                    accessed_bit AccessedBit, ensure Ensure, grow_on_entry GrowOnEntry, grow_on_fault GrowOnFault,
                    reclaim_before_switch ReclaimBeforeSwitch, reclaim_deferred ReclaimDeferred,
                    reclaim_on_sleep ReclaimOnSleep, r#static Static,
                }
            }
        )*
    };
    ($test:ident: $($name:ident $policy:ty),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                super::$test::<$policy>();
            }
        )*
    };
}

under_every_policy![
    a_sleeper_keeps_what_it_has_left,
    calls_nest_on_every_cpu,
    a_call_for_which_the_kth_frame_is_missing_fails_and_loses_no_frame,
    a_frame_may_be_refused_once,
    nothing_is_borrowed_where_nobody_may_sleep,
    a_thread_that_was_in_user_mode_borrows,
];

fn call<S: System, R>(bytes: usize, f: impl FnOnce() -> R) -> R {
    call_with::<S, _>(bytes, f).expect("there is memory")
}

/// The first `count` pages of the stack that the thread is on, from the top down.
fn pages(count: u64) -> Vec<u64> {
    (0..count).map(own_page).collect()
}

fn present(pages: &[u64]) -> usize {
    pages.iter().filter(|page| matches!(read(**page), StackEntry::Present { .. })).count()
}

/// The policy has the temporary stack's pages below the stack pointer, and none of the stack that was left.
fn a_sleeper_keeps_what_it_has_left<P: StackPolicy>() {
    let rests = P::RESTS_AT_SWITCH || P::SWEEPS;
    let run = Plan::new(1).fill(Fill::OnUse).run::<Host<P>>(move || {
        let (told, tell) = std::sync::mpsc::channel();
        let thread = Builder::new().stack_size(16 << 10).spawn::<Host<P>, _, _>(move || {
            let left = pages(3);
            call::<Host<P>, _>(BYTES, || {
                let borrowed = pages(7);
                assert_eq!((present(&left), present(&borrowed)), (3, 7), "pages at the beginning of a call");
                deeper(PAGE_BYTES, || {
                    told.send((left, borrowed)).unwrap();
                    sleep::<Host<P>>(3 * LONG);
                });
            });
        });
        sleep::<Host<P>>(2 * LONG);
        let (left, borrowed) = tell.try_recv().expect("it sleeps");
        assert_eq!(present(&left), 3, "pages of the stack that was left");
        assert_eq!(present(&borrowed), if rests { 2 } else { 7 }, "pages of the one that was borrowed");
        thread.unwrap().join().unwrap();
        sleep::<Host<P>>(LONG);
        settle::<Host<P>>();
    });
    run.unwrap();
}

/// Calls itself on smaller and larger stacks, `depth` times, sleeps in each, and is on another CPU when it is back.
fn nest<S: System>(depth: u64, cpus: &mut BTreeSet<usize>) {
    let here = |cpu: u64| {
        set_affinity::<S>(CpuSet::only(cpu as u32 % 3)).expect("it runs");
        assert_eq!(cpu_number(), cpu as usize % 3, "where it went");
    };
    deeper(300 * depth, || {
        cpus.insert(cpu_number());
        if depth > 0 {
            call::<S, _>((8 << 10) << (depth % 3), || {
                here(depth);
                nest::<S>(depth - 1, cpus);
                deeper(room(), || sleep::<S>(300_000));
            });
            here(depth + 1);
            work(300);
            yield_now::<S>();
        }
    });
}

fn calls_nest_on_every_cpu<P: StackPolicy>() {
    for seed in 0..4 {
        let run = Plan::wild(seed, 3).run::<Host<P>>(|| {
            let nested = || {
                let mut cpus = BTreeSet::new();
                nest::<Host<P>>(5, &mut cpus);
                assert_eq!(cpus.len(), 3, "CPUs that it was on");
            };
            let threads: Vec<_> = (0..4).map(|_| Builder::new().spawn::<Host<P>, _, _>(nested).unwrap()).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            sleep::<Host<P>>(LONG);
            settle::<Host<P>>();
        });
        run.unwrap();
    }
}

/// Borrows when `left` frames are left, and says whether that went well. Afterwards every frame is where it belongs, and with memory
/// at hand the same call goes well.
fn borrow_with<S: System>(left: usize) -> bool {
    let called = AtomicBool::new(false);
    // No stack of this size was ever used, so there is no page table for it.
    let borrow = || {
        called.store(false, Ordering::Relaxed);
        call_with::<S, _>(BYTES, || deeper(room(), || called.store(true, Ordering::Relaxed)))
    };
    // All of this thread's stack is in use: nothing of it rests.
    deeper(room(), || {
        settle::<S>();
        let hoarded = hoard::<S>(left);
        let found = borrow();
        give_back::<S>(hoarded);
        assert_eq!(called.load(Ordering::Relaxed), found.is_ok(), "whether it was called: {found:?}");
        assert!(matches!(found, Ok(()) | Err(CallError::NoStack(StackError::NoFrame { .. }))), "{found:?}");
        sleep::<S>(LONG);
        settle::<S>();
        borrow().expect("there is memory");
        assert!(called.load(Ordering::Relaxed), "it was not called");
        sleep::<S>(LONG);
        settle::<S>();
        found.is_ok()
    })
}

fn a_call_for_which_the_kth_frame_is_missing_fails_and_loses_no_frame<P: StackPolicy>() {
    let well = |left| {
        let (told, tell) = std::sync::mpsc::channel();
        let borrows = move || told.send(borrow_with::<Host<P>>(left)).unwrap();
        Plan::wild(1, 1).run::<Host<P>>(move || {
            // Its frames for faults, if it has any, were put by before.
            let thread = Builder::new().spawn::<Host<P>, _, _>(borrows);
            thread.unwrap().join().unwrap();
        });
        tell.recv().expect("the run went well")
    };
    let least = (0..100).find(|left| well(*left)).expect("100 frames are enough for a call");
    assert!(least > 7, "the stack alone has 7 pages or more, and it went well with {least}");
    assert!(well(least + 1), "it went well with fewer");
}

/// A bit of everything that borrows: small and large, deep and shallow, one in another, and as a thread's last.
fn tasks() -> Vec<Task> {
    let task = |ops| Task { stack_bytes: SMALL, pinned: false, priority: 16, ops };
    let deep = |bytes| Op::Deeper(bytes, vec![Op::Sleep(100_000)]);
    let inner = Op::Borrow(128 << 10, vec![deep(90_000), Op::Work(100)]);
    let outer = Op::Borrow(BYTES, vec![deep(6_000), Op::Deeper(9_000, vec![inner]), deep(20_000)]);
    let child = task(vec![Op::Borrow(64 << 10, vec![deep(40_000)])]);
    let spawns = Op::Borrow(SMALL, vec![Op::Spawn(child), deep(5_000)]);
    vec![task(vec![Op::Deeper(3_000, vec![outer])]), task(vec![Op::Sleep(100_000), spawns])]
}

fn a_frame_may_be_refused_once<P: StackPolicy>() {
    every_single_refusal_of::<P>(2, tasks);
}

fn nothing_is_borrowed_where_nobody_may_sleep<P: StackPolicy>() {
    type Found = Result<(), CallError>;
    let run = Plan::new(1).run::<Host<P>>(|| {
        let asks = || -> Found { call_with::<Host<P>, _>(BYTES, || panic!("it was called")) };
        assert_eq!(cpu::without_interrupts::<Host<P>, _>(asks), Err(CallError::MayNotSleep), "with interrupts off");
        assert_eq!(cpu::without_preemption::<Host<P>, _>(asks), Err(CallError::MayNotSleep), "with preemption off");
    });
    run.unwrap();
}

/// Its own stack is as a system call finds it: the call's frames lie on it, and it goes to user mode from there when it is back.
fn a_thread_that_was_in_user_mode_borrows<P: StackPolicy>() {
    for seed in 0..8 {
        let run = Plan::wild(seed, 2).run::<Host<P>>(|| {
            let thread = Builder::new().spawn::<Host<P>, _, _>(|| {
                for bytes in [SMALL, BYTES, 128 << 10] {
                    in_user_mode::<Host<P>>(|| work(100));
                    deeper(500, || {
                        call::<Host<P>, _>(bytes, || {
                            deeper(room() / 2, || sleep::<Host<P>>(200_000));
                            yield_now::<Host<P>>();
                        });
                    });
                }
            });
            thread.unwrap().join().unwrap();
            sleep::<Host<P>>(LONG);
            settle::<Host<P>>();
        });
        run.unwrap();
    }
}

fn op() -> impl Strategy<Value = Op> {
    let leaf = prop_oneof![
        (1..200u32).prop_map(Op::Work),
        (1..200u32).prop_map(Op::UserMode),
        Just(Op::Yield),
        (1..3_000_000u64).prop_map(Op::Sleep),
        Just(Op::Take),
        Just(Op::Give),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        let ops = prop::collection::vec(inner, 1..4);
        prop_oneof![
            2 => (8..12_000u64, ops.clone()).prop_map(|(bytes, ops)| Op::Deeper(bytes, ops)),
            3 => (1..100_000usize, ops.clone()).prop_map(|(bytes, ops)| Op::Borrow(bytes, ops)),
            1 => task_of(ops).prop_map(Op::Spawn),
        ]
    })
}

fn borrowers() -> impl Strategy<Value = Vec<Task>> {
    prop::collection::vec(task_of(prop::collection::vec(op(), 1..5)), 2..6)
}

each_keeps_every_invariant! {
    borrowers:
    random_calls_keep_every_invariant_under_accessed_bit: 25 under AccessedBit,
    random_calls_keep_every_invariant_under_ensure: 15 under Ensure,
    random_calls_keep_every_invariant_under_grow_on_entry: 25 under GrowOnEntry,
    random_calls_keep_every_invariant_under_grow_on_fault: 25 under GrowOnFault,
    random_calls_keep_every_invariant_under_reclaim_before_switch: 25 under ReclaimBeforeSwitch,
    random_calls_keep_every_invariant_under_reclaim_deferred: 25 under ReclaimDeferred,
    random_calls_keep_every_invariant_under_reclaim_on_sleep: 25 under ReclaimOnSleep,
    random_calls_keep_every_invariant_under_static: 15 under Static,
}

//! Pages that rest, between CPUs that take them back, CPUs that free them, and CPUs that only walk.

use ebbtide_core::System;
use ebbtide_core::thread::{park, yield_now};
use ebbtide_model::{Fill, Model, Plan, Reach, Walker, unpark};

use super::{finds, well};

/// Frames that are enough: a refill takes eight at once.
const PLENTY: usize = 10;

/// A thread sleeps on CPU 0, whose idle thread frees what it let rest; one on CPU 1 wakes it, and there it goes on, and
/// sleeps again.
pub(super) fn wanders<S: System>(frames: usize, sleeps: usize) -> Plan {
    Plan::new(2, frames)
        .thread(0, move || (0..sleeps).for_each(|_| park::<S>()))
        .thread(1, move || {
            for _ in 0..sleeps {
                unpark::<S>(0);
                yield_now::<S>();
            }
        })
        // Two wake-ups may come as one.
        .judge(|ended| ended.code == Some(101) && ended.finished[1])
}

#[test]
fn a_page_goes_from_cpu_to_cpu_while_it_is_freed() {
    well::<Model>("frames for all, 1 sleep", wanders::<Model>(PLENTY, 1));
    well::<Model>("frames for all, 2 sleeps", wanders::<Model>(PLENTY, 2));
    for frames in 1..4 {
        well::<Model>(&format!("{frames} frames, 1 sleep"), wanders::<Model>(frames, 1).idles_at_once());
    }
}

/// Two threads change places, and so do their frames.
#[test]
fn frames_go_from_stack_to_stack() {
    for frames in [2, 3, PLENTY] {
        let plan = Plan::new(2, frames)
            .idles_at_once()
            .thread(0, || {
                park::<Model>();
                unpark::<Model>(1);
            })
            .thread(1, || {
                unpark::<Model>(0);
                park::<Model>();
            });
        well::<Model>(&format!("{frames} frames, two that take turns"), plan);
    }
}

/// A third CPU, whose walker takes what it finds.
#[test]
fn a_cpu_that_only_walks_is_asked_too() {
    well::<Model>("a third CPU", wanders::<Model>(PLENTY, 2).walker(Walker::Early));
}

/// Shootdowns by interrupts, core's own: two CPUs that ask each other.
#[test]
fn cpus_that_interrupt_each_other_forget_what_is_freed() {
    well::<Model>("by interrupts, 1 sleep", wanders::<Model>(PLENTY, 1).interrupts_for_shootdowns());
    let plan = wanders::<Model<0>>(PLENTY, 2).interrupts_for_shootdowns();
    finds::<Model<0>>("has left page 1 of thread 0", "by interrupts, no generations", plan);
}

/// It comes at any time: it joins, invalidates, and only then walks.
#[test]
fn a_cpu_may_join_while_pages_are_freed() {
    well::<Model>("a third CPU that comes late", wanders::<Model>(PLENTY, 1).walker(Walker::Late));
}

#[test]
fn a_cpu_that_walks_before_it_joins_knows_what_was_freed() {
    let plan = wanders::<Model>(PLENTY, 2).walker(Walker::WalksBeforeItJoins);
    finds::<Model>("and the TLB of CPU 2 maps it there", "walks before it joins", plan);
}

/// TLBs that may take an entry or not, at any step, find no more than those that always do.
#[test]
fn walkers_may_walk_at_any_time() {
    well::<Model>("walkers at any time, 1 sleep", wanders::<Model>(PLENTY, 1).fill(Fill::AnyTime));
    let plan = wanders::<Model<0>>(PLENTY, 2).fill(Fill::AnyTime);
    finds::<Model<0>>("has left page 1 of thread 0", "walkers at any time, no generations", plan);
}

/// The hole that the generation closes.
#[test]
fn without_generations_a_frame_is_freed_that_a_tlb_knows() {
    finds::<Model<0>>("has left page 1 of thread 0", "no generations", wanders::<Model<0>>(PLENTY, 2));
}

/// Generations that come round too soon are as good as none: one bit, and two rests more.
#[test]
fn generations_of_one_bit_come_round_too_soon() {
    finds::<Model<1>>("has left page 1 of thread 0", "generations of one bit", wanders::<Model<1>>(PLENTY, 3));
}

#[test]
fn an_invalidation_here_only_leaves_another_tlb_behind() {
    let plan = wanders::<Model>(PLENTY, 1).reach(Reach::Here);
    finds::<Model>("has left page 1 of thread 0", "invalidates here only", plan);
}

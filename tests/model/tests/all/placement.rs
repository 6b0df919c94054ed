//! Threads that go from CPU to CPU: placed on an idle one, offered to one, moved by an affinity; and the look of the last CPU that
//! goes idle whether anything can still happen.
//!
//! Interrupts between CPUs come at any point with interrupts on, and others may come in at each step of these protocols.

use ebbtide_core::model;
use ebbtide_core::platform::{Ipi, Platform};
use ebbtide_core::sync::Semaphore;
use ebbtide_core::thread::{CpuSet, park, set_affinity, yield_now};
use ebbtide_model::{Board, Model, Plan, done, unpark, work};

use super::well;

/// Frames that are enough for every CPU's first refill.
const PLENTY: usize = 24;

type S = Model;

/// Two CPUs, all steps of placement, and an end that says that no thread is left.
fn two_cpus(frames: usize) -> Plan {
    Plan::new(2, frames).between_cpus().judge(|ended| ended.code == Some(101) && ended.all_finished())
}

/// A thread that sleeps is woken from the other CPU: where it slept, if that CPU is idle, or else where the waker is.
#[test]
fn a_wake_up_across_cpus_is_not_lost() {
    let plan = two_cpus(PLENTY).thread(0, park::<S>).thread(1, || {
        unpark::<S>(0);
        work();
    });
    well::<S>("woken across CPUs", plan);
}

/// Both begin on one CPU; the other one goes idle, asks for work, and gets one of them, before it halts or after.
#[test]
fn a_cpu_that_goes_idle_gets_a_thread_that_waits_for_its_turn() {
    let plan = two_cpus(PLENTY).thread(0, work).thread(0, || {
        yield_now::<S>();
        work();
    });
    well::<S>("offered", plan);
}

/// Whoever wakes another one leaves at the same moment: the CPUs go idle and are woken crosswise.
#[test]
fn nobody_is_taken_for_dead_who_is_on_the_way() {
    let mut plan = two_cpus(PLENTY);
    let permits: &'static Semaphore<S> = plan.share(Semaphore::new(0));
    let plan = plan.thread(0, || permits.acquire()).thread(1, || permits.release());
    well::<S>("a permit across CPUs", plan);
}

/// Another CPU is interrupted for nothing, as when the whole machine is looked at: nobody takes it for busy meanwhile, or who waits
/// until all are idle would wait for as long as somebody looks.
#[test]
fn an_interrupt_that_brings_nothing_leaves_a_cpu_idle() {
    let is_idle = model::others_are_idle::<S>;
    let plan = Plan::new(2, PLENTY).between_cpus().judge(|ended| ended.done == [1]).thread(0, move || {
        while !is_idle() {
            yield_now::<S>();
        }
        Board::send_ipi(1, Ipi::Reschedule);
        let was_always_idle = (0..8).fold(true, |was, _| {
            work();
            was & is_idle()
        });
        if was_always_idle {
            done();
        }
    });
    well::<S>("interrupted for nothing", plan);
}

/// A thread moves to the other CPU, and back.
#[test]
fn an_affinity_moves_a_thread() {
    let plan = two_cpus(PLENTY).thread(0, || {
        for cpu in [1, 0] {
            set_affinity::<S>(CpuSet::only(cpu)).expect("both run");
        }
    });
    well::<S>("moved there and back", plan);
}

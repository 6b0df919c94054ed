//! The reclaimer: it sweeps threads that sleep while others wake them, and sleeps itself while there is nothing to do.

use ebbtide_core::System;
use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::thread::{park, yield_now};
use ebbtide_model::{Model, Plan, deeper, done, reclaim, sweep, unpark};
use ebbtide_policy_reclaim_deferred::ReclaimDeferred;

use super::exhaustion::every_run_ends_in_progress_or_in_a_verdict;
use super::state::waits_for;
use super::{finds, well};

type S = Model<6, ReclaimDeferred>;

/// Frames that are enough: a refill takes eight at once.
const PLENTY: usize = 10;

/// A thread sleeps on CPU 0, where another one sweeps its stack so often, while one on CPU 1 wakes it.
fn swept_while_it_is_woken(sweeps: usize) -> Plan {
    Plan::new(2, PLENTY)
        .idles_at_once()
        .thread(0, park::<S>)
        .thread(0, move || (0..sweeps).for_each(|_| sweep::<S>(0)))
        .thread(1, || {
            unpark::<S>(0);
            yield_now::<S>();
        })
}

/// A thread sleeps twice, wakes on the other CPU between, and is swept on both.
fn swept_on_two_cpus<S: System>() -> Plan {
    Plan::new(2, PLENTY)
        .idles_at_once()
        .thread(0, || (0..2).for_each(|_| park::<S>()))
        .thread(0, || sweep::<S>(0))
        .thread(1, || {
            unpark::<S>(0);
            yield_now::<S>();
            sweep::<S>(0);
            unpark::<S>(0);
        })
        // Two wake-ups may come as one.
        .judge(|ended| ended.code == Some(101) && ended.finished[1] && ended.finished[2])
}

/// The waker waits for nobody: whoever holds the thread enqueues it. Wherever it goes on, it has its pages.
#[test]
fn a_thread_is_woken_while_it_is_swept() {
    well::<S>("deferred, 2 CPUs, 1 waker", waits_for::<S>(2, 1));
    well::<S>("deferred, 1 sweep", swept_while_it_is_woken(1));
    well::<S>("deferred, 2 sweeps", swept_while_it_is_woken(2));
}

#[test]
fn a_thread_is_swept_on_two_cpus() {
    well::<S>("deferred, swept on two CPUs", swept_on_two_cpus::<S>());
}

/// The model finds under this policy what it finds under the others.
#[test]
fn without_generations_there_is_a_hole() {
    type Without = Model<0, ReclaimDeferred>;
    finds::<Without>("has left page 1 of thread 0", "deferred, no generations", swept_on_two_cpus::<Without>());
}

/// It sleeps deep, so nothing of it goes.
#[test]
fn what_is_in_use_is_not_swept() {
    let plan = Plan::new(2, PLENTY)
        .idles_at_once()
        .thread(0, || deeper(2 * PAGE_BYTES, park::<S>))
        .thread(0, || sweep::<S>(0))
        .thread(1, || unpark::<S>(0));
    well::<S>("deferred, asleep in its last page", plan);
}

/// The reclaimer goes on until it has taken from a thread, which sleeps at some time or other: before a sweep, during it, or
/// after one that has found nobody. Only then is the thread woken.
fn reclaims_in_the_end(cpu: usize) -> Plan {
    Plan::new(2, PLENTY)
        .idles_at_once()
        .ticks(1)
        .thread(0, || {
            park::<S>();
            done();
        })
        .reclaimer(cpu, || reclaim::<S>(0, || unpark::<S>(0)))
        .judge(|ended| ended.code == Some(101) && ended.finished[0] && ended.done == [1, 0])
}

#[test]
fn a_reclaimer_that_has_nothing_to_do_is_woken_by_who_goes_to_sleep() {
    well::<S>("dormant, on the CPU of who sleeps", reclaims_in_the_end(0));
    well::<S>("dormant, on another CPU", reclaims_in_the_end(1));
}

#[test]
fn every_run_ends_with_stacks_that_are_made_whole() {
    every_run_ends_in_progress_or_in_a_verdict::<S>();
}

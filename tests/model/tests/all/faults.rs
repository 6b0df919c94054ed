//! Stacks that grow from faults, with frames that were reserved.

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::thread::{park, yield_now};
use ebbtide_model::{Model, Plan, deeper, done, unpark, work};
use ebbtide_policy_grow_on_fault::GrowOnFault;

use super::exhaustion::every_run_ends_in_progress_or_in_a_verdict;
use super::state::waits_for;
use super::well;

type S = Model<6, GrowOnFault>;

/// Frames that are enough: a refill takes eight at once.
const PLENTY: usize = 10;

/// Two threads that go deep on two CPUs, while each takes from what the other one lacks.
fn grow(cpus: usize, frames: usize) -> Plan {
    let grows = || {
        work();
        deeper(2 * PAGE_BYTES, || {
            done();
            yield_now::<S>();
        });
    };
    Plan::new(cpus, frames).idles_at_once().thread(0, grows).thread(cpus - 1, grows)
}

/// What was reserved for a thread is there when it faults, whatever other CPUs drain and shoot down meanwhile.
#[test]
fn a_fault_finds_what_was_reserved() {
    for frames in [2, 3, 4, PLENTY] {
        let plan = grow(2, frames).ticks(1);
        well::<S>(&format!("faults, {frames} frames, 2 CPUs"), plan);
    }
    for frames in [2, 3, 4] {
        well::<S>(&format!("faults, {frames} frames, 1 CPU"), grow(1, frames).ticks(2));
    }
}

/// It grows, sleeps, and goes on elsewhere; what it has is its own.
#[test]
fn a_thread_that_has_grown_goes_on_on_another_cpu() {
    let plan = Plan::new(2, PLENTY).idles_at_once().thread(0, || deeper(2 * PAGE_BYTES, park::<S>)).thread(1, || {
        deeper(2 * PAGE_BYTES, || unpark::<S>(0));
    });
    well::<S>("faults, woken by another one", plan);
    well::<S>("faults, 2 CPUs, 2 wakers", waits_for::<S>(2, 2));
}

#[test]
fn who_may_fault_waits_for_frames_before() {
    every_run_ends_in_progress_or_in_a_verdict::<S>();
}

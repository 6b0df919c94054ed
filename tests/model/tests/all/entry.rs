//! Stacks that grow where the kernel is entered from user mode, and rest where it is left.

use ebbtide_core::thread::yield_now;
use ebbtide_model::{Model, Plan, Reach, done, in_user_mode, work};
use ebbtide_policy_grow_on_entry::GrowOnEntry;

use super::state::waits_for;
use super::{finds, well};

type S = Model<6, GrowOnEntry>;

/// Frames that are enough: a refill takes eight at once.
const PLENTY: usize = 10;

/// A thread that goes to user mode so often, and one on the other CPU that gives way, so that the idle threads free what rests.
fn goes_to_user_mode(cpus: usize, frames: usize, times: usize) -> Plan {
    Plan::new(cpus, frames)
        .idles_at_once()
        .thread(0, move || {
            for _ in 0..times {
                in_user_mode::<S>(|| {
                    work();
                    yield_now::<S>();
                });
                done();
            }
        })
        .thread(cpus - 1, move || {
            for _ in 0..times {
                in_user_mode::<S>(work);
                yield_now::<S>();
            }
        })
}

/// The entry takes back what the exit let rest, while the other CPU frees and shoots down.
#[test]
fn an_entry_takes_back_what_another_cpu_may_be_about_to_free() {
    well::<S>("entry, 2 CPUs, 1 exit", goes_to_user_mode(2, PLENTY, 1).ticks(1));
    well::<S>("entry, 2 CPUs, 2 exits", goes_to_user_mode(2, PLENTY, 2));
    // Threads begin with all that they need in the kernel.
    for frames in 2..5 {
        well::<S>(&format!("entry, {frames} frames, 1 exit"), goes_to_user_mode(2, frames, 1));
    }
}

/// One CPU, where a timer preempts who is in user mode, at its entry, and at its exit.
#[test]
fn a_preemption_at_the_border_loses_nothing() {
    for frames in 2..5 {
        well::<S>(&format!("border, {frames} frames"), goes_to_user_mode(1, frames, 2).ticks(2));
    }
}

#[test]
fn threads_of_the_kernel_alone_wait_for_each_other() {
    well::<S>("entry, 2 CPUs, 2 wakers", waits_for::<S>(2, 2));
}

#[test]
fn an_invalidation_here_only_is_found_at_entries_too() {
    let plan = goes_to_user_mode(2, 2, 2).reach(Reach::Here);
    finds::<S>("has left page 1 of thread", "entry, invalidates here only", plan);
}

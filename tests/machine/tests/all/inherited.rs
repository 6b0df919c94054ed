//! A slot that serves another thread while pages rest that the last one left there: what a thread may not have, no CPU knows.
//!
//! Who runs without all of its stack gets the rest by a fault, or is told of an overflow by one. A page that rests gives none where
//! a TLB knows it still; so a thread could use such a page, and lose it and what it holds when somebody frees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ebbtide_core::StackPolicy;
use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::stack::ensure;
use ebbtide_core::thread::{Builder, park, yield_now};
use ebbtide_machine::{End, Host, Outcome, Plan, deeper, in_user_mode, room, settle};
use ebbtide_policy_ensure::Ensure;
use ebbtide_policy_grow_on_fault::GrowOnFault;

/// More than a class keeps with their frames.
const THREADS: usize = 12;

/// Lets so many threads do `f`, each while all of the others are alive.
fn crowd<P: StackPolicy>(f: fn()) {
    let go = Arc::new(AtomicBool::new(false));
    let spawn = |_| {
        let go = Arc::clone(&go);
        let body = move || {
            f();
            while !go.load(Ordering::Relaxed) {
                park::<Host<P>>();
            }
        };
        Builder::new().spawn::<Host<P>, _, _>(body).unwrap()
    };
    let threads: Vec<_> = (0..THREADS).map(spawn).collect();
    yield_now::<Host<P>>();
    go.store(true, Ordering::Relaxed);
    threads.iter().for_each(|thread| thread.thread().unpark());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_stack_that_grows_from_faults_has_what_the_last_thread_left() {
    for cpus in [1, 3] {
        let run = Plan::new(1).cpus(cpus).run::<Host<GrowOnFault>>(|| {
            crowd::<GrowOnFault>(|| deeper(room(), || ()));
            crowd::<GrowOnFault>(|| ());
            crowd::<GrowOnFault>(|| deeper(room(), park::<Host<GrowOnFault>>));
            settle::<Host<GrowOnFault>>();
        });
        run.unwrap();
    }
}

/// A thread goes down by a page more than it may without asking, where others had so much.
fn overflow_after(others: fn()) -> Outcome {
    Plan::new(1).run::<Host<Ensure>>(move || {
        others();
        crowd::<Ensure>(|| deeper(room() + PAGE_BYTES, || ()));
    })
}

fn ask_and_use() {
    ensure::<Host<Ensure>>(20 << 10).unwrap();
    deeper(20 << 10, || ());
}

#[test]
fn who_has_not_asked_overflows_where_the_last_thread_had() {
    let run = overflow_after(|| crowd::<Ensure>(ask_and_use));
    assert_eq!(run.end, End::Exit(102), "{run}");
}

#[test]
fn what_rested_in_user_mode_is_there_again() {
    let run = Plan::new(1).run::<Host<Ensure>>(|| {
        crowd::<Ensure>(|| {
            ask_and_use();
            in_user_mode::<Host<Ensure>>(|| ());
            // As far as it asked; nobody wanted it meanwhile.
            deeper(20 << 10, || ());
        });
        settle::<Host<Ensure>>();
    });
    run.unwrap();
}

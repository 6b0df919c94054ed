//! How much of the interrupted thread's stack a preemption uses: `PREEMPT_STACK_BYTES` must cover it, with room to spare.
//!
//! A thread paints its stack below its stack pointer and loops there, until it has been preempted often enough; then it
//! looks how far down the paint has gone.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::stack::{self, Counters};
use ebbtide::sync::Arc;
use ebbtide::thread::{self, Builder, Priority};
use ebbtide::time::{Duration, Instant};
use ebbtide::{println, provoke};

use crate::harness::{Outcome, failed, pass_time};

tests![
    ; on one CPU:
    a_preemption_fits,
    a_preemption_that_refills_the_cache_fits,
];

/// What may be used, in bytes.
const ALLOWED: usize = provoke::PREEMPT_STACK_BYTES as usize;

/// Of what may be used, this part may really be: the rest is for other compilers and for code that grows.
const MOST: usize = ALLOWED / 8 * 7;

/// Bytes that are painted; what is used beyond what is allowed shows too.
const PAINTED: usize = 2 * ALLOWED;

/// Stack of the thread that is looked at. It is always populated, so what was written there can be read afterwards.
const STACK_BYTES: usize = 64 << 10;

const _: () = assert!(PAINTED + (4 << 10) < STACK_BYTES, "the paint fits on the stack");

/// Above the thread that is looked at, so that each of these preempts it.
fn above() -> Priority {
    Priority::new(20).expect("a level from 0 to 29")
}

/// Above all others.
fn top() -> Priority {
    Priority::MAX
}

/// Lets a thread be preempted until `enough` says so, for a minute at most, and checks how much of its stack that took.
fn look(what: &str, mut enough: impl FnMut(&Counters) -> bool + Send + 'static) -> Result<usize, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&stop);
    let painter = Builder::new().stack_size(STACK_BYTES).always_populated();
    let painter = painter.spawn(move || provoke::stack_used_until(&theirs, PAINTED)).map_err(failed("spawn"))?;
    let theirs = Arc::clone(&stop);
    let watch = Builder::new().priority(top()).spawn(move || {
        let start = Instant::now();
        let mut in_time = true;
        while in_time && !enough(&stack::counters()) {
            thread::sleep(Duration::from_millis(2));
            in_time = start.elapsed() < Duration::from_secs(60);
        }
        theirs.store(true, Ordering::Release);
        in_time
    });
    let watch = watch.map_err(|error| {
        stop.store(true, Ordering::Release);
        failed("spawn")(error)
    })?;
    let in_time = watch.join().unwrap();
    let used = painter.join().unwrap();
    println!("{what}: a preemption used {used} of {ALLOWED} bytes");
    check!(in_time, "{what}: it did not come about within a minute");
    check!(used > 0, "{what}: it was never preempted");
    check!(used <= MOST, "{what}: a preemption used {used} bytes, more than {MOST} of {ALLOWED}");
    Ok(used)
}

/// Preempted by an equal, and by one of a higher priority that a timer wakes.
fn a_preemption_fits() -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&stop);
    let equal = thread::spawn(move || {
        while !theirs.load(Ordering::Acquire) {
            pass_time();
        }
    });
    let end = stack::counters().cache.switches + 50;
    let used = look("no refill", move |counters| counters.cache.switches >= end);
    stop.store(true, Ordering::Release);
    equal.join().unwrap();
    used.map(drop)
}

/// More threads than the ring has notes sleep and are woken by timers, all the time: the ring is full and the cache short
/// again and again while the thread that is looked at is preempted.
fn a_preemption_that_refills_the_cache_fits() -> Outcome {
    let crowd = 300.min(stack::frames().counts.free / 8);
    let stop = Arc::new(AtomicBool::new(false));
    let sleepers: Result<Vec<_>, _> = (0..crowd)
        .map(|number| {
            let stop = Arc::clone(&stop);
            Builder::new().priority(above()).spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    thread::sleep(Duration::from_millis(20 + number as u64 % 16));
                }
            })
        })
        .collect();
    let before = stack::counters().cache;
    let short = stack::RESTS_AT_SWITCH && crowd == 300;
    let used = look("refills", move |counters| {
        let refills = counters.cache.refills - before.refills;
        counters.cache.switches - before.switches >= 1_000 && (!short || refills >= 20)
    });
    stop.store(true, Ordering::Release);
    for sleeper in sleepers.map_err(failed("spawn"))? {
        sleeper.join().unwrap();
    }
    used.map(drop)
}

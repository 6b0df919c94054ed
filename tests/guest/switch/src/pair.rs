//! Threads that hand the CPU to each other.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::thread::{self, Builder};
use ebbtide::time::counter;

use crate::part::Part;

/// Whether the others are to end.
static OVER: AtomicBool = AtomicBool::new(false);

/// Turns before the count begins: until every thread has run and what rests has settled.
const WARM: u64 = 10;

/// Two threads of equal priority yield to each other, `rounds` times each. With `others` more that are ready and yield as
/// well, everybody has fewer turns, so that the switches are as many.
pub fn yields(rounds: u64, others: usize) -> Part {
    OVER.store(false, Ordering::Relaxed);
    let partners: Vec<_> = (0..=others).map(|_| thread::spawn(partner)).collect();
    let threads = partners.len() as u64 + 1;
    let turns = 2 * rounds / threads;
    yield_for(WARM);
    let part = Part::of(turns * threads, || yield_for(turns));
    OVER.store(true, Ordering::Relaxed);
    for partner in partners {
        partner.join().expect("a panic ends the run");
    }
    part
}

/// Yields so often, and returns the instructions that passed meanwhile. `tests/count-switch.sh` looks for this function,
/// and for the two places in it that read the counter.
#[inline(never)]
fn yield_for(turns: u64) -> u64 {
    let start = counter();
    for _ in 0..turns {
        thread::yield_now();
    }
    counter() - start
}

fn partner() {
    while !OVER.load(Ordering::Relaxed) {
        thread::yield_now();
    }
}

/// Two threads wake each other, `rounds` times each, while no CPU goes idle.
pub fn wakes(rounds: u64) -> Part {
    wake_each_other(rounds, Builder::new(), |least, wakes| Part::of(least, wakes))
}

/// Two threads wake each other, `rounds` times each, the other one being made by `builder`; `count` runs and counts it.
pub fn wake_each_other(rounds: u64, builder: Builder, count: impl FnOnce(u64, &dyn Fn() -> u64) -> Part) -> Part {
    OVER.store(false, Ordering::Relaxed);
    let main = thread::current();
    let partner = builder.spawn(move || {
        while !OVER.load(Ordering::Relaxed) {
            thread::park();
            main.unpark();
        }
    });
    let partner = partner.expect("there is memory for one more");
    wake_for(WARM, partner.thread());
    let part = count(2 * rounds, &|| wake_for(rounds, partner.thread()));
    OVER.store(true, Ordering::Relaxed);
    partner.thread().unpark();
    partner.join().expect("a panic ends the run");
    part
}

/// Wakes the partner and waits to be woken, so often.
#[inline(never)]
fn wake_for(turns: u64, partner: &thread::Thread) -> u64 {
    let start = counter();
    for _ in 0..turns {
        partner.unpark();
        thread::park();
    }
    counter() - start
}

//! What threads keep that have accessed it: half of them go deep, once, and then all sleep again and again.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebbtide::sync::Arc;
use ebbtide::{println, stack, thread};

const THREADS: usize = 16;

/// How often each sleeps.
const SLEEPS: usize = 4;

/// Goes down as far as the lowest of four pages, and touches each.
fn dive(top: usize) -> u64 {
    let canary = [top as u64; 32];
    let here = black_box(&canary).as_ptr().addr();
    if top.max(here) - here < 13 << 10 {
        dive(top.max(here));
    }
    black_box(&canary)[31]
}

pub fn main() -> Result<(), String> {
    let over = Arc::new(AtomicBool::new(false));
    let asleep = Arc::new(AtomicUsize::new(0));
    let before = stack::counters();
    let spawn = |number: usize| {
        let (over, asleep) = (Arc::clone(&over), Arc::clone(&asleep));
        thread::Builder::new().spawn(move || {
            if number.is_multiple_of(2) {
                dive(0);
            }
            while !over.load(Ordering::Acquire) {
                asleep.fetch_add(1, Ordering::AcqRel);
                thread::park();
            }
        })
    };
    let threads: Result<Vec<_>, _> = (0..THREADS).map(spawn).collect();
    let threads = threads.map_err(|error| format!("{error}"))?;
    let mut kept = [0; SLEEPS];
    for (round, kept) in kept.iter_mut().enumerate() {
        stack::settle();
        if asleep.load(Ordering::Acquire) != (round + 1) * THREADS {
            return Err(format!("not all sleep for the {round}th time"));
        }
        *kept = stack::sample().stack;
        over.store(round + 1 == SLEEPS, Ordering::Release);
        threads.iter().for_each(|thread| thread.thread().unpark());
    }
    for thread in threads {
        thread.join().map_err(|_| String::from("a thread has panicked"))?;
    }
    let faults = stack::counters().access_faults - before.access_faults;
    println!("{THREADS} threads keep {kept:?} pages, with {faults} access faults");
    Ok(())
}

//! How much of its kernel stack a thread still uses where it is about to leave its CPU, and its policy has taken what lies below:
//! `few` threads, with refills; or `many`, of which some are parked until others give frames back.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use ebbtide::sync::{Arc, Mutex};
use ebbtide::{println, provoke, stack, thread};

use crate::word;

/// Threads that there are frames for, and more than a ring has notes.
const FEW: usize = 300;

/// Rounds of each thread.
const ROUNDS: u64 = 4;

/// So many different depths; unoptimised, each takes three times as much.
const DEPTHS: u64 = if cfg!(debug_assertions) { 4 } else { 17 };

/// Of what may be used, this part may really be: the rest is for other compilers and for code that grows.
const fn most(allowed: u64) -> u64 {
    allowed / 8 * 7
}

/// Calls itself so often, each time with 256 bytes and more, and then `f`.
fn dive(times: u64, f: &dyn Fn()) -> u64 {
    let canary = black_box([times; 32]);
    if times == 0 {
        f();
    } else {
        dive(times - 1, f);
    }
    black_box(canary)[31]
}

/// Leaves the CPU in every way, from another depth each time.
fn leave(number: u64, lock: &Mutex<u64>) {
    for round in 0..ROUNDS {
        let depth = (number + 3 * round) % DEPTHS;
        dive(depth, &thread::yield_now);
        dive(depth, &|| thread::sleep(Duration::from_micros((number * 37 + round * 11) % 200)));
        // Long enough, all together, for time slices to end here, and for others to wait for the lock.
        let mut sum = lock.lock();
        for turn in 0..2_000 {
            *sum = black_box(*sum ^ turn);
        }
    }
}

pub fn main() -> Result<(), String> {
    // Above them: they are woken by it, one after the other.
    let above = thread::Builder::new().priority(thread::Priority::MAX).spawn(measure);
    let measured = above.map_err(|error| format!("{error}"))?.join();
    measured.map_err(|_| String::from("a panic"))?
}

fn measure() -> Result<(), String> {
    let (count, are_parked) = match &*word(1) {
        "few" => (FEW, false),
        "many" => (usize::MAX, true),
        other => return Err(other.into()),
    };
    let shared = Arc::new((AtomicBool::new(false), Mutex::new(0)));
    let spawn = |number| {
        let shared = Arc::clone(&shared);
        // Every other one never lacks a frame: the frames of those that have ended are enough for all the others.
        let builder = if number % 2 == 0 { thread::Builder::new().always_populated() } else { thread::Builder::new() };
        let work = move || {
            while !shared.0.load(Ordering::Acquire) {
                thread::park();
            }
            leave(number, &shared.1);
        };
        builder.spawn(work).ok()
    };
    let threads: Vec<_> = (1..).map_while(spawn).take(count).collect();
    shared.0.store(true, Ordering::Release);
    threads.iter().for_each(|thread| thread.thread().unpark());
    for thread in threads {
        thread.join().map_err(|_| String::from("a panic"))?;
    }
    let (used, allowed) = provoke::stack_used_at_switches().ok_or("no switch was measured")?;
    println!("switches used {used} of {allowed} bytes");
    let counters = stack::counters().cache;
    if counters.refills == 0 || are_parked != (counters.parked > 0) {
        return Err(format!("{} refills, and threads were parked {} times", counters.refills, counters.parked));
    }
    if used > most(allowed) {
        Err(format!("{used} bytes were used, more than {} of {allowed}", most(allowed)))
    } else {
        Ok(())
    }
}

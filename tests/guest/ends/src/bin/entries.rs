//! How much of its kernel stack a thread of user mode uses before an entry has populated the rest, with refills and without frames.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use ebbtide::user::{self, Error};
use ebbtide::{println, provoke, stack, thread};

ebbtide::main!(main);

/// Threads that make calls, and as many that sleep meanwhile and keep what frames there are.
const THREADS: u64 = 48;

/// Rounds of each.
const ROUNDS: u64 = 40;

/// Calls of every length: that do nothing, that give way, that sleep, and that fail.
fn calls(number: u64) -> u64 {
    for round in 0..ROUNDS {
        user::null_call();
        user::yield_now();
        user::sleep(Duration::from_micros((number * 37 + round * 11) % 200));
        if user::raw_call(u64::MAX, [round; 5]) != Err(Error::UnknownCall) {
            return 0;
        }
        // Long enough, all together, for time slices to end here.
        for turn in 0..2_000 {
            core::hint::black_box(turn);
        }
    }
    number
}

fn main() -> Result<(), String> {
    let threads: Vec<_> = (1..=THREADS).map(|number| (number, user::spawn(calls, number))).collect();
    let sleepers: Vec<_> = (0..THREADS).map(|_| thread::spawn(|| thread::sleep(Duration::from_millis(50)))).collect();
    for (number, thread) in threads {
        match thread.join() {
            Ok(same) if same == number => {}
            other => return Err(format!("thread {number} returned {other:?}")),
        }
    }
    for sleeper in sleepers {
        sleeper.join().map_err(|_| String::from("a thread that slept panicked"))?;
    }
    let (used, allowed) = provoke::stack_used_at_entries().ok_or("no entry was measured")?;
    println!("entries from user mode used {used} of {allowed} bytes");
    let refills = stack::counters().cache.refills;
    if refills == 0 {
        return Err("no refill came about".into());
    }
    if used > allowed { Err(format!("{used} bytes were used, and {allowed} are there")) } else { Ok(()) }
}

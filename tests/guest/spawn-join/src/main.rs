//! Counts the instructions of a thread's whole life when it does nothing: spawned, run, ended, joined. Under a policy whose threads ask
//! for their stack, also those of asking.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::{String, ToString};

use ebbtide::time::counter;
use ebbtide::{print, println, stack, thread};
use ebbtide_figures::{Mean, word};

ebbtide::main!(main);

fn main() -> Result<(), String> {
    let rounds = word("rounds")? as u64;
    // By a thread with the default stack: the main thread's is larger.
    let counter = thread::spawn(move || {
        // Until the heap and the stacks that are kept have what such a thread needs.
        spawn_and_join(rounds / 10);
        spawn_and_join(rounds)
    });
    let insns = counter.join().expect("a panic ends the run");
    print!("ebbtide: record workload=spawn-join spawn_join_insns={}", Mean::new(insns, rounds));
    if stack::ASKS {
        ask(rounds / 10)?;
        print!(" ensure_insns={}", Mean::new(ask(rounds)?, rounds));
    }
    println!();
    Ok(())
}

/// What a thread asks for: what it has of its stack unasked under the other policies.
const BYTES: usize = 16 << 10;

/// From the call of `stack::ensure` to its return, in `rounds` threads, each of which asks once.
fn ask(rounds: u64) -> Result<u64, String> {
    let once = || {
        let start = counter();
        stack::ensure(BYTES).map(|()| counter() - start)
    };
    (0..rounds).try_fold(0, |insns, _| {
        let asked = thread::spawn(once).join().expect("a panic ends the run");
        asked.map(|more| insns + more).map_err(|error| error.to_string())
    })
}

/// From the call of spawn to the return of join, `rounds` times.
#[inline(never)]
fn spawn_and_join(rounds: u64) -> u64 {
    let start = counter();
    for _ in 0..rounds {
        thread::spawn(|| ()).join().expect("a panic ends the run");
    }
    counter() - start
}

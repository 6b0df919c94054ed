//! Counts the instructions of a thread's whole life when it does nothing: spawned, run, ended, joined.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;

use ebbtide::time::counter;
use ebbtide::{println, thread};
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
    println!("ebbtide: record workload=spawn-join spawn_join_insns={}", Mean::new(insns, rounds));
    Ok(())
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

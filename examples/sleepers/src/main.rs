//! Many threads that sleep: what a thread costs while it does nothing.
//!
//! `cargo xtask run sleepers -- 500` spawns 500 threads; 1,000 without the word.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::num::ParseIntError;

use ebbtide::time::Duration;
use ebbtide::{env, println, stack, thread};

ebbtide::main!(main);

fn main() -> Result<(), ParseIntError> {
    let threads = env::args().nth(1).map_or(Ok(1_000), |word| word.parse::<usize>())?;
    let sleepers: Vec<_> = (0..threads).map(|_| thread::spawn(|| thread::sleep(Duration::from_secs(2)))).collect();
    // By then all of them sleep, and the CPU has been idle.
    thread::sleep(Duration::from_secs(1));
    let sample = stack::sample();
    println!(
        "{} threads sleep under {}: {} KiB of stacks, {} KiB in caches, {} KiB of page tables",
        sample.threads,
        stack::POLICY,
        4 * sample.stack,
        4 * sample.cache,
        4 * sample.table,
    );
    for sleeper in sleepers {
        sleeper.join().unwrap();
    }
    println!("all are awake again");
    Ok(())
}

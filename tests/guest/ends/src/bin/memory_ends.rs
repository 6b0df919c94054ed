//! No memory: for the heap, for a spawn, for a switch.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;

use ebbtide::stack;
use ebbtide::thread::{self, Builder, Priority};
use ebbtide_ends::word;

ebbtide::main!(main);

fn main() -> Result<(), String> {
    match &*word(1) {
        // One allocation that is larger than the machine.
        "large" => drop(black_box(Vec::<u8>::with_capacity(1 << 33))),
        // Small ones until there is nothing left.
        "small" => {
            let mut all = Vec::new();
            loop {
                all.push(alloc::vec![1_u8; 1 << 14]);
            }
        }
        "in-thread" => {
            let eater = Builder::new().name("eater".into());
            let eater = eater.spawn(|| drop(black_box(Vec::<u8>::with_capacity(1 << 33))));
            eater.map_err(|error| format!("{error}"))?.join().unwrap();
        }
        "spawn" => spawn_until_it_fails()?,
        "spawn-unwrapped" => loop {
            thread::spawn(thread::park);
            thread::yield_now();
        },
        "switch" => sleep_deep_without_end()?,
        other => return Err(other.into()),
    }
    Ok(())
}

/// Threads that wait for good, until there is no memory for another one's stack.
fn spawn_until_it_fails() -> Result<(), String> {
    for number in 0.. {
        let thread = Builder::new().always_populated().spawn(thread::park);
        thread.map_err(|error| format!("thread {number}: {error}"))?;
    }
    Ok(())
}

/// Threads that all fit while they have one page each. Then they run, one after the other, and each keeps all its
/// pages, because it sleeps deep: at last one cannot be switched to.
fn sleep_deep_without_end() -> Result<(), String> {
    let lower = Priority::new(8).expect("a level from 0 to 31");
    for number in 0..stack::frames().counts.free / 2 {
        let thread = Builder::new().priority(lower).spawn(|| sleep_deep(None));
        thread.map_err(|error| format!("thread {number}: {error}"))?;
    }
    thread::park();
    Ok(())
}

/// More than three of a stack's four pages.
const DEEP_BYTES: usize = 13 << 10;

/// Goes deep, with small frames, and sleeps there for good.
fn sleep_deep(start: Option<usize>) -> usize {
    let frame = black_box([7_usize; 32]);
    let here = frame.as_ptr().addr();
    let start = start.unwrap_or(here);
    if start - here < DEEP_BYTES {
        return sleep_deep(Some(start)) + black_box(frame)[0];
    }
    loop {
        thread::park();
    }
}

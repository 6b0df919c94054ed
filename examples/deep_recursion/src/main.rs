//! A thread that goes deep and comes back: its stack ebbs while it sleeps.

#![no_std]
#![no_main]

use core::hint::black_box;

use ebbtide::thread::StackError;
use ebbtide::time::Duration;
use ebbtide::{println, stack, thread};

ebbtide::main!(main);

/// Bytes of one call's own.
const FRAME_BYTES: usize = 1024;

fn main() -> Result<(), StackError> {
    let diver = thread::Builder::new().name("diver".into()).stack_size(64 << 10).spawn(|| {
        println!("48 calls deep: sum {}", dive(48));
        // Shallow again: what lies below the stack pointer is of no use.
        thread::sleep(Duration::from_millis(20));
    })?;
    thread::sleep(Duration::from_millis(10));
    let sample = stack::sample();
    println!("asleep under {}, the diver keeps {} of 16 pages", stack::POLICY, sample.stack);
    diver.join().unwrap();
    Ok(())
}

/// Adds up the depths on the way, with a frame of [`FRAME_BYTES`] each.
fn dive(depth: usize) -> usize {
    let frame = black_box([depth as u8; FRAME_BYTES]);
    let below = if depth == 0 { 0 } else { dive(depth - 1) };
    below + usize::from(frame[depth])
}

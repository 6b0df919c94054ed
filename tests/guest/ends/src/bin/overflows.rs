//! Stack overflows: by small frames and by large ones, in threads of several kinds, and too near the guard.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::hint::{black_box, spin_loop};

use ebbtide::thread::{self, Builder};
use ebbtide_ends::word;

ebbtide::main!(main);

fn main() -> Result<(), String> {
    let builder = Builder::new().name("endless".into());
    let work = match &*word(1) {
        "main" => {
            recurse(0);
            return Ok(());
        }
        "nameless" => Builder::new().spawn(|| recurse(0)),
        "small" => builder.stack_size(8 << 10).spawn(|| recurse(0)),
        "thread" => builder.spawn(|| recurse(0)),
        "large" => builder.stack_size(1 << 20).spawn(|| recurse(0)),
        "always-populated" => builder.always_populated().spawn(|| recurse(0)),
        // The frame reaches below the guard at once; that is found because there are as many guard pages as stack pages.
        "large-frame" => builder.spawn(|| large_frame(0)),
        "near-guard" => builder.spawn(near_guard),
        other => return Err(other.into()),
    };
    let work = work.expect("there is memory");
    // Keeps another thread ready, so that time slices end.
    while !work.is_finished() {
        thread::yield_now();
    }
    Ok(())
}

/// Never comes back.
#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + 1)
}

/// Frames of 12 KiB: the second one does not fit.
#[expect(unconditional_recursion, reason = "that is the point")]
fn large_frame(depth: u8) -> u64 {
    let frame = black_box([depth; 12 << 10]);
    black_box(large_frame(depth + 1)) + u64::from(frame[1])
}

/// Stack of the default size, in a slot that is twice as large and aligned to its own size.
const STACK_BYTES: usize = thread::DEFAULT_STACK_BYTES as usize;

/// Bytes above the guard at which the thread stays: too few for a trap frame, the scheduler and a switch.
const LEFT: usize = 400;

/// Comes near the guard, without touching it, and stays there until the time slice ends.
fn near_guard() -> u64 {
    let here = 0_u8;
    let left = &raw const *black_box(&here) as usize % (2 * STACK_BYTES) - STACK_BYTES;
    if left > LEFT {
        black_box(near_guard()) + 1
    } else {
        loop {
            spin_loop();
        }
    }
}

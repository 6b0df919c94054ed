//! Counts what one more sleeping thread takes, everything included: stack, caches, page tables, heap.
//!
//! Memory that is free is counted with `few` threads asleep and again with `many`; the difference is the threads'. Where
//! it went is checked against a walk of the page tables both times: every frame is free, in the heap, in a page table
//! or in the stack range, or the run ends with an error and there is no figure.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;

use ebbtide::{println, stack};
use ebbtide_figures::{accounted, put_to_sleep, word};

ebbtide::main!(main);

/// Bytes of a frame.
const FRAME_BYTES: usize = 4096;

fn main() -> Result<(), String> {
    let (few, many) = (word("few")?, word("many")?);
    if few >= many {
        return Err(format!("`few={few}` is not below `many={many}`"));
    }
    let taken = free_with(few)?.checked_sub(free_with(many)?).ok_or("more threads take less memory")?;
    let thread_bytes = (taken * FRAME_BYTES).div_ceil(many - few);
    println!("ebbtide: record workload=sleepers thread_bytes={thread_bytes}");
    Ok(())
}

/// Frames that are free when so many threads sleep.
fn free_with(threads: usize) -> Result<usize, String> {
    let idle_passes = stack::counters().idle_passes;
    put_to_sleep(threads)?;
    assert!(stack::counters().idle_passes > idle_passes, "the CPU was not idle before the count");
    let (frames, _) = accounted(threads)?;
    Ok(frames.counts.free)
}

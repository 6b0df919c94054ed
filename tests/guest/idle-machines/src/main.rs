//! Replays a published machine: `stacks` threads run once and sleep, `grown` of them go one page deep first.
//!
//! Memory is sampled when all sleep and the CPU has since been idle. The frames that the walk of the page tables finds
//! must account for every frame that is not free; if they do not, the run panics, and there is no figure.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};

use ebbtide::stack::{Counters, Frames, Sample};
use ebbtide::time::Duration;
use ebbtide::{println, stack, thread};
use ebbtide_figures::word;

ebbtide::main!(main);

/// Threads that have run and are about to sleep.
static ASLEEP: AtomicUsize = AtomicUsize::new(0);

/// A page, and a bit of the next: what one of the `grown` threads puts on its stack.
const DEEP_BYTES: usize = 4096 + 512;

fn main() -> Result<(), String> {
    let threads = word("stacks")?;
    let grown = word("grown")?;
    let before = (stack::frames(), stack::sample(), stack::counters());
    for number in 0..threads {
        thread::Builder::new()
            .spawn(move || sleeper(number < grown))
            .map_err(|error| format!("thread {number} of {threads}: {error}"))?;
    }
    while ASLEEP.load(Ordering::Acquire) < threads {
        thread::sleep(Duration::from_millis(1));
    }
    // The CPUs go idle: they free what rests and trim their caches.
    stack::settle();
    let after = (stack::frames(), stack::sample(), stack::counters());
    check(threads, &before, &after);
    record(threads, &before.2, &after);
    Ok(())
}

fn sleeper(deep: bool) {
    if deep {
        go_deep();
    }
    ASLEEP.fetch_add(1, Ordering::Release);
    loop {
        thread::park();
    }
}

#[inline(never)]
fn go_deep() {
    black_box(&mut [0_u8; DEEP_BYTES]).fill(1);
}

type State = (Frames, Sample, Counters);

/// Every frame is free, in the heap, in a page table or in the stack range; and every CPU was idle.
fn check(threads: usize, before: &State, after: &State) {
    assert_eq!(after.1.threads, threads, "threads that the walk found");
    assert!(after.2.idle_passes > before.2.idle_passes, "the CPU was not idle before the sample");
    for (frames, sample, _) in [before, after] {
        assert_eq!(
            frames.counts.total,
            frames.counts.free + frames.heap + frames.user + frames.tables + sample.range,
            "frames are conserved: {frames:?}, {sample:?}"
        );
    }
}

fn record(threads: usize, before: &Counters, (_, sample, counters): &State) {
    println!(
        "ebbtide: record workload=idle-machines threads={threads} stack_kib={} cache_kib={} table_kib={} \
         system_kib={} oracle_kib={} stack_faults={} pages_reclaimed={}",
        4 * sample.stack,
        4 * sample.cache,
        4 * sample.table,
        4 * sample.system,
        4 * sample.oracle,
        counters.stack_faults + counters.growth_faults - before.stack_faults - before.growth_faults,
        sample.reclaimed,
    );
}

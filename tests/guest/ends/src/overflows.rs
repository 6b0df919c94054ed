//! Stack overflows: by small frames and by large ones, on every kind of stack, and too near the guard.
#![expect(unsafe_code, reason = "writes to a stack that is not its own")]

use alloc::format;
use alloc::string::String;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicUsize, Ordering};

use ebbtide::thread::{self, Builder, CpuSet};
use ebbtide::{process, provoke, stack};

use crate::word;

pub fn main() -> Result<(), String> {
    let builder = Builder::new().name("endless".into());
    let bytes = word(2).parse().unwrap_or(STACK_BYTES);
    let work = match &*word(1) {
        "main" => {
            recurse(0);
            return Ok(());
        }
        "boot" => provoke::overflow_boot_stack(),
        "idle" => provoke::in_switch_to_idle(recurse_for_good),
        "nameless" => Builder::new().spawn(|| recurse(0)),
        "thread" => builder.stack_size(bytes).spawn(|| recurse(0)),
        "always-populated" => builder.stack_size(bytes).always_populated().spawn(|| recurse(0)),
        "large-frame" => builder.stack_size(bytes).spawn(|| large_frame(0)),
        "temporary" => builder.spawn(move || stack::call_with(bytes, || recurse(0)).expect("there is memory")),
        "near-guard" => {
            share_one_cpu()?;
            builder.spawn(near_guard)
        }
        "interrupts-off" => builder.spawn(|| {
            provoke::with_interrupts_off(|| _ = recurse(0));
            0
        }),
        "console-locked" => builder.spawn(|| {
            provoke::with_console_locked(|| _ = recurse(0));
            0
        }),
        "neighbour" => {
            share_one_cpu()?;
            let top = neighbour()?;
            provoke::watch(top - size_of::<u64>());
            match &*word(2) {
                "recurse" => builder.spawn(|| recurse(0)),
                "huge-frame" => builder.spawn(|| huge_frame(0)),
                // The watch works: an overflow that went so far would be found.
                "clobber" => builder.spawn(move || clobber(top - size_of::<u64>())),
                other => return Err(other.into()),
            }
        }
        other => return Err(other.into()),
    };
    let work = work.expect("there is memory");
    // Keeps another thread ready, so that time slices end.
    while !work.is_finished() {
        thread::yield_now();
    }
    Ok(())
}

/// Keeps this thread and those that it spawns on one CPU: a time slice ends only where another thread is ready, a slot is used again
/// first where its thread ended, and a watch is the CPU's own.
fn share_one_cpu() -> Result<(), String> {
    thread::set_affinity(CpuSet::only(thread::current_cpu())).map_err(|error| format!("{error}"))
}

/// Never comes back.
#[expect(unconditional_recursion, reason = "that is the point")]
pub fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + 1)
}

fn recurse_for_good() -> ! {
    recurse(0);
    process::exit(0)
}

/// Frames of 12 KiB.
#[expect(unconditional_recursion, reason = "that is the point")]
fn large_frame(depth: u8) -> u64 {
    let frame = black_box([depth; 12 << 10]);
    black_box(large_frame(depth + 1)) + u64::from(frame[1])
}

/// One frame that is larger than a stack of the default size and its guard together: its lower end lies in the slot
/// below. It faults in the guard all the same, because the compiler's code touches each page on the way down.
#[inline(never)]
fn huge_frame(depth: u8) -> u64 {
    let frame = black_box([depth; 3 * STACK_BYTES]);
    u64::from(frame[black_box(1)])
}

/// Stack of the default size, in a slot that is twice as large and aligned to its own size.
const STACK_BYTES: usize = thread::DEFAULT_STACK_BYTES as usize;
const SLOT_BYTES: usize = 2 * STACK_BYTES;

/// Spawns a thread that waits for good, in the slot right below the one that the next thread will have, and returns the
/// address behind its stack. That slots are handed out upwards is checked, not assumed.
fn neighbour() -> Result<usize, String> {
    static SLOTS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    let note = |number: usize| {
        let here = 0_u8;
        SLOTS[number].store((&raw const *black_box(&here)).addr() / SLOT_BYTES, Ordering::Release);
    };
    let neighbour = Builder::new().name("neighbour".into()).spawn(move || {
        note(0);
        loop {
            thread::park();
        }
    });
    neighbour.expect("there is memory");
    // Its slot is the next one to be used again: the last that ended is the first that is taken.
    Builder::new().spawn(move || note(1)).expect("there is memory").join().unwrap();
    let [below, above] = [0, 1].map(|number| SLOTS[number].load(Ordering::Acquire));
    if above != below + 1 {
        return Err("the slots do not lie side by side".into());
    }
    Ok(above * SLOT_BYTES)
}

/// Writes where nobody may.
fn clobber(address: usize) -> u64 {
    let pointer = core::ptr::with_exposed_provenance_mut::<u64>(address);
    // SAFETY: none: it ends the run.
    unsafe { pointer.write_volatile(0) };
    0
}

/// Pages that a thread can use that asks for no more.
fn stack_pages() -> usize {
    stack::unasked(stack::pages_of(STACK_BYTES))
}

/// Bytes of a page.
const PAGE_BYTES: usize = 4096;

/// Bytes above the guard at which the thread stays: too few for a trap frame, the scheduler and a switch.
const LEFT: usize = 400;

/// Comes near the guard, without touching it, and stays there until the time slice ends.
fn near_guard() -> u64 {
    let here = 0_u8;
    let left = (&raw const *black_box(&here)).addr() % SLOT_BYTES - (SLOT_BYTES - stack_pages() * PAGE_BYTES);
    if left > LEFT {
        black_box(near_guard()) + 1
    } else {
        loop {
            spin_loop();
        }
    }
}

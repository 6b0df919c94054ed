//! Where the stacks' memory is: counted by walking the page tables, never from a policy's own counters.
#![expect(unsafe_code, reason = "follows the notes of slots to their threads")]

use core::sync::atomic::Ordering;
use core::time::Duration;

use crate::arch::{PAGE_BYTES, Paging, StackEntry};
use crate::cpu::{self, MAX_CPUS};
use crate::stack::entries::{note, page_entry};
use crate::stack::policy::StackPolicy;
use crate::stack::range::top_entry;
use crate::stack::slot::{Note, SizeClass, Slot};
use crate::stack::temporary::left_in;
use crate::system::System;
use crate::thread::{self, Thread, placement, reclaimer};

/// What the walk found. Numbers of frames or pages of 4 KiB, but for `threads`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Stacks of the app's threads, without that of the thread that samples.
    pub threads: usize,
    /// Frames mapped in the slots of these threads.
    pub stack: usize,
    /// Pages of these stacks that hold at least one live byte, from the saved stack pointers alone.
    pub oracle: usize,
    /// Pages of these stacks that were rested, counted at each rest.
    pub reclaimed: u64,
    /// Frames in stack caches, resting, or kept in slots without a thread.
    pub cache: usize,
    /// Page tables of the stack range.
    pub table: usize,
    /// Frames of stacks of idle threads and traps, of the boot stack, and of the thread that samples.
    pub system: usize,
    /// Frames of the stack range, however they are used: what the frame allocator must miss for it.
    pub range: usize,
}

/// How long a CPU is given to go idle, in nanoseconds.
const REST_NS: u64 = 1_000_000;

/// Sweeps after which whoever has slept through them has been swept: one may be under way, one marks, and one takes.
const SWEEPS: u64 = 3;

/// Waits until every other thread sleeps, and under a policy with a reclaimer until that has swept them, which does not wait for the time
/// between two sweeps: the CPU that this one is on then has been idle since the call, and all others are idle when it returns. So all threads that have ended are reaped, and nothing rests but what this thread leaves. Waits for
/// ever if others never sleep.
pub fn settle<S: System>() {
    let mut idle_passes = [0; MAX_CPUS];
    for cpu in S::kernel().cpus() {
        idle_passes[cpu.number as usize] = cpu.idle_passes.load(Ordering::Relaxed);
    }
    let is_at_rest = || {
        let cpu = cpu::this::<S>();
        let was_idle = cpu.idle_passes.load(Ordering::Relaxed) != idle_passes[cpu.number as usize];
        was_idle && placement::others_are_idle::<S>(cpu)
    };
    let mut swept = 0;
    loop {
        thread::sleep::<S>(Duration::from_nanos(REST_NS));
        if !cpu::without_interrupts::<S, _>(is_at_rest) {
            swept = 0;
        } else if !S::Policy::SWEEPS || swept == SWEEPS {
            return;
        } else {
            reclaimer::await_sweep::<S>();
            swept += 1;
        }
    }
}

/// Walks the stack range.
///
/// Every other thread keeps its stack meanwhile; call it when all sleep and the CPUs have since been idle ([`settle`]).
pub fn sample<S: System>() -> Sample {
    let boot_stack = S::kernel().boot_stack();
    let boot_stack = ((boot_stack.end - boot_stack.start) / PAGE_BYTES) as usize;
    let mut sample = Sample { system: boot_stack, ..Sample::default() };
    for class in SizeClass::all() {
        // The class's lock keeps stacks from being released while they are counted.
        S::kernel().stacks.classes[class.index()].with::<S, _>(|slots| {
            let slots_in_table = (2 << 20) / class.slot_bytes();
            sample.table += slots.used.div_ceil(slots_in_table) as usize;
            for number in 0..slots.used {
                count_slot::<S>(&mut sample, Slot { class, number });
            }
        });
    }
    sample.table += tables_above::<S>();
    for cpu in S::kernel().cpus() {
        let frames = cpu.cached_frames() + cpu.reserved_frames();
        sample.cache += frames;
        sample.range += frames;
    }
    sample
}

fn count_slot<S: System>(sample: &mut Sample, slot: Slot) {
    let Some(top) = top_entry::<S>(slot) else { return };
    let (mut present, mut resting) = (0, 0);
    for page in 0..slot.class.stack_pages(S::Policy::GUARD) {
        match S::Arch::decode_stack(page_entry(top, page).load(Ordering::Relaxed)) {
            StackEntry::Present { .. } => present += 1,
            StackEntry::Resting { .. } => resting += 1,
            StackEntry::Empty => {}
        }
    }
    sample.range += present + resting;
    sample.cache += resting;
    let Note::Owner(owner) = note(slot, top) else {
        sample.cache += present;
        return;
    };
    // SAFETY: the owner is cleared, under the class's lock, before its thread is freed.
    let thread: &Thread = unsafe { owner.as_ref() };
    if thread.is_system() || core::ptr::eq(thread, cpu::current::<S>()) {
        sample.system += present;
        return;
    }
    sample.stack += present;
    if let Some((left, rested)) = left_in::<S>(thread, slot) {
        sample.oracle += (slot.top() - left).div_ceil(PAGE_BYTES) as usize;
        // Of its stacks this is the one that it goes on with.
        if let Some(rested) = rested {
            sample.threads += 1;
            sample.reclaimed += rested;
        }
    }
}

/// Tables of the stack range above the leaf tables: one for each GiB with a slot, and the one above these.
fn tables_above<S: System>() -> usize {
    let gibs = SizeClass::all().map(|class| {
        S::kernel().stacks.classes[class.index()]
            .with::<S, _>(|slots| (slots.used * class.slot_bytes()).div_ceil(1 << 30))
    });
    let gibs = gibs.sum::<u64>() as usize;
    gibs + usize::from(gibs > 0)
}

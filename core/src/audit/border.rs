//! How much of its kernel stack a thread uses that has the top of it alone: from an entry from user mode until the rest is there,
//! and in interrupts that come in user mode.
//!
//! Where a thread leaves for user mode, what it keeps of its stack is painted below the stack pointer. At its next entry, once the
//! rest is there, the paint that is left tells how deep anything went meanwhile.
#![expect(unsafe_code, reason = "reads and writes the unused part of the running thread's stack")]

use core::sync::atomic::{AtomicU64, Ordering};

use memory_addresses::VirtAddr;

use crate::arch::Cpu;
use crate::cpu;
use crate::stack::Stack;
use crate::system::System;
use crate::thread::Thread;

/// What nobody writes by chance.
const PAINT: u64 = 0x7469_6465_6d61_726b;

/// Bytes below the frame of who paints that it needs itself: what is used of them does not show. Unoptimised, each access calls.
const PAINTER_BYTES: u64 = if cfg!(debug_assertions) { 1 << 10 } else { 128 };

/// What a CPU has seen of it, in bytes below a stack's top. Zero at first, as all data of a CPU, which else the image would hold.
#[derive(Debug)]
pub struct Entries {
    /// The deepest use.
    used: AtomicU64,
    /// The complement of what is there for it, where that is least.
    not_allowed: AtomicU64,
}

impl Entries {
    pub(crate) const fn new() -> Self {
        Self { used: AtomicU64::new(0), not_allowed: AtomicU64::new(0) }
    }
}

/// The running thread leaves for user mode; from `reach` up its stack is kept for what follows. Interrupts are off.
#[inline(always)]
pub(crate) fn left<S: System>(stack: &Stack, reach: VirtAddr) {
    if S::PAINTS_STACKS {
        paint::<S>(stack, reach);
    }
}

#[inline(never)]
fn paint<S: System>(stack: &Stack, reach: VirtAddr) {
    let entries = &S::Arch::per_cpu().entries;
    entries.not_allowed.fetch_max(!(stack.top() - reach), Ordering::Relaxed);
    paint_from::<S>(stack.lowest());
}

/// Paints the running thread's stack from `lowest` up to what is in use. The page of `lowest` and those above are there.
#[inline(always)]
pub(super) fn paint_from<S: System>(lowest: VirtAddr) {
    let mut at = lowest.as_u64();
    while at < S::Arch::frame_pointer().as_u64() - PAINTER_BYTES {
        // SAFETY: a page of the running thread's stack that is there, below all that is in use.
        unsafe { (at as *mut u64).write_volatile(PAINT) };
        at += 8;
    }
}

/// Where the paint begins on the running thread's stack, which has entered the kernel and is not yet populated.
#[inline(always)]
pub(crate) fn painted<S: System>(stack: &Stack) -> Option<VirtAddr> {
    S::PAINTS_STACKS.then(|| stack.lowest())
}

/// It is populated now, and is `me`, which runs. Interrupts are off.
#[inline(always)]
pub(crate) fn entered<S: System>(me: &Thread, painted: Option<VirtAddr>) {
    if let Some(lowest) = painted {
        // SAFETY: it runs, so it holds itself.
        let top = unsafe { me.stack_mut() }.top();
        look(&S::Arch::per_cpu().entries, top, lowest);
    }
}

#[inline(never)]
fn look(entries: &Entries, top: VirtAddr, lowest: VirtAddr) {
    entries.used.fetch_max(used_between(lowest, top), Ordering::Relaxed);
}

/// Bytes below `end` down to the lowest that is not as it was painted, of a stack from `lowest` up, whose pages are there.
#[inline(always)]
pub(super) fn used_between(lowest: VirtAddr, end: VirtAddr) -> u64 {
    let all = (end - lowest) / 8;
    // SAFETY: a word of a stack that the caller holds, in a page that is there.
    let word = |number| unsafe { lowest.as_ptr::<u64>().wrapping_add(number as usize).read_volatile() };
    let painted = (0..all).take_while(|number| word(*number) == PAINT).count() as u64;
    (all - painted) * 8
}

/// How many bytes below a stack's top were used at entries from user mode before the rest was there, and how many there are for
/// that; nothing under a policy that changes no stack there, in a build that does not measure it, or before the first entry.
pub fn stack_used_at_entries<S: System>() -> Option<(u64, u64)> {
    cpu::without_preemption::<S, _>(|| {
        let all = || S::kernel().cpus().map(|cpu| &cpu.entries);
        let used = all().map(|entries| entries.used.load(Ordering::Relaxed)).max()?;
        let allowed = all().map(|entries| !entries.not_allowed.load(Ordering::Relaxed)).min()?;
        (used > 0).then_some((used, allowed))
    })
}

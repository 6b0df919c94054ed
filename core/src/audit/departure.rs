//! How much of its stack a thread still uses where it leaves its CPU, once its policy has taken what lies below: it is painted before,
//! and looked at when the stack pointer has left. A page that has gone does not show it, for the CPU may still know its translation.

use core::sync::atomic::{AtomicU64, Ordering};

use memory_addresses::VirtAddr;

use super::border::{paint_from, used_between};
use super::{broken, interrupts};
use crate::arch::Switch;
use crate::cpu::{self, PerCpu};
use crate::stack::{Leaving, StackPolicy};
use crate::system::System;
use crate::thread::Thread;

/// What a CPU has seen of it. Zero at first, as all data of a CPU, which else the image would hold.
#[derive(Debug)]
pub struct Departures {
    /// The stack pointer of who is about to leave.
    stack_pointer: AtomicU64,
    /// The lowest address that is kept for that.
    reach: AtomicU64,
    /// The deepest use, in bytes below the stack pointer.
    used: AtomicU64,
}

impl Departures {
    pub(crate) const fn new() -> Self {
        Self { stack_pointer: AtomicU64::new(0), reach: AtomicU64::new(0), used: AtomicU64::new(0) }
    }
}

/// The running thread is about to leave `cpu`, with its stack pointer there; from `reach` up its stack is kept for that.
/// Interrupts are off.
#[inline(always)]
pub(crate) fn departs<S: System>(cpu: &PerCpu, stack_pointer: VirtAddr, reach: VirtAddr) {
    if S::PAINTS_STACKS {
        paint::<S>(cpu, stack_pointer, reach);
    }
}

#[inline(never)]
fn paint<S: System>(cpu: &PerCpu, stack_pointer: VirtAddr, reach: VirtAddr) {
    interrupts::without_this::<S>(cpu, || {
        cpu.departures.stack_pointer.store(stack_pointer.as_u64(), Ordering::Relaxed);
        cpu.departures.reach.store(reach.as_u64(), Ordering::Relaxed);
        paint_from::<S>(reach);
    });
}

/// `left` has left `cpu`, and is not yet handed on. Interrupts are off.
#[inline(always)]
pub(crate) fn departed<S: System>(cpu: &PerCpu, left: &'static Thread, leaving: Leaving) {
    if S::PAINTS_STACKS && S::Policy::RESTS_BEFORE_SWITCH && leaving != Leaving::Exited {
        look::<S>(cpu, left);
    }
}

#[inline(never)]
fn look<S: System>(cpu: &PerCpu, left: &'static Thread) {
    interrupts::without_this::<S>(cpu, || {
        let departures = &cpu.departures;
        let [stack_pointer, reach] = [&departures.stack_pointer, &departures.reach]
            .map(|address| VirtAddr::new(address.load(Ordering::Relaxed)));
        let used = used_between(reach, stack_pointer);
        departures.used.fetch_max(used, Ordering::Relaxed);
        if S::AUDIT && (used >= S::Arch::SWITCH_STACK_BYTES || left.saved_stack_pointer() < reach) {
            let allowed = S::Arch::SWITCH_STACK_BYTES;
            broken::<S>(3, format_args!("{left} used all of the {allowed} bytes that a switch may still reach"));
        }
    });
}

/// How many bytes below the stack pointer of who switched were used until the stack pointer had left the stack, and how many there
/// are for that; nothing under a policy that takes none of it before, in a build that does not measure it, or before the first.
pub fn stack_used_at_switches<S: System>() -> Option<(u64, u64)> {
    cpu::without_preemption::<S, _>(|| {
        let used = |cpu: &'static PerCpu| cpu.departures.used.load(Ordering::Relaxed);
        let used = S::kernel().cpus().map(used).max()?;
        (used > 0).then_some((used, S::Arch::SWITCH_STACK_BYTES))
    })
}

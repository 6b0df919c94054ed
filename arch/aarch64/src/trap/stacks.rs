//! The vector table's address, and the stacks that SP_EL1 names.
#![expect(unsafe_code, reason = "stacks that the CPU writes")]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{VBAR_EL1, Writeable};
use ebbtide_core::arch::{Cpu, Traps};
use ebbtide_core::cpu::{MAX_CPUS, PerCpu};
use ebbtide_core::stack::StackError;
use ebbtide_core::{System, VirtAddr};

use super::entry::table;
use crate::Aarch64;

/// The trap stacks of a CPU: name and bytes. Both may have to make a report.
pub(crate) const TRAP_STACKS: [(&str, u64); 2] = [("trap stack", 16 << 10), ("emergency trap stack", 16 << 10)];

/// The number of the one that all traps start on.
pub(crate) const TRAPS: usize = 0;
/// The number of the one that a trap in a handler is reported from.
pub(crate) const EMERGENCY_NUMBER: usize = 1;

/// A stack in the image.
#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct ImageStack(UnsafeCell<[u8; LAST_BYTES]>);

// SAFETY: one CPU at a time uses it, as a stack (FIRST the one that boots, LAST the one that took it); no reference into it
// is ever made.
unsafe impl Sync for ImageStack {}

impl ImageStack {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; LAST_BYTES]))
    }

    fn top(&self) -> u64 {
        (self.0.get().addr() + LAST_BYTES) as u64
    }
}

/// Bytes of a stack in the image.
pub(crate) const LAST_BYTES: usize = 8 << 10;

/// The stack of all traps until they have one with a guard.
static FIRST: ImageStack = ImageStack::new();

/// The stack from which the run is ended when the report of a nested trap traps itself.
pub(crate) static LAST: ImageStack = ImageStack::new();

/// Not 0 once a CPU has taken [`LAST`] for that.
pub(crate) static LAST_IN_USE: AtomicU32 = AtomicU32::new(0);

/// Where all traps start, by the CPU's number. SP_EL1 says the same, once the CPU runs.
static TOPS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Where a nested trap is reported from, by the CPU's number.
pub(crate) static EMERGENCY: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Until [`Traps::set_trap_stacks`] the traps of the CPU that boots run on two small stacks of the image.
pub(crate) fn note_first_stacks(cpu: &PerCpu) {
    note(cpu, [FIRST.top(), LAST.top()]);
}

/// Notes where the traps of `cpu` start, by the numbers of the stacks.
fn note(cpu: &PerCpu, tops: [u64; TRAP_STACKS.len()]) {
    TOPS[cpu.number as usize].store(tops[TRAPS], Ordering::Relaxed);
    EMERGENCY[cpu.number as usize].store(tops[EMERGENCY_NUMBER], Ordering::Relaxed);
}

/// Makes this CPU take its traps, on the stacks that were noted.
///
/// # Safety
///
/// Called once on each CPU, on SP_EL0, with everything masked; the stacks are nobody else's.
pub(crate) unsafe fn init<S: System>() {
    // SAFETY: nobody uses the stack.
    unsafe { set_stack_pointer(TOPS[Aarch64::per_cpu().number as usize].load(Ordering::Relaxed)) };
    VBAR_EL1.set(table::<S>());
    barrier::isb(barrier::SY);
}

impl Traps for Aarch64 {
    fn set_trap_stacks<S: System>(
        cpu: &'static PerCpu,
        new_stack: &mut dyn FnMut(&str, u64) -> Result<VirtAddr, StackError>,
    ) -> Result<(), StackError> {
        let mut tops = [0; TRAP_STACKS.len()];
        for ((name, bytes), top) in TRAP_STACKS.into_iter().zip(&mut tops) {
            *top = new_stack(name, bytes)?.as_u64();
        }
        note(cpu, tops);
        if cpu.number == Self::per_cpu().number {
            // SAFETY: the stack is new; interrupts are off, and the caller runs on SP_EL0.
            unsafe { set_stack_pointer(tops[TRAPS]) };
        }
        Ok(())
    }
}

/// Where this CPU reports a nested trap from.
fn emergency() -> &'static AtomicU64 {
    &EMERGENCY[Aarch64::per_cpu().number as usize]
}

/// Sets SP_EL1.
///
/// # Safety
///
/// The caller runs on SP_EL0 with everything masked that can be; the stack below is nobody's.
unsafe fn set_stack_pointer(top: u64) {
    // SAFETY: by the caller's promise; SP_EL0 is in use again before anything is pushed.
    unsafe { asm!("msr spsel, #1", "mov sp, {}", "msr spsel, #0", in(reg) top, options(nostack, preserves_flags)) };
}

/// Where a trap stack begins. For [`crate::provoke`], with interrupts off.
pub(crate) fn trap_stack_top(number: usize) -> u64 {
    if number == EMERGENCY_NUMBER {
        return emergency().load(Ordering::Relaxed);
    }
    let top: u64;
    // SAFETY: SP_EL1 is read while nothing is pushed.
    unsafe { asm!("msr spsel, #1", "mov {}, sp", "msr spsel, #0", out(reg) top, options(nostack, preserves_flags)) };
    top
}

/// Changes where a trap stack begins. For [`crate::provoke`], with interrupts off.
pub(crate) fn set_trap_stack_top(number: usize, top: u64) {
    if number == EMERGENCY_NUMBER {
        return emergency().store(top, Ordering::Relaxed);
    }
    // SAFETY: the image that asks for it wants to see traps fail.
    unsafe { set_stack_pointer(top) };
}

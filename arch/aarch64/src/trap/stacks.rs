//! The vector table's address, and the stacks that SP_EL1 names.
#![expect(unsafe_code, reason = "stacks that the CPU writes")]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{VBAR_EL1, Writeable};
use ebbtide_core::arch::{Cpu, Traps};
use ebbtide_core::cpu::MAX_CPUS;
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

// SAFETY: only the CPU that boots uses it, as a stack; no reference into it is ever made.
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

/// Where a nested trap is reported from, by the CPU's number.
pub(crate) static EMERGENCY: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Makes this CPU take its traps. Until [`Traps::set_trap_stacks`] they run on one small stack.
///
/// # Safety
///
/// Called once, on the boot CPU, on SP_EL0, with interrupts off.
pub(crate) unsafe fn init<S: System>() {
    emergency().store(LAST.top(), Ordering::Relaxed);
    // SAFETY: nobody uses the stack.
    unsafe { set_stack_pointer(FIRST.top()) };
    VBAR_EL1.set(table::<S>());
    barrier::isb(barrier::SY);
}

impl Traps for Aarch64 {
    fn set_trap_stacks<S: System>(
        new_stack: &mut dyn FnMut(&str, u64) -> Result<VirtAddr, StackError>,
    ) -> Result<(), StackError> {
        let mut tops = [VirtAddr::new(0); TRAP_STACKS.len()];
        for ((name, bytes), top) in TRAP_STACKS.into_iter().zip(&mut tops) {
            *top = new_stack(name, bytes)?;
        }
        emergency().store(tops[EMERGENCY_NUMBER].as_u64(), Ordering::Relaxed);
        // SAFETY: the stack is new; interrupts are off, and the caller runs on SP_EL0.
        unsafe { set_stack_pointer(tops[TRAPS].as_u64()) };
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

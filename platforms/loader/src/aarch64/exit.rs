//! Ends the machine: with a code through semihosting, where QEMU has it on, by switching it off elsewhere.

#![expect(unsafe_code, reason = "waits for interrupts for ever, at last")]

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use semihosting::sys::arm_compat::{ExitReason, sys_exit_extended};
use smccc::{Hvc, Smc, psci};

use super::console;

/// What is added to a code, so that no status of ours is one that QEMU uses itself.
const CODE_OFFSET: u32 = 16;

/// Whether the firmware is called by SMC, not HVC.
static BY_SMC: AtomicBool = AtomicBool::new(false);
/// Whether the machine is being ended.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Whether the firmware was asked to switch it off.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Says how the firmware is called, by SMC or else HVC. On `virt` it is SMC where the CPU starts at EL2, but the device
/// tree has the last word.
pub fn assume_conduit(by_smc: bool) {
    BY_SMC.store(by_smc, Ordering::Relaxed);
}

/// Tells whether the machine is being ended.
#[must_use]
pub fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

/// Ends the machine with `code`.
pub fn end(code: u32) -> ! {
    // An exception from here on ends in `power_off`: `hlt` is one where semihosting is off.
    ENDING.store(true, Ordering::Relaxed);
    console::flush();
    sys_exit_extended(ExitReason::ADP_Stopped_ApplicationExit, (code + CODE_OFFSET) as usize);
    power_off()
}

/// Switches the machine off, or else stops the CPU.
pub fn power_off() -> ! {
    if !ASKED.swap(true, Ordering::Relaxed) {
        // What it answers, if it does, changes nothing.
        let _ = if BY_SMC.load(Ordering::Relaxed) { psci::system_off::<Smc>() } else { psci::system_off::<Hvc>() };
    }
    loop {
        // SAFETY: it does nothing but wait; all interrupts are masked.
        unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
    }
}

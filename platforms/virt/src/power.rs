//! The end of a run: semihosting, else the firmware switches the machine off.
//!
//! Where semihosting is off, its instruction is undefined, and so is a call of firmware that there is none of. Both end in
//! a vector table of this module's own, which goes on with the next step: no handler of the kernel's has to know of it.
#![expect(unsafe_code, reason = "a vector table, and a CPU that waits for ever")]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{DAIF, VBAR_EL1, Writeable};
use semihosting::sys::arm_compat::{ExitReason, sys_exit_extended};
use smccc::{Hvc, Smc, psci};

use crate::console;
pub use crate::devices::Conduit;

/// Added to the code, so that no status below 16 can be ours: those are QEMU's and the shell's.
const CODE_OFFSET: usize = 16;

/// Whether the firmware is called by SMC, not HVC.
static BY_SMC: AtomicBool = AtomicBool::new(false);
/// Whether the firmware was asked already.
static ASKED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    #[link_name = "__ebbtide_end_vectors"]
    static VECTORS: [u8; 2048];
}

// Sixteen entries of 128 bytes, all the same.
global_asm!(
    ".pushsection .text.__ebbtide_end_vectors, \"ax\"",
    ".balign 2048",
    ".global __ebbtide_end_vectors",
    "__ebbtide_end_vectors:",
    ".rept 16",
    ".balign 128",
    "b {power_off}",
    ".endr",
    ".balign 128",
    ".popsection",
    power_off = sym power_off,
);

/// Says how the firmware is called. Until then it is by HVC.
pub(crate) fn call_firmware_by(conduit: Conduit) {
    BY_SMC.store(conduit == Conduit::Smc, Ordering::Relaxed);
}

/// Ends the run with `code`; never returns.
pub fn exit(code: u8) -> ! {
    DAIF.write(DAIF::D::Masked + DAIF::A::Masked + DAIF::I::Masked + DAIF::F::Masked);
    console::flush();
    VBAR_EL1.set((&raw const VECTORS).addr() as u64);
    barrier::isb(barrier::SY);
    sys_exit_extended(ExitReason::ADP_Stopped_ApplicationExit, usize::from(code) + CODE_OFFSET);
    power_off()
}

/// Switches the machine off, or else stops the CPU.
extern "C" fn power_off() -> ! {
    if !ASKED.swap(true, Ordering::Relaxed) {
        // What it answers, if it does, changes nothing.
        let _ = if BY_SMC.load(Ordering::Relaxed) { psci::system_off::<Smc>() } else { psci::system_off::<Hvc>() };
    }
    loop {
        // SAFETY: it does nothing but wait; all interrupts are masked.
        unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
    }
}

//! What an exception in the loader ends in: a refusal that says where it was, or, if the machine is being ended already,
//! the next way to end it.

#![expect(unsafe_code, reason = "a vector table is assembly")]

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};

use super::exit;
use super::image::{STACK, STACK_TOP};
use crate::boot::{EXIT_BOOT_REFUSED, refuse};

unsafe extern "C" {
    /// The vector table.
    #[link_name = "ebbtide_loader_vectors"]
    pub(super) static VECTORS: [u8; 2048];
}

// Sixteen entries of 128 bytes, all the same. Nothing returns, so the stack starts anew.
global_asm!(
    ".pushsection .text.vectors, \"ax\"",
    ".balign 2048",
    ".global ebbtide_loader_vectors",
    "ebbtide_loader_vectors:",
    ".rept 16",
    ".balign 128",
    "adrp x9, {stack}",
    "add x9, x9, :lo12:{stack}",
    "add sp, x9, {stack_top}",
    "mrs x0, esr_el1",
    "mrs x1, elr_el1",
    "mrs x2, far_el1",
    "mov x29, xzr",
    "mov x30, xzr",
    "b {trapped}",
    ".endr",
    ".balign 128",
    ".popsection",
    stack = sym STACK,
    stack_top = const STACK_TOP,
    trapped = sym trapped,
);

/// Whether there was an exception before.
static TRAPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn trapped(syndrome: u64, place: u64, address: u64) -> ! {
    if exit::is_ending() {
        // `hlt` without semihosting is an undefined instruction, and so may be the call of the firmware.
        exit::power_off();
    }
    if TRAPPED.swap(true, Ordering::Relaxed) {
        // Not even the console can be written to.
        exit::end(EXIT_BOOT_REFUSED);
    }
    refuse(format_args!("the loader failed: exception {syndrome:#x} at {place:#x}, address {address:#x}"))
}

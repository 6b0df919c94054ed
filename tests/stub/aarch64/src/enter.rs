//! The last instructions: other tables, and the kernel's entry.

#![expect(unsafe_code, reason = "replaces the tables, and enters the kernel")]

use core::arch::naked_asm;

use hermit_entry::boot_info::RawBootInfo;

use crate::tables::{MEMORY_ATTRIBUTES, TRANSLATION};

/// SCTLR_EL1: MMU, data cache, instruction cache, and the bits that are 1 where they mean nothing.
const CONTROLS: u64 = 1 | 1 << 2 | 1 << 12 | 1 << 11 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 28 | 1 << 29;

/// Goes over to the tables below `root` and jumps to the kernel's entry point: the boot information in x0, the CPU in w1,
/// `stack` in SP_EL1, everything masked, no vector table, floating point on.
///
/// The MMU is off in between: nothing but instructions is touched then, which were cleaned to memory.
///
/// # Safety
///
/// `entry` is the entry point of a loaded kernel that was published; the memory below `stack`, and all that `boot_info`
/// refers to, are its own from now on; the tables map all of that, and the stub, where it is.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(boot_info: &'static RawBootInfo, cpu: u32, entry: u64, stack: u64, root: u64) -> ! {
    naked_asm!(
        "msr daifset, #15",
        "msr spsel, #1",
        "ldr x9, ={controls}",
        "ldr x10, ={translation}",
        "ldr x11, ={attributes}",
        "bic x12, x9, #1",
        "dsb sy",
        "msr sctlr_el1, x12",
        "isb",
        "msr ttbr0_el1, x4",
        "msr ttbr1_el1, xzr",
        "msr tcr_el1, x10",
        "msr mair_el1, x11",
        "isb",
        "tlbi vmalle1",
        "dsb nsh",
        "isb",
        "msr sctlr_el1, x9",
        "isb",
        "mov x9, #(3 << 20)",
        "msr cpacr_el1, x9",
        "msr vbar_el1, xzr",
        "isb",
        "mov sp, x3",
        "br x2",
        ".ltorg",
        controls = const CONTROLS,
        translation = const TRANSLATION,
        attributes = const MEMORY_ATTRIBUTES,
    )
}

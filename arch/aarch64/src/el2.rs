//! From EL2, where a machine with virtualisation starts its CPUs, down to EL1, where the kernel runs.
//!
//! The loader brings the CPU that boots down by code of its own, since it boots any Hermit image and depends on none.
#![expect(unsafe_code, reason = "system registers of EL2")]

use core::arch::global_asm;
use core::ops::Range;

/// SCTLR_EL1 with everything off: the bits that are 1 on CPUs without the features that gave them a meaning.
const SCTLR_OFF: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;

/// HCR_EL2: EL1 is 64-bit, and pointer authentication is not trapped.
const HCR: u64 = 1 << 31 | 1 << 41 | 1 << 40;

/// CPTR_EL2 of a CPU without VHE: its bits that are 1, no trap of floating point.
const CPTR: u64 = 0x33ff;

/// SPSR_EL2: to EL1 with its own stack pointer, all masked.
const SPSR: u64 = 0x3c5;

unsafe extern "C" {
    /// Goes down from EL2 to EL1 and returns there, with everything masked and SP_EL1 in use; anywhere else it just returns.
    /// EL1 can do everything that the CPU can but virtualise: nothing that it does is trapped, its timers have no offset, its
    /// identity is the CPU's.
    ///
    /// # Safety
    ///
    /// The MMU of EL1 is off, as it is when a CPU starts. Touches no memory, and of the registers that hold values only x9,
    /// x10 and the condition flags.
    #[link_name = "__ebbtide_drop_to_el1"]
    pub fn drop_to_el1();
    #[link_name = "__ebbtide_drop_to_el1_end"]
    static END: u8;
}

/// Where the instructions of [`drop_to_el1`] lie.
pub(crate) fn instructions() -> Range<u64> {
    drop_to_el1 as *const () as u64..(&raw const END).addr() as u64
}

global_asm!(
    ".pushsection .text.__ebbtide_drop_to_el1, \"ax\"",
    ".balign 16",
    ".global __ebbtide_drop_to_el1",
    "__ebbtide_drop_to_el1:",
    "mrs x9, currentel",
    "cmp x9, #8",
    "b.ne 5f",
    "ldr x9, ={HCR}",
    "msr hcr_el2, x9",
    "isb",
    "mrs x9, cnthctl_el2",
    "orr x9, x9, #3",
    "msr cnthctl_el2, x9",
    "msr cntvoff_el2, xzr",
    "mov x9, {CPTR}",
    "msr cptr_el2, x9",
    "msr hstr_el2, xzr",
    "msr vttbr_el2, xzr",
    "mrs x9, midr_el1",
    "msr vpidr_el2, x9",
    "mrs x9, mpidr_el1",
    "msr vmpidr_el2, x9",
    // All of the performance monitor's counters are EL1's, and none is trapped; there may be no monitor (0 or 15).
    "mrs x10, id_aa64dfr0_el1",
    "ubfx x10, x10, #8, #4",
    "sub x10, x10, #1",
    "mov x9, xzr",
    "cmp x10, #14",
    "b.hs 4f",
    "mrs x9, pmcr_el0",
    "ubfx x9, x9, #11, #5",
    "4: msr mdcr_el2, x9",
    // The system registers of a GICv3, where there is one: ICC_SRE_EL2 and ICH_HCR_EL2.
    "mrs x9, id_aa64pfr0_el1",
    "ubfx x9, x9, #24, #4",
    "cbz x9, 4f",
    "mrs x9, s3_4_c12_c9_5",
    "orr x9, x9, #1",
    "orr x9, x9, #8",
    "msr s3_4_c12_c9_5, x9",
    "isb",
    "msr s3_4_c12_c11_0, xzr",
    "4: ldr x9, ={SCTLR_OFF}",
    "msr sctlr_el1, x9",
    "mov x9, {SPSR}",
    "msr spsr_el2, x9",
    "msr elr_el2, x30",
    "eret",
    "5: ret",
    ".ltorg",
    ".global __ebbtide_drop_to_el1_end",
    "__ebbtide_drop_to_el1_end:",
    ".popsection",
    HCR = const HCR,
    CPTR = const CPTR,
    SPSR = const SPSR,
    SCTLR_OFF = const SCTLR_OFF,
);

//! The way in: the arm64 Image of the Linux boot protocol, the only file that QEMU hands a device tree to.
//!
//! The file starts with a header of 64 bytes whose first word is executed
//! (<https://docs.kernel.org/arch/arm64/booting.html>). The CPU arrives there at EL2 or EL1 with the MMU off, everything
//! masked and x0 with the physical address of the device tree. The first instructions note the counter: boot time is
//! counted from here.

#![expect(unsafe_code, reason = "the machine's first instructions")]

use core::arch::naked_asm;
use core::cell::UnsafeCell;

use super::tables::{MEMORY_ATTRIBUTES, ROOT, TRANSLATION};
use super::vectors::VECTORS;
use super::{exit, tree};
use crate::boot::{self, Handover};

/// Where the Image asks to be put, in bytes from the start of RAM. The linker script says the same.
const TEXT_OFFSET: u64 = 0x8_0000;

/// Flags of the header: little-endian, pages of 4 KiB, close to the start of RAM.
const FLAGS: u64 = 0b0010;

/// Size of the loader's own stack, in bytes.
const STACK_BYTES: usize = 64 << 10;

#[repr(C, align(16))]
pub(super) struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only the CPU that boots uses it.
unsafe impl Sync for Stack {}

pub(super) static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// Distance from the start of [`STACK`] to its top, in bytes.
pub(super) const STACK_TOP: usize = STACK_BYTES;

/// SCTLR_EL1 with everything off: the bits that are 1 on CPUs without the features that gave them a meaning.
const SCTLR_OFF: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;

/// MMU, data cache, instruction cache.
const SCTLR_ON: u64 = SCTLR_OFF | 1 << 12 | 1 << 2 | 1;

/// HCR_EL2: EL1 is 64-bit, and pointer authentication is not trapped.
const HCR: u64 = 1 << 31 | 1 << 41 | 1 << 40;

/// CPTR_EL2 of a CPU without VHE: its bits that are 1, no trap of floating point.
const CPTR: u64 = 0x33ff;

/// SPSR_EL2: to EL1 with its own stack pointer, all masked.
const SPSR: u64 = 0x3c5;

/// The start of the Image: its header, then the first instructions. A program refers to it once, so that it is linked.
///
/// The length at offset 16 is the packer's to fill in.
#[unsafe(naked)]
#[unsafe(link_section = ".head")]
pub extern "C" fn head<H: Handover>() -> ! {
    naked_asm!(
        "b {start}",
        "nop",
        ".quad {text_offset}",
        ".quad 0",
        ".quad {flags}",
        ".quad 0, 0, 0",
        ".ascii \"ARM\\x64\"",
        ".long 0",
        start = sym start::<H>,
        text_offset = const TEXT_OFFSET,
        flags = const FLAGS,
    )
}

/// The first instructions: note the counter, go down to EL1, switch the MMU and the caches on, take a stack.
///
/// The counter is PMCCNTR_EL0, which counts single instructions under QEMU's `-icount`; a CPU without a performance
/// monitor (ID_AA64DFR0_EL1.PMUVer 0 or 15) has the virtual counter. Nothing is written to memory before the caches are
/// on: what they hold of it then would be old.
#[unsafe(naked)]
extern "C" fn start<H: Handover>() -> ! {
    naked_asm!(
        "mrs x9, id_aa64dfr0_el1",
        "ubfx x21, x9, #8, #4",
        "sub x9, x21, #1",
        "cmp x9, #14",
        "b.hs 2f",
        "mrs x9, pmcr_el0",
        "orr x9, x9, #1",
        "orr x9, x9, #0x40",
        "msr pmcr_el0, x9",
        "msr pmccfiltr_el0, xzr",
        "mov x9, #0x80000000",
        "msr pmcntenset_el0, x9",
        "isb",
        "mrs x20, pmccntr_el0",
        "b 3f",
        "2: isb",
        "mrs x20, cntvct_el0",
        "3: mov x19, x0",
        "mov x22, xzr",
        "msr daifset, #15",
        "mrs x9, currentel",
        "cmp x9, #8",
        "b.ne 5f",

        // EL2: nothing that EL1 does is trapped, its timers have no offset, its identity is the CPU's.
        "mov x22, #1",
        "ldr x9, ={hcr}",
        "msr hcr_el2, x9",
        "isb",
        "mrs x9, cnthctl_el2",
        "orr x9, x9, #3",
        "msr cnthctl_el2, x9",
        "msr cntvoff_el2, xzr",
        "mov x9, {cptr}",
        "msr cptr_el2, x9",
        "msr hstr_el2, xzr",
        "msr vttbr_el2, xzr",
        "mrs x9, midr_el1",
        "msr vpidr_el2, x9",
        "mrs x9, mpidr_el1",
        "msr vmpidr_el2, x9",
        // All of the performance monitor's counters are EL1's, and none is trapped.
        "mov x9, xzr",
        "sub x10, x21, #1",
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
        "4: ldr x9, ={sctlr_off}",
        "msr sctlr_el1, x9",
        "mov x9, {spsr}",
        "msr spsr_el2, x9",
        "adr x9, 5f",
        "msr elr_el2, x9",
        "eret",

        "5: msr spsel, #1",
        "mov x9, #(3 << 20)",
        "msr cpacr_el1, x9",
        "ldr x9, ={attributes}",
        "msr mair_el1, x9",
        // As many physical address bits as the CPU has, 48 at most: a field's value of 5.
        "mrs x10, id_aa64mmfr0_el1",
        "and x10, x10, #0xf",
        "mov x11, #5",
        "cmp x10, x11",
        "csel x10, x10, x11, lo",
        "ldr x9, ={translation}",
        "orr x9, x9, x10, lsl #32",
        "msr tcr_el1, x9",
        "adrp x9, {root}",
        "add x9, x9, :lo12:{root}",
        "msr ttbr0_el1, x9",
        "isb",
        "tlbi vmalle1",
        "ic iallu",
        "dsb nsh",
        "isb",
        "ldr x9, ={sctlr_on}",
        "msr sctlr_el1, x9",
        "isb",
        "adrp x9, {vectors}",
        "add x9, x9, :lo12:{vectors}",
        "msr vbar_el1, x9",
        "isb",
        "adrp x9, {stack}",
        "add x9, x9, :lo12:{stack}",
        "add sp, x9, {stack_top}",
        "mov x0, x19",
        "mov x1, x20",
        "mov x2, x22",
        "mov x29, xzr",
        "mov x30, xzr",
        "b {main}",
        ".ltorg",
        hcr = const HCR,
        cptr = const CPTR,
        spsr = const SPSR,
        sctlr_off = const SCTLR_OFF,
        sctlr_on = const SCTLR_ON,
        attributes = const MEMORY_ATTRIBUTES,
        translation = const TRANSLATION,
        root = sym ROOT,
        vectors = sym VECTORS,
        stack = sym STACK,
        stack_top = const STACK_TOP,
        main = sym main::<H>,
    )
}

/// Goes on in Rust, with the physical address of the device tree, the counter at the first instruction, and whether the
/// CPU came from EL2.
extern "C" fn main<H: Handover>(device_tree: u64, counter_at_start: u64, from_el2: u64) -> ! {
    exit::assume_conduit(from_el2 != 0);
    boot::run::<H>(|| {
        // SAFETY: it is the first and only call, with the address that came with the entry.
        unsafe { tree::read(device_tree, counter_at_start) }
    })
}

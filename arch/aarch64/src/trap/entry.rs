//! Entry code: the vector table, and what its entries share.
//!
//! The CPU comes here in whichever view of memory it was, so this code lies in pages that are the kernel's in both.
#![expect(unsafe_code, reason = "the section that the entries and exits are in")]

use core::arch::naked_asm;
use core::mem::offset_of;

use aarch64_cpu::registers::ESR_EL1::EC::Value as Class;
use ebbtide_core::System;
use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::thread::Head;
use static_assertions::const_assert;

use super::dispatch::{dispatch, hopeless, nested, on_thread_stack};
use super::stacks::{EMERGENCY, LAST, LAST_BYTES, LAST_IN_USE};
use crate::user::{KERNEL_VIEW, USER_VIEW, system_call};

/// What a trap saves: enough to go on as if it had not come, and what it was.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct TrapFrame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP_EL0: the thread's stack pointer.
    pub stack_pointer: u64,
    /// ELR_EL1.
    pub instruction: u64,
    /// SPSR_EL1.
    pub state: u64,
    /// ESR_EL1.
    pub syndrome: u64,
    /// FAR_EL1.
    pub address: u64,
    /// The entry of the vector table, from 0.
    pub vector: u64,
    /// Keeps the stack pointer aligned to 16 bytes.
    pub reserved: u64,
}

impl TrapFrame {
    /// Says whether the trap came in user mode.
    pub fn in_user_mode(&self) -> bool {
        self.state & MODE == 0
    }
}

/// M, in SPSR_EL1: 0 is EL0 (C5.2.19).
const MODE: u64 = 0b1111;

/// Where EC begins in ESR_EL1.
const CLASS: u64 = 26;

/// Bytes from one entry of the vector table to the next (D1.3.4.1).
const ENTRY_BYTES: usize = 128;
const ENTRIES: usize = 16;
/// Bytes of the table, to which it is aligned.
pub(crate) const TABLE_BYTES: usize = ENTRIES * ENTRY_BYTES;

/// Where the vector table begins. Entries 0 to 3 are for what comes while SP_EL0 is in use, 8 to 15 for a lower exception
/// level: they begin a frame. 4 to 7 are for what comes while SP_EL1 is: nothing can go on then, so registers are free there.
/// Entry 8 tells system calls from the rest, with a register that they lose.
///
/// The linker puts sections in the order in which it finds them, and the compiler sorts by name: so this function is the first
/// code of all, its section stands before that of the entries, and the table at the latter's beginning. The entries have pages for
/// themselves: no other code must follow theirs.
#[unsafe(naked)]
pub(crate) extern "C" fn table<S: System>() -> u64 {
    naked_asm!(
        "adrp x0, 2f",
        "ret",
        ".pushsection ebbtide_entry, \"ax\", @progbits",
        ".balign {PAGE_BYTES}",
        "2:",
        ".set .Lebbtide_vector, 0",
        ".rept {ENTRIES}",
        ".balign {ENTRY_BYTES}",
        ".if .Lebbtide_vector / 4 == 1",
        "mov x2, #.Lebbtide_vector",
        "b {in_trap}",
        ".else",
        ".if .Lebbtide_vector == 8",
        // All is masked, so nothing else comes below the stack pointer.
        "str x9, [sp, #-8]",
        "mrs x9, esr_el1",
        "lsr x9, x9, #{CLASS}",
        "cmp x9, #{SYSTEM_CALL}",
        "b.eq {system_call}",
        "ldr x9, [sp, #-8]",
        ".endif",
        "sub sp, sp, #{FRAME}",
        "stp x0, x1, [sp]",
        "mov x0, #.Lebbtide_vector",
        "b {common}",
        ".endif",
        ".set .Lebbtide_vector, .Lebbtide_vector + 1",
        ".endr",
        ".popsection",
        PAGE_BYTES = const PAGE_BYTES,
        ENTRY_BYTES = const ENTRY_BYTES,
        ENTRIES = const ENTRIES,
        FRAME = const size_of::<TrapFrame>(),
        CLASS = const CLASS,
        SYSTEM_CALL = const Class::SVC64 as u64,
        system_call = sym system_call,
        common = sym common::<S>,
        in_trap = sym in_trap::<S>,
    )
}

/// Saves the rest, asks what the trap means, and resumes: with the frame on the trap stack, or (when the answer is
/// a frame that was moved) with that one, after a preemption on the thread's own stack. From user mode, the view is changed first
/// and last.
#[unsafe(naked)]
#[unsafe(link_section = "ebbtide_entry")]
extern "C" fn common<S: System>() {
    naked_asm!(
        "stp x2, x3, [sp, #16]",
        "stp x4, x5, [sp, #32]",
        "stp x6, x7, [sp, #48]",
        "stp x8, x9, [sp, #64]",
        "stp x10, x11, [sp, #80]",
        "stp x12, x13, [sp, #96]",
        "stp x14, x15, [sp, #112]",
        "stp x16, x17, [sp, #128]",
        "stp x18, x19, [sp, #144]",
        "stp x20, x21, [sp, #160]",
        "stp x22, x23, [sp, #176]",
        "stp x24, x25, [sp, #192]",
        "stp x26, x27, [sp, #208]",
        "stp x28, x29, [sp, #224]",
        "mrs x1, sp_el0",
        "mrs x2, elr_el1",
        "mrs x3, spsr_el1",
        "mrs x4, esr_el1",
        "mrs x5, far_el1",
        "stp x30, x1, [sp, #240]",
        "stp x2, x3, [sp, #{INSTRUCTION}]",
        "stp x4, x5, [sp, #{SYNDROME}]",
        "str x0, [sp, #{VECTOR}]",
        "mov x0, sp",
        "tst x3, #{MODE}",
        "b.ne 4f",
        "adrp x4, {KERNEL_VIEW}",
        "ldr x4, [x4, :lo12:{KERNEL_VIEW}]",
        "msr ttbr0_el1, x4",
        "isb",
        // The kernel follows nothing of the user's: no frame pointer, nor what `in_trap` counts in.
        "mov x29, xzr",
        "msr sp_el0, x0",
        "4:",
        "bl {dispatch}",
        // Either way the trap stack is free now: everything is masked until the frame has been read.
        "mov x9, sp",
        "add sp, sp, #{FRAME}",
        "cmp x0, x9",
        "b.ne 2f",
        "3:",
        "ldp x30, x1, [x0, #240]",
        "ldp x2, x3, [x0, #{INSTRUCTION}]",
        "msr sp_el0, x1",
        "msr elr_el1, x2",
        "msr spsr_el1, x3",
        "tst x3, #{MODE}",
        "b.ne 5f",
        // It takes effect with `eret` at the latest. Until then nothing is touched that the views differ in.
        "adrp x4, {USER_VIEW}",
        "ldr x4, [x4, :lo12:{USER_VIEW}]",
        "msr ttbr0_el1, x4",
        "msr tpidr_el0, xzr",
        "5:",
        "ldp x2, x3, [x0, #16]",
        "ldp x4, x5, [x0, #32]",
        "ldp x6, x7, [x0, #48]",
        "ldp x8, x9, [x0, #64]",
        "ldp x10, x11, [x0, #80]",
        "ldp x12, x13, [x0, #96]",
        "ldp x14, x15, [x0, #112]",
        "ldp x16, x17, [x0, #128]",
        "ldp x18, x19, [x0, #144]",
        "ldp x20, x21, [x0, #160]",
        "ldp x22, x23, [x0, #176]",
        "ldp x24, x25, [x0, #192]",
        "ldp x26, x27, [x0, #208]",
        "ldp x28, x29, [x0, #224]",
        "ldp x0, x1, [x0]",
        "eret",
        // The frame has moved to the thread's stack. An SError may come there as in any thread, and a watchpoint.
        "2:",
        "msr spsel, #0",
        "mov sp, x0",
        "mov x19, x0",
        "msr daifclr, #12",
        "bl {on_thread_stack}",
        "msr daifset, #15",
        "msr spsel, #1",
        "mov x0, x19",
        "b 3b",
        INSTRUCTION = const offset_of!(TrapFrame, instruction),
        SYNDROME = const offset_of!(TrapFrame, syndrome),
        VECTOR = const offset_of!(TrapFrame, vector),
        MODE = const MODE,
        KERNEL_VIEW = sym KERNEL_VIEW,
        USER_VIEW = sym USER_VIEW,
        FRAME = const size_of::<TrapFrame>(),
        dispatch = sym dispatch::<S>,
        on_thread_stack = sym on_thread_stack::<S>,
    )
}

/// A trap in a handler: leaves the stack pointer, which may be what is wrong, for the emergency stack, and reports.
///
/// SP_EL0 counts how deep this goes, as it never holds 0 or 1 otherwise: the first time the report is made; a trap in
/// that report ends the run from a stack in the image; and one in that stops the CPU. So does one on another CPU while that
/// stack is in use: there is one such stack, and the run ends all the same. It may have come at an entry from user mode or an
/// exit, in the user's view.
#[unsafe(naked)]
#[unsafe(link_section = "ebbtide_entry")]
extern "C" fn in_trap<S: System>() {
    naked_asm!(
        "adrp x3, {KERNEL_VIEW}",
        "ldr x3, [x3, :lo12:{KERNEL_VIEW}]",
        "cbz x3, 5f",
        "msr ttbr0_el1, x3",
        "isb",
        "5:",
        "mrs x3, sp_el0",
        "cmp x3, #1",
        "b.eq 3f",
        "b.lo 2f",
        "msr sp_el0, xzr",
        "mov x0, sp",
        "mov x1, x29",
        "mrs x3, tpidr_el1",
        "ldr x3, [x3, #{CPU}]",
        "ldr w3, [x3, #{NUMBER}]",
        "adrp x4, {EMERGENCY}",
        "add x4, x4, :lo12:{EMERGENCY}",
        "ldr x3, [x4, x3, lsl #3]",
        "mov sp, x3",
        "bl {nested}",
        "2:",
        "mov x3, #1",
        "msr sp_el0, x3",
        "mov x0, sp",
        "adrp x4, {LAST_IN_USE}",
        "add x4, x4, :lo12:{LAST_IN_USE}",
        "4: ldaxr w5, [x4]",
        "stlxr w6, w3, [x4]",
        "cbnz w6, 4b",
        "cbnz w5, 3f",
        "adrp x4, {LAST}",
        "add x4, x4, :lo12:{LAST}",
        "mov x5, #{LAST_BYTES}",
        "add sp, x4, x5",
        "bl {hopeless}",
        "3:",
        "wfi",
        "b 3b",
        CPU = const offset_of!(Head, cpu),
        NUMBER = const offset_of!(PerCpu, number),
        KERNEL_VIEW = sym KERNEL_VIEW,
        EMERGENCY = sym EMERGENCY,
        LAST_IN_USE = sym LAST_IN_USE,
        LAST = sym LAST,
        LAST_BYTES = const LAST_BYTES,
        nested = sym nested::<S>,
        hopeless = sym hopeless::<S>,
    )
}

// The stack pointer stays aligned to 16 bytes, as SCTLR_EL1.SA and the ABI ask.
const_assert!(size_of::<TrapFrame>().is_multiple_of(16));
// What the entry code saves by pairs.
const_assert!(offset_of!(TrapFrame, x) == 0);
const_assert!(offset_of!(TrapFrame, stack_pointer) == 31 * 8);
const_assert!(offset_of!(TrapFrame, state) == offset_of!(TrapFrame, instruction) + 8);
const_assert!(offset_of!(TrapFrame, address) == offset_of!(TrapFrame, syndrome) + 8);
// The vector table is aligned to its size, and to a page, as `adrp` asks.
const_assert!((PAGE_BYTES as usize).is_multiple_of(TABLE_BYTES));

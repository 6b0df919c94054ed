//! Ways to break the machine on purpose, for the images that test what happens then.
#![expect(unsafe_code, reason = "breaks the machine on purpose")]

use core::arch::{asm, naked_asm};

use ebbtide_core::System;
use ebbtide_core::arch::Provoke;
use x86_64::instructions::interrupts;

use crate::X86_64;
use crate::trap::{TRAP_STACKS, provoke_with};

/// An address that no table maps.
const NOWHERE: u64 = 0xffff_ff00_dead_0000;

/// Index of the trap stack of ordinary exceptions.
const EXCEPTIONS: usize = 1;
/// Index of the trap stack of page faults.
const PAGE_FAULT: usize = 2;

impl Provoke for X86_64 {
    const TRAP_STACKS: usize = TRAP_STACKS.len();

    fn breakpoint() {
        interrupts::int3();
    }

    fn unmaskable_interrupt<S: System>() {
        // SAFETY: enters the NMI's handler as the NMI does, and returns.
        unsafe { asm!("int 2") };
    }

    fn undefined_instruction() -> ! {
        // SAFETY: raises #UD, which ends the run.
        unsafe { asm!("ud2", options(noreturn)) }
    }

    fn double_fault() -> ! {
        interrupts::disable();
        // #UD and then #PF: neither can be delivered, so the second makes it a double fault.
        provoke_with(EXCEPTIONS, Some(NOWHERE));
        provoke_with(PAGE_FAULT, Some(NOWHERE));
        Self::undefined_instruction()
    }

    fn overflow_trap_stack(number: usize) -> ! {
        interrupts::disable();
        let header = provoke_with(number, None);
        // SAFETY: the header lies above the trap stack's IST pointer; a trap "stands" there from now on.
        unsafe { (*header).depth += 1 };
        // SAFETY: the run ends on that stack.
        unsafe { recurse_on(header as u64) }
    }

    fn nested_fault() -> ! {
        interrupts::disable();
        let header = provoke_with(PAGE_FAULT, None);
        // SAFETY: as above: a page fault's handler runs, and faults.
        unsafe { (*header).depth += 1 };
        // SAFETY: faults, which ends the run.
        unsafe { asm!("mov rax, [{}]", in(reg) NOWHERE, options(noreturn)) }
    }
}

/// Moves to a stack and calls until it is full.
///
/// # Safety
///
/// Nothing comes back from it: it ends the run.
#[unsafe(naked)]
unsafe extern "C" fn recurse_on(stack_pointer: u64) -> ! {
    naked_asm!("mov rsp, rdi", "2:", "push rbp", "call 2b")
}

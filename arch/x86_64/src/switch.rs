//! The switch: six callee-saved registers, the stack pointer, and "current".
#![expect(unsafe_code, reason = "moves the stack pointer")]

use core::arch::naked_asm;
use core::mem::offset_of;

use ebbtide_core::arch::Switch;
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::stack::Leaving;
use ebbtide_core::thread::{Thread, second_half};
use ebbtide_core::{System, VirtAddr};
use static_assertions::const_assert;

use crate::X86_64;
use crate::trap::TrapFrame;

/// What [`switch`] leaves on a stack, from the saved stack pointer upwards.
#[repr(C)]
struct ActivationRecord {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbx: u64,
    rbp: u64,
    return_address: u64,
}

// SAFETY: rbx, rbp and r12 to r15 are what the System V ABI calls callee-saved; the rest is the caller's. The kernel
// is built without SSE, so there is no other state. The direction flag is clear in both threads.
unsafe impl Switch for X86_64 {
    // Measured at the deepest, a refill that frees what rests: release 1.5 KiB. Unoptimised code needs three times that.
    const PREEMPT_STACK_BYTES: u64 =
        size_of::<TrapFrame>() as u64 + if cfg!(debug_assertions) { 5 << 10 } else { 2 << 10 };

    unsafe fn prepare(top: VirtAddr, entry: extern "C" fn(*mut ()) -> !, argument: *mut ()) -> VirtAddr {
        let record = ActivationRecord {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: argument.expose_provenance() as u64,
            rbx: entry as usize as u64,
            rbp: 0,
            return_address: begin as *const () as usize as u64,
        };
        let stack_pointer = VirtAddr::new(top.as_u64() - size_of::<ActivationRecord>() as u64);
        // SAFETY: the caller owns the page below `top`, which is aligned to pages.
        unsafe { stack_pointer.as_mut_ptr::<ActivationRecord>().write(record) };
        stack_pointer
    }

    #[inline]
    unsafe fn switch<S: System>(prev: &Thread, next: &Thread, leaving: Leaving) {
        // SAFETY: the caller's promise.
        unsafe { switch::<S>(prev, next, leaving) };
    }

    unsafe fn switch_first(next: &Thread) -> ! {
        // SAFETY: the caller's promise.
        unsafe { switch_first(next) }
    }
}

/// Takes the callee-saved registers from an [`ActivationRecord`]; the return address is next.
macro_rules! restore {
    () => {
        "pop r15\n pop r14\n pop r13\n pop r12\n pop rbx\n pop rbp"
    };
}

/// Both halves' border. It ends with a jump to the second half, which returns on next's stack.
///
/// # Safety
///
/// As [`Switch::switch`].
#[unsafe(naked)]
unsafe extern "C" fn switch<S: System>(prev: &Thread, next: &Thread, leaving: Leaving) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi + {stack_pointer}], rsp",
        // No stack access lies between these two: a trap in between finds the owner of a stack by address.
        "mov rsp, [rsi + {stack_pointer}]",
        "mov gs:[{current}], rsi",
        restore!(),
        "jmp {second_half}",
        stack_pointer = const Thread::SAVED_STACK_POINTER_OFFSET,
        current = const offset_of!(PerCpu, current),
        second_half = sym second_half::<S>,
    )
}

/// The same without a thread to leave.
///
/// # Safety
///
/// As [`Switch::switch_first`].
#[unsafe(naked)]
unsafe extern "C" fn switch_first(next: &Thread) -> ! {
    naked_asm!(
        "mov rsp, [rdi + {stack_pointer}]",
        "mov gs:[{current}], rdi",
        restore!(),
        "ret",
        stack_pointer = const Thread::SAVED_STACK_POINTER_OFFSET,
        current = const offset_of!(PerCpu, current),
    )
}

/// The first instructions of a thread: calls what [`Switch::prepare`] left in the callee-saved registers. The frame
/// pointer is 0, where a backtrace ends.
#[unsafe(naked)]
extern "C" fn begin() -> ! {
    naked_asm!("mov rdi, r12", "call rbx", "ud2")
}

// The stack pointer is aligned to 16 bytes where `begin` calls, as the ABI asks: the record ends at the stack's top.
const_assert!(size_of::<ActivationRecord>() == 7 * 8);
// The order in which `switch` pops.
const_assert!(offset_of!(ActivationRecord, r15) == 0);
const_assert!(offset_of!(ActivationRecord, rbp) == 5 * 8);
const_assert!(offset_of!(ActivationRecord, return_address) == 6 * 8);

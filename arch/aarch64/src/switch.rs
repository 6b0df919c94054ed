//! The switch: the stack pointer, "current", and what the compiler cannot save itself.
//!
//! The switch is inline assembly that claims to change every register it can. So the compiler saves exactly those that
//! the calling function has in use, once, where a routine of its own would save all twelve callee-saved registers, and the
//! function around it again what it uses. What is left are x19 and x29, which a claim may not name, and the address at
//! which to go on. A thread's stack pointer is SP_EL0 throughout: SP_EL1 belongs to traps.
#![expect(unsafe_code, reason = "moves the stack pointer")]

use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

use ebbtide_core::VirtAddr;
use ebbtide_core::arch::{Entry, Switch};
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::report::Place;
use ebbtide_core::stack::Leaving;
use ebbtide_core::thread::{Head, Thread};
use static_assertions::const_assert;

use crate::Aarch64;
use crate::trap::TrapFrame;

/// What [`Switch::switch`] leaves on a stack, from the saved stack pointer upwards.
#[repr(C)]
struct Record {
    frame_pointer: u64,
    resume: u64,
    x19: u64,
    /// The stack pointer is aligned to 16 bytes.
    _padding: u64,
}

/// What [`Switch::prepare`] leaves on a stack, from the saved stack pointer upwards.
#[repr(C)]
struct FirstRecord {
    /// 0: the end of a backtrace.
    frame_pointer: u64,
    /// Where a switch goes on: [`begin`].
    resume: u64,
    entry: u64,
    argument: u64,
}

// SAFETY: every register is saved, or claimed to be changed. The kernel is built without floating point and SIMD, and
// these are trapped, so there is no other state.
unsafe impl Switch for Aarch64 {
    // Measured at the deepest, a refill that frees what rests: release 1.6 KiB. Unoptimised code needs three times that.
    const PREEMPT_STACK_BYTES: u64 =
        size_of::<TrapFrame>() as u64 + if cfg!(debug_assertions) { 5 << 10 } else { 2 << 10 };

    // Rust's part is measured: release no more than 144 bytes, the least that shows; unoptimised 1.2 KiB.
    const SWITCH_STACK_BYTES: u64 = size_of::<Record>() as u64 + if cfg!(debug_assertions) { 2 << 10 } else { 512 };

    unsafe fn prepare(top: VirtAddr, entry: Entry, argument: *mut ()) -> VirtAddr {
        let record = FirstRecord {
            frame_pointer: 0,
            resume: begin as *const () as usize as u64,
            entry: entry as usize as u64,
            argument: argument.expose_provenance() as u64,
        };
        let stack_pointer = VirtAddr::new(top.as_u64() - size_of::<FirstRecord>() as u64);
        // SAFETY: the caller owns the page below `top`, which is aligned to pages.
        unsafe { stack_pointer.as_mut_ptr::<FirstRecord>().write(record) };
        stack_pointer
    }

    #[inline(always)]
    unsafe fn switch(prev: &'static Thread, next: &'static Thread, leaving: Leaving) -> (&'static Thread, Leaving) {
        let left: *const Thread;
        let how: u64;
        // SAFETY: by the caller's promise next's stack is populated and holds what this very code pushed, or a
        // `FirstRecord`. It is a barrier for the compiler: other threads run before it is through.
        unsafe {
            asm!(
                "adr x30, 2f",
                "stp x29, x30, [sp, #-{record}]!",
                "str x19, [sp, #{x19}]",
                "mov x9, sp",
                "str x9, [x0, #{stack_pointer}]",
                // The CPU is handed on with "current".
                "ldr x9, [x0, #{cpu}]",
                "str x9, [x1, #{cpu}]",
                "str x1, [x9, #{current}]",
                "ldr x9, [x1, #{stack_pointer}]",
                // No stack access lies between these two: a trap in between finds the owner of a stack by address.
                "mov sp, x9",
                "msr tpidr_el1, x1",
                "ldp x29, x30, [sp], #16",
                // Not `ret`: the CPU's stack of return addresses knows another call.
                "br x30",
                "2:",
                "ldr x19, [sp], #16",
                record = const size_of::<Record>(),
                x19 = const offset_of!(Record, x19),
                stack_pointer = const offset_of!(Head, saved_stack_pointer),
                cpu = const offset_of!(Head, cpu),
                current = const offset_of!(PerCpu, current),
                inout("x0") prev => left,
                inout("x2") leaving as u64 => how,
                inout("x1") next => _,
                out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
                out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
                out("x17") _, out("x18") _, out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _,
                out("x25") _, out("x26") _, out("x27") _, out("x28") _, out("x30") _,
            );
        }
        // SAFETY: whoever switched here left it in the register, and a thread lives until it has been handed on.
        let left = unsafe { &*left };
        // SAFETY: a `Leaving` went into the register.
        (left, unsafe { core::mem::transmute::<u64, Leaving>(how) })
    }

    unsafe fn call_on(top: VirtAddr, f: extern "C-unwind" fn(*mut ()), argument: *mut (), left: &AtomicU64) {
        // SAFETY: the caller's promise.
        unsafe { call_on(top.as_u64(), f, argument, left) }
    }

    unsafe fn left_at(stack_pointer: VirtAddr) -> Option<Place> {
        // SAFETY: by the caller's promise a record is there.
        let record = unsafe { &*stack_pointer.as_ptr::<Record>() };
        Some(Place {
            address: stack_pointer,
            instruction: VirtAddr::new_truncate(record.resume),
            stack_pointer,
            frame_pointer: VirtAddr::new_truncate(record.frame_pointer),
        })
    }

    unsafe fn switch_first(next: &Thread) -> ! {
        // SAFETY: the caller's promise.
        unsafe { switch_first(next) }
    }
}

/// A call on another stack. Its frame, which stays on the one that is left, is the caller of `f` for a backtrace.
///
/// # Safety
///
/// As [`Switch::call_on`].
#[unsafe(naked)]
unsafe extern "C-unwind" fn call_on(top: u64, f: extern "C-unwind" fn(*mut ()), argument: *mut (), left: &AtomicU64) {
    naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        "str x29, [x3]",
        "mov sp, x0",
        "mov x0, x2",
        "blr x1",
        "mov sp, x29",
        "ldp x29, x30, [sp], #16",
        "ret",
    )
}

/// The switch without a thread to leave.
///
/// # Safety
///
/// As [`Switch::switch_first`].
#[unsafe(naked)]
unsafe extern "C" fn switch_first(next: &Thread) -> ! {
    naked_asm!(
        "mrs x9, tpidr_el1",
        "ldr x9, [x9, #{cpu}]",
        "str x9, [x0, #{cpu}]",
        "str x0, [x9, #{current}]",
        "ldr x9, [x0, #{stack_pointer}]",
        "mov sp, x9",
        "msr tpidr_el1, x0",
        "mov x0, #0",
        "mov x2, #0",
        "ldp x29, x30, [sp], #16",
        "br x30",
        stack_pointer = const offset_of!(Head, saved_stack_pointer),
        cpu = const offset_of!(Head, cpu),
        current = const offset_of!(PerCpu, current),
    )
}

/// The first instructions of a thread: calls the entry that [`Switch::prepare`] left. The frame pointer is 0, where a
/// backtrace ends.
#[unsafe(naked)]
extern "C" fn begin() -> ! {
    naked_asm!("mov x1, x2", "ldp x9, x2, [sp], #16", "blr x9", "udf #0")
}

// The stack pointer is aligned to 16 bytes at every access, as SCTLR_EL1.SA asks: the record ends at the stack's top.
const_assert!(size_of::<FirstRecord>() == 2 * 16);
// What the switch takes off in two loads of 16 bytes.
const_assert!(size_of::<Record>() == 2 * 16);
const_assert!(offset_of!(Record, frame_pointer) == offset_of!(FirstRecord, frame_pointer));
const_assert!(offset_of!(Record, resume) == offset_of!(FirstRecord, resume));
const_assert!(offset_of!(Record, x19) == 16);
// The order in which the switch and `begin` take them.
const_assert!(offset_of!(FirstRecord, frame_pointer) == 0);
const_assert!(offset_of!(FirstRecord, resume) == 8);
const_assert!(offset_of!(FirstRecord, entry) == 16);
const_assert!(offset_of!(FirstRecord, argument) == 24);
// The saved stack pointer and the CPU are found at offsets in a thread.
const_assert!(Thread::SAVED_STACK_POINTER_OFFSET == offset_of!(Head, saved_stack_pointer));
// It is passed in a register.
const_assert!(size_of::<Leaving>() == 8);

//! The switch: the stack pointer, "current", and what the compiler cannot save itself.
//!
//! The switch is inline assembly that claims to change every register it can. So the compiler saves exactly those that
//! the calling function has in use, once, where a routine of its own would save all six callee-saved registers, and the
//! function around it again what it uses. What is left are rbp and rbx, which a claim may not name, and the address at
//! which to go on.
#![expect(unsafe_code, reason = "moves the stack pointer")]

use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

use ebbtide_core::VirtAddr;
use ebbtide_core::arch::{Entry, Switch};
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::report::Place;
use ebbtide_core::stack::Leaving;
use ebbtide_core::thread::Thread;
use static_assertions::const_assert;

use crate::X86_64;
use crate::trap::TrapFrame;

/// What [`Switch::switch`] leaves on a stack, from the saved stack pointer upwards.
#[repr(C)]
struct Record {
    resume: u64,
    rbx: u64,
    rbp: u64,
}

/// What [`Switch::prepare`] leaves on a stack, from the saved stack pointer upwards.
#[repr(C)]
struct FirstRecord {
    /// Where a switch goes on: [`begin`].
    resume: u64,
    entry: u64,
    argument: u64,
}

// SAFETY: every register is saved, or claimed to be changed. The kernel is built without SSE, so there is no other
// state. The direction flag is clear in both threads.
unsafe impl Switch for X86_64 {
    // Measured at the deepest, a refill that frees what rests: release 1.5 KiB. Unoptimised code needs three times that.
    const PREEMPT_STACK_BYTES: u64 =
        size_of::<TrapFrame>() as u64 + if cfg!(debug_assertions) { 5 << 10 } else { 2 << 10 };

    // Rust's part is measured: release no more than 144 bytes, the least that shows; unoptimised 1.2 KiB.
    const SWITCH_STACK_BYTES: u64 = size_of::<Record>() as u64 + if cfg!(debug_assertions) { 2 << 10 } else { 512 };

    unsafe fn prepare(top: VirtAddr, entry: Entry, argument: *mut ()) -> VirtAddr {
        let record = FirstRecord {
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
                "push rbp",
                "push rbx",
                "lea rax, [rip + 2f]",
                "push rax",
                "mov [rdi + {stack_pointer}], rsp",
                // No stack access lies between these two: a trap in between finds the owner of a stack by address.
                "mov rsp, [rsi + {stack_pointer}]",
                "mov gs:[{current}], rsi",
                // Not `ret`: the CPU's stack of return addresses knows another call.
                "pop rax",
                "jmp rax",
                "2:",
                "pop rbx",
                "pop rbp",
                stack_pointer = const Thread::SAVED_STACK_POINTER_OFFSET,
                current = const offset_of!(PerCpu, current),
                inout("rdi") prev => left,
                inout("rdx") leaving as u64 => how,
                inout("rsi") next => _,
                out("rax") _, out("rcx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
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
            frame_pointer: VirtAddr::new_truncate(record.rbp),
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
        "push rbp",
        "mov rbp, rsp",
        "mov [rcx], rsp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
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
        "mov rsp, [rdi + {stack_pointer}]",
        "mov gs:[{current}], rdi",
        "xor edi, edi",
        "xor edx, edx",
        "ret",
        stack_pointer = const Thread::SAVED_STACK_POINTER_OFFSET,
        current = const offset_of!(PerCpu, current),
    )
}

/// The first instructions of a thread: calls the entry that [`Switch::prepare`] left. The frame pointer is 0, where a
/// backtrace ends.
#[unsafe(naked)]
extern "C" fn begin() -> ! {
    naked_asm!("mov rsi, rdx", "xor ebp, ebp", "pop rax", "pop rdx", "call rax", "ud2")
}

// The stack pointer is aligned to 16 bytes where `begin` calls, as the ABI asks: the record ends at the stack's top.
const_assert!(size_of::<FirstRecord>() == 3 * 8);
// What the switch pushes, three words in this order.
const_assert!(size_of::<Record>() == 3 * 8);
const_assert!(offset_of!(Record, resume) == offset_of!(FirstRecord, resume));
const_assert!(offset_of!(Record, rbx) == 8);
const_assert!(offset_of!(Record, rbp) == 16);
// The order in which `begin` pops.
const_assert!(offset_of!(FirstRecord, resume) == 0);
const_assert!(offset_of!(FirstRecord, entry) == 8);
// It is passed in a register.
const_assert!(size_of::<Leaving>() == 8);

//! User mode: the way there and back, system calls, and access to its memory.
//!
//! ```text
//! kernel stack of a thread in user mode, at `UserContext::stack_pointer`
//!      x19 … x30                                         what `run_user` returns with
//!   ─► user's SP_EL0, ELR_EL1, SPSR_EL1, x29             during a system call
//!      …                                                 or a whole trap frame, if it is preempted there
//! ```
//!
//! A system call (`svc`) comes as every exception of EL0 does: on SP_EL1, everything masked, in the user's view. It saves nothing
//! of what a function call loses, x0 to x18 and x30, and leaves 0 in what holds no answer; TPIDR_EL0, which a thread of user mode
//! can write and no switch saves, is lost and 0 as well. The code of all entries and exits lies in pages of its own, the kernel's
//! in both views ([`crate::trap`] has the other entries). What is written of the image is the same in both views, so these find the
//! views there; what it only reads the kernel cannot reach in the user's.
//!
//! The views differ in TTBR0_EL1 alone, the kernel's with ASID 0, the user's with ASID 1; what they differ in is not global, so the
//! change invalidates nothing. It takes effect at an `isb`, or at the `eret` (SCTLR_EL1.EOS).
//!
//! What EL0 could reach besides memory:
//!
//! ```text
//! CNTKCTL_EL1    0                       no counter, no timer
//! PMUSERENR_EL0  0                       no performance counter
//! AMUSERENR_EL0  0, where there is one   no activity monitor
//! MDSCR_EL1      TDCC                    no debug communications channel; no step, breakpoint or watchpoint
//! CPACR_EL1      0: ZEN, SMEN            no SVE, no SME; floating point and SIMD, see `float`
//! SCTLR_EL1      UMA, UCT, UCI, DZE      0: neither DAIF nor CTR_EL0, no cache maintenance, no `dc zva`
//!                nTWI, nTWE              0: neither `wfi` nor `wfe`
//!                EnRCTX, EnTP2, MSCEn    0: no prediction restriction, no TPIDR2_EL0, no `cpy` and `set`
//!                TSCXT, TIDCP            1: no SCXTNUM_EL0, nothing of an implementation's own
//!                SPAN                    0: every exception sets PSTATE.PAN, where the CPU has that
//! TPIDRRO_EL0    0                       EL0 reads it
//! ```
//!
//! All that is trapped ends the thread.
#![expect(unsafe_code, reason = "the border to user mode")]

use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::{CNTKCTL_EL1, ID_AA64PFR0_EL1, Readable, TPIDRRO_EL0, Writeable};
use ebbtide_core::arch::{Answer, FloatState, PAGE_BYTES, UserContext, UserMode, UserStart};
use ebbtide_core::thread::Head;
use ebbtide_core::{PhysAddr, VirtAddr};
use static_assertions::const_assert;

use crate::{Aarch64, float};

/// TTBR0_EL1 in the kernel's view, once there are two.
pub(crate) static KERNEL_VIEW: AtomicU64 = AtomicU64::new(0);

/// TTBR0_EL1 in the user's view.
pub(crate) static USER_VIEW: AtomicU64 = AtomicU64::new(0);

/// ASID 1, in TTBR0_EL1 (D24.2.189).
const USER_ASID: u64 = 1 << 48;

/// Takes from user mode, on the CPU that executes it, what SCTLR_EL1, CPACR_EL1 and MDSCR_EL1 do not.
pub(crate) fn init_cpu() {
    CNTKCTL_EL1.set(0);
    TPIDRRO_EL0.set(0);
    // SAFETY: the register is part of PMUv3, which is there; it changes nothing for EL1.
    unsafe { asm!("msr pmuserenr_el0, xzr", options(nomem, nostack, preserves_flags)) };
    if ID_AA64PFR0_EL1.read(ID_AA64PFR0_EL1::AMU) != 0 {
        // SAFETY: AMUSERENR_EL0, which is there; as above.
        unsafe { asm!("msr s3_3_c13_c2_3, xzr", options(nomem, nostack, preserves_flags)) };
    }
}

unsafe extern "C" {
    /// The linker defines the borders of a section whose name is one of C.
    #[link_name = "__start_ebbtide_entry"]
    static ENTRY: u8;
    #[link_name = "__stop_ebbtide_entry"]
    static ENTRY_END: u8;
}

// SAFETY: what user mode can do is what the user's view and the CPU's registers let it, and every entry goes on with the stack
// and the view that are the kernel's.
unsafe impl UserMode for Aarch64 {
    fn entry_code() -> Range<VirtAddr> {
        let start = (&raw const ENTRY).addr() as u64 / PAGE_BYTES * PAGE_BYTES;
        let end = ((&raw const ENTRY_END).addr() as u64).next_multiple_of(PAGE_BYTES);
        VirtAddr::new(start)..VirtAddr::new(end)
    }

    unsafe fn set_views(kernel: PhysAddr, user: PhysAddr) {
        KERNEL_VIEW.store(kernel.as_u64(), Ordering::Relaxed);
        USER_VIEW.store(user.as_u64() | USER_ASID, Ordering::Relaxed);
    }

    unsafe fn run_user(context: &UserContext, start: &UserStart) {
        // SAFETY: the caller's promise.
        unsafe { run_user(context, start) }
    }

    unsafe fn leave_user(context: &UserContext) -> ! {
        // SAFETY: the caller's promise.
        unsafe { leave_user(context) }
    }

    unsafe fn copy_from_user(to: *mut u8, from: VirtAddr, bytes: usize) -> bool {
        // SAFETY: the caller's promise; a fault in it is mended.
        unsafe { copy_from(to, from.as_ptr(), bytes) == 0 }
    }

    unsafe fn copy_to_user(to: VirtAddr, from: *const u8, bytes: usize) -> bool {
        // SAFETY: as above.
        unsafe { copy_to(to.as_mut_ptr(), from, bytes) == 0 }
    }

    fn init_float(state: &FloatState) {
        float::init(state);
    }

    unsafe fn store_float(state: &FloatState) {
        // SAFETY: the caller's promise.
        unsafe { float::store(state) }
    }

    unsafe fn load_float(state: &FloatState) {
        // SAFETY: the caller's promise.
        unsafe { float::load(state) }
    }

    #[inline]
    unsafe fn call_kernel(number: u64, [a, b, c, d, e]: [u64; 5]) -> Answer {
        let (error, value);
        // SAFETY: the kernel changes no other register, and no memory but what the call is about.
        unsafe {
            asm!(
                "svc #0",
                in("x8") number,
                inlateout("x0") a => error,
                inlateout("x1") b => value,
                in("x2") c,
                in("x3") d,
                in("x4") e,
                clobber_abi("C"),
                options(nostack),
            );
        }
        Answer { error, value }
    }
}

/// Where the kernel goes on that was interrupted at `instruction` by a fault, if it was copying from or to user mode.
pub(crate) fn mended(instruction: u64) -> Option<u64> {
    let [from, to] = [copy_from as *const () as usize as u64, copy_to as *const () as usize as u64];
    let is_access = |first: u64| ACCESSES.into_iter().any(|offset| instruction == first + offset);
    if is_access(from) {
        Some(from + BEHIND)
    } else if is_access(to + INSTRUCTION_BYTES) {
        Some(to + BEHIND)
    } else {
        None
    }
}

/// Bytes of an instruction.
pub(crate) const INSTRUCTION_BYTES: u64 = 4;

/// From the beginning of a copy to its loads, behind each of which stands the store; and to what follows the last of them.
const ACCESSES: [u64; 3] = [INSTRUCTION_BYTES, 9 * INSTRUCTION_BYTES, 15 * INSTRUCTION_BYTES];
const BEHIND: u64 = 21 * INSTRUCTION_BYTES;

/// Copies eight bytes at a time, then four, so that a word is read and written in one piece, then one by one. Memory need not be
/// aligned (SCTLR_EL1.A is 0).
macro_rules! copy {
    ($load:literal, $load_byte:literal, $store:literal, $store_byte:literal) => {
        naked_asm!(
            "b 3f",
            "2:",
            concat!($load, " x3, [x1]"),
            concat!($store, " x3, [x0]"),
            "add x1, x1, #8",
            "add x0, x0, #8",
            "sub x2, x2, #8",
            "3:",
            "cmp x2, #8",
            "b.hs 2b",
            "tbz x2, #2, 5f",
            concat!($load, " w3, [x1]"),
            concat!($store, " w3, [x0]"),
            "add x1, x1, #4",
            "add x0, x0, #4",
            "sub x2, x2, #4",
            "b 5f",
            "4:",
            concat!($load_byte, " w3, [x1]"),
            concat!($store_byte, " w3, [x0]"),
            "add x1, x1, #1",
            "add x0, x0, #1",
            "sub x2, x2, #1",
            "5:",
            "cbnz x2, 4b",
            "mov x0, x2",
            "ret",
        )
    };
}

/// Copies `bytes` bytes out of user mode's data, with its rights; returns how many were left when a page was not there.
///
/// # Safety
///
/// `from` lies in user mode's range; `to` can be written.
#[unsafe(naked)]
unsafe extern "C" fn copy_from(to: *mut u8, from: *const u8, bytes: usize) -> usize {
    copy!("ldtr", "ldtrb", "str", "strb")
}

/// Copies `bytes` bytes into user mode's data, likewise.
///
/// # Safety
///
/// `to` lies in user mode's range; `from` can be read.
#[unsafe(naked)]
unsafe extern "C" fn copy_to(to: *mut u8, from: *const u8, bytes: usize) -> usize {
    copy!("ldr", "ldrb", "sttr", "sttrb")
}

/// Offsets of what the stubs follow: from the running thread to its context, and what that says.
const USER: usize = offset_of!(Head, user);
const STACK_POINTER: usize = offset_of!(UserContext, stack_pointer);
const ENTER: usize = offset_of!(UserContext, entry);

/// Goes to user mode; returns when `leave_user` is called.
///
/// # Safety
///
/// As [`UserMode::run_user`].
#[unsafe(naked)]
#[unsafe(link_section = "ebbtide_entry")]
unsafe extern "C" fn run_user(context: &UserContext, start: &UserStart) {
    naked_asm!(
        "stp x29, x30, [sp, #-96]!",
        "stp x27, x28, [sp, #16]",
        "stp x25, x26, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x21, x22, [sp, #64]",
        "stp x19, x20, [sp, #80]",
        "mov x9, sp",
        "str x9, [x0, #{STACK_POINTER}]",
        "msr daifset, #15",
        "msr spsel, #1",
        "ldp x9, x10, [x1, #{INSTRUCTION}]",
        "ldr x2, [x1, #{ARGUMENTS} + 16]",
        "ldp x0, x1, [x1, #{ARGUMENTS}]",
        "msr elr_el1, x9",
        "msr sp_el0, x10",
        // EL0 with nothing masked.
        "msr spsr_el1, xzr",
        "msr tpidr_el0, xzr",
        "adrp x9, {USER_VIEW}",
        "ldr x9, [x9, :lo12:{USER_VIEW}]",
        "msr ttbr0_el1, x9",
        ".irp n, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
        "mov x\\n, xzr",
        ".endr",
        "eret",
        STACK_POINTER = const STACK_POINTER,
        INSTRUCTION = const offset_of!(UserStart, instruction),
        ARGUMENTS = const offset_of!(UserStart, arguments),
        USER_VIEW = sym USER_VIEW,
    )
}

/// Goes back to who called `run_user`.
///
/// # Safety
///
/// As [`UserMode::leave_user`].
#[unsafe(naked)]
unsafe extern "C" fn leave_user(context: &UserContext) -> ! {
    naked_asm!(
        "ldr x9, [x0, #{STACK_POINTER}]",
        "mov sp, x9",
        "ldp x19, x20, [sp, #80]",
        "ldp x21, x22, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #32]",
        "ldp x27, x28, [sp, #16]",
        "ldp x29, x30, [sp], #96",
        "ret",
        STACK_POINTER = const STACK_POINTER,
    )
}

/// A system call, once the vector table knows that it is one: on SP_EL1, with everything masked. Of the user's registers x9 is
/// gone.
///
/// SPSR_EL1 is what the CPU has noted at an exception of EL0, and so says EL0.
#[unsafe(naked)]
#[unsafe(link_section = "ebbtide_entry")]
pub(crate) extern "C" fn system_call() {
    naked_asm!(
        "mrs x9, tpidr_el1",
        "ldr x9, [x9, #{USER}]",
        "ldr x10, [x9, #{STACK_POINTER}]",
        "mrs x11, sp_el0",
        "mrs x12, elr_el1",
        "mrs x13, spsr_el1",
        "stp x11, x12, [x10, #-32]!",
        "stp x13, x29, [x10, #16]",
        "adrp x11, {KERNEL_VIEW}",
        "ldr x11, [x11, :lo12:{KERNEL_VIEW}]",
        "msr ttbr0_el1, x11",
        "isb",
        "ldr x9, [x9, #{ENTER}]",
        "mov x5, x8",
        // The end of a backtrace: what lies behind is the user's.
        "mov x29, xzr",
        "msr sp_el0, x10",
        "msr spsel, #0",
        // Interrupts stay masked; an SError comes as in any thread.
        "msr daifclr, #12",
        "blr x9",
        "msr daifset, #15",
        "ldp x9, x10, [sp]",
        "ldp x11, x29, [sp, #16]",
        "msr spsel, #1",
        "adrp x12, {USER_VIEW}",
        "ldr x12, [x12, :lo12:{USER_VIEW}]",
        "msr sp_el0, x9",
        "msr elr_el1, x10",
        "msr spsr_el1, x11",
        "msr tpidr_el0, xzr",
        "msr ttbr0_el1, x12",
        ".irp n, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 30",
        "mov x\\n, xzr",
        ".endr",
        "eret",
        USER = const USER,
        STACK_POINTER = const STACK_POINTER,
        ENTER = const ENTER,
        KERNEL_VIEW = sym KERNEL_VIEW,
        USER_VIEW = sym USER_VIEW,
    )
}

// What `run_user` loads by pairs.
const_assert!(offset_of!(UserStart, stack_pointer) == offset_of!(UserStart, instruction) + 8);
// It is returned in two registers.
const_assert!(size_of::<Answer>() == 16);

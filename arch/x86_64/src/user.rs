//! User mode: the way there and back, system calls, and access to its memory.
//!
//! ```text
//! kernel stack of a thread in user mode, at `UserContext::stack_pointer`
//!      rbp rbx r12 r13 r14 r15, padding     what `run_user` returns with
//!   ─► user's rsp, rip, rflags, rbp         during a system call
//!      …                                    or a whole trap frame, if it is preempted there
//! ```
//!
//! `syscall` changes neither stack nor GS base nor view, and `sysretq` takes what it is given: so the stub does its first steps
//! without a stack, with what the mask left of the flags, and the address to return to is looked at. The code of all entries and
//! exits lies in pages of its own, the kernel's in both views ([`crate::trap`] has the other entries).
#![expect(unsafe_code, reason = "the border to user mode")]

use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::arch::{Answer, FloatState, PAGE_BYTES, UserContext, UserMode, UserStart};
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::thread::Head;
use ebbtide_core::{PhysAddr, VirtAddr};
use static_assertions::const_assert;
use x86_64::PrivilegeLevel;
use x86_64::registers::model_specific::{Efer, EferFlags, KernelGsBase, LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::registers::segmentation::SegmentSelector;

use crate::{X86_64, float};

/// CR3 in the kernel's view.
pub(crate) static KERNEL_VIEW: AtomicU64 = AtomicU64::new(0);

/// CR3 in the user's view. No CR3 is 0.
pub(crate) static USER_VIEW: AtomicU64 = AtomicU64::new(0);

/// The segments, in the order that `syscall` and `sysretq` ask for: kernel's code and stack, user's stack and code.
pub(crate) const KERNEL_CODE: SegmentSelector = SegmentSelector::new(1, PrivilegeLevel::Ring0);
const KERNEL_STACK: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);
const USER_STACK: SegmentSelector = SegmentSelector::new(3, PrivilegeLevel::Ring3);
const USER_CODE: SegmentSelector = SegmentSelector::new(4, PrivilegeLevel::Ring3);

/// Flags of a thread that begins in user mode: interrupts on.
const FIRST_FLAGS: u64 = RFlags::INTERRUPT_FLAG.bits() | 1 << 1;

/// Lets the CPU that executes it take system calls.
pub(crate) fn init_cpu() {
    if Star::write(USER_CODE, USER_STACK, KERNEL_CODE, KERNEL_STACK).is_err() {
        unreachable!("the segments are in the order that the CPU asks for");
    }
    LStar::write(x86_64::VirtAddr::new(system_call as *const () as usize as u64));
    SFMask::write(
        RFlags::INTERRUPT_FLAG
            | RFlags::TRAP_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::ALIGNMENT_CHECK
            | RFlags::NESTED_TASK
            | RFlags::IOPL_LOW
            | RFlags::IOPL_HIGH
            | RFlags::RESUME_FLAG,
    );
    // The GS base of user mode.
    KernelGsBase::write(x86_64::VirtAddr::zero());
    // SAFETY: the registers that it needs were set right here.
    unsafe { Efer::update(|efer| efer.insert(EferFlags::SYSTEM_CALL_EXTENSIONS)) };
}

unsafe extern "C" {
    /// The linker defines the borders of a section whose name is one of C.
    #[link_name = "__start_ebbtide_entry"]
    static ENTRY: u8;
    #[link_name = "__stop_ebbtide_entry"]
    static ENTRY_END: u8;
}

// SAFETY: what user mode can do is what the user's view and the CPU's tables let it, and every entry goes on with the stack,
// the GS base and the view that are the kernel's.
unsafe impl UserMode for X86_64 {
    fn entry_code() -> Range<VirtAddr> {
        let start = (&raw const ENTRY).addr() as u64 / PAGE_BYTES * PAGE_BYTES;
        let end = ((&raw const ENTRY_END).addr() as u64).next_multiple_of(PAGE_BYTES);
        VirtAddr::new(start)..VirtAddr::new(end)
    }

    unsafe fn set_views(kernel: PhysAddr, user: PhysAddr) {
        KERNEL_VIEW.store(kernel.as_u64(), Ordering::Relaxed);
        USER_VIEW.store(user.as_u64(), Ordering::Relaxed);
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
        unsafe { copy(to, from.as_ptr(), bytes) == 0 }
    }

    unsafe fn copy_to_user(to: VirtAddr, from: *const u8, bytes: usize) -> bool {
        // SAFETY: as above.
        unsafe { copy(to.as_mut_ptr(), from, bytes) == 0 }
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
                "syscall",
                inout("rax") number => error,
                inout("rdi") a => _,
                inout("rsi") b => _,
                inout("rdx") c => value,
                inout("r10") d => _,
                inout("r8") e => _,
                out("rcx") _, out("r9") _, out("r11") _,
                options(nostack),
            );
        }
        Answer { error, value }
    }
}

/// Where the kernel goes on that was interrupted at `instruction` by a fault, if it was copying from or to user mode.
pub(crate) fn mended(instruction: u64) -> Option<u64> {
    let copy = copy as *const () as usize as u64;
    (instruction == copy + MOVES).then_some(copy + BEHIND)
}

/// Where `copy` has room for `stac` and `clac`, which only CPUs with SMAP know.
pub(crate) fn smap_places() -> [(*mut u8, [u8; 3]); 2] {
    let copy = copy as *mut u8;
    [(copy, STAC), (copy.wrapping_add(BEHIND as usize), CLAC)]
}

/// As long as the `nop`s that stand in their places.
const STAC: [u8; 3] = [0x0f, 0x01, 0xcb];
pub(crate) const CLAC: [u8; 3] = [0x0f, 0x01, 0xca];

/// From the beginning of `copy` to the instruction that may fault, and to what follows it, in bytes.
const MOVES: u64 = 6;
const BEHIND: u64 = 8;

/// Copies `bytes` bytes; returns how many were left when a page was not there.
///
/// # Safety
///
/// One side is user mode's range, the other can be read or written.
#[unsafe(naked)]
unsafe extern "C" fn copy(to: *mut u8, from: *const u8, bytes: usize) -> usize {
    naked_asm!(
        ".byte 0x0f, 0x1f, 0x00", // nop, or stac
        "mov rcx, rdx",
        "rep movsb",
        ".byte 0x0f, 0x1f, 0x00", // nop, or clac
        "mov rax, rcx",
        "ret",
    )
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
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        // What a system call pushes is a multiple of 16 bytes.
        "sub rsp, 8",
        "mov [rdi + {STACK_POINTER}], rsp",
        "mov rcx, [rsi + {INSTRUCTION}]",
        "mov r9, [rsi + {USER_STACK_POINTER}]",
        "mov rdi, [rsi + {ARGUMENTS}]",
        "mov rdx, [rsi + {ARGUMENTS} + 16]",
        "mov rsi, [rsi + {ARGUMENTS} + 8]",
        "mov r11d, {FLAGS}",
        // As a call would leave it: the return address is 0, which nobody goes back to.
        "sub r9, 8",
        "mov r8, [rip + {USER_VIEW}]",
        "mov cr3, r8",
        "mov rsp, r9",
        "xor ebx, ebx",
        "xor ebp, ebp",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r12d, r12d",
        "xor r13d, r13d",
        "xor r14d, r14d",
        "xor r15d, r15d",
        "swapgs",
        "sysretq",
        STACK_POINTER = const STACK_POINTER,
        INSTRUCTION = const offset_of!(UserStart, instruction),
        USER_STACK_POINTER = const offset_of!(UserStart, stack_pointer),
        ARGUMENTS = const offset_of!(UserStart, arguments),
        FLAGS = const FIRST_FLAGS,
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
        "mov rsp, [rdi + {STACK_POINTER}]",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        STACK_POINTER = const STACK_POINTER,
    )
}

/// The entry of system calls. In: rcx, the address to return to, and r11, the flags. Until rsp is set there is no stack, and until
/// `swapgs` GS is the user's: only NMI, #MC and #DB come then, which trust neither.
#[unsafe(naked)]
#[unsafe(link_section = "ebbtide_entry")]
pub(crate) extern "C" fn system_call() {
    naked_asm!(
        "swapgs",
        "mov gs:[{SCRATCH}], rsp",
        "mov rsp, gs:[{CURRENT}]",
        "mov rsp, [rsp + {USER}]",
        "mov rsp, [rsp + {STACK_POINTER}]",
        "push gs:[{SCRATCH}]",
        "push rcx",
        "push r11",
        "push rbp",
        "mov rcx, [rip + {KERNEL_VIEW}]",
        "mov cr3, rcx",
        // The end of a backtrace: what lies behind is the user's.
        "xor ebp, ebp",
        "mov r11, gs:[{CURRENT}]",
        "mov r11, [r11 + {USER}]",
        "mov rcx, r10",
        "mov r9, rax",
        "call [r11 + {ENTER}]",
        "pop rbp",
        "pop r11",
        "pop rcx",
        // A CPU of Intel's would take an address that is none with the kernel's rights and the user's stack (SDM volume 2,
        // SYSRET). There is none: nothing is mapped at the end of the lower half, so no call came from there.
        "mov rsi, rcx",
        "shr rsi, 47",
        "jnz 2f",
        "mov rsi, [rip + {USER_VIEW}]",
        "mov cr3, rsi",
        "xor esi, esi",
        "xor edi, edi",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "pop rsp",
        "swapgs",
        "sysretq",
        "2:",
        "ud2",
        SCRATCH = const offset_of!(PerCpu, scratch),
        CURRENT = const offset_of!(PerCpu, current),
        USER = const USER,
        STACK_POINTER = const STACK_POINTER,
        ENTER = const ENTER,
        KERNEL_VIEW = sym KERNEL_VIEW,
        USER_VIEW = sym USER_VIEW,
    )
}

// The alignment that the ABI asks for before a call: six registers, padding and a return address; four words of a system call.
const_assert!(((6 + 1 + 1) * 8usize).is_multiple_of(16));
// It is returned in two registers.
const_assert!(size_of::<Answer>() == 16);

//! Entry code: one stub for each vector, and what they share.
//!
//! ```text
//! trap stack, from its top:   per-CPU data     ┐
//!                             emergency stack  │ Header, written once
//!                             depth            ┘
//!                             ss rsp rflags cs rip   pushed by the CPU, at the IST pointer
//!                             error code, vector     pushed by the stub
//!                             rax … r15              pushed by the common part
//! ```
//!
//! The CPU comes here in whichever view of memory it was, so this code lies in pages that are the kernel's in both.
#![expect(unsafe_code, reason = "the section that the entries and exits are in")]

use core::arch::naked_asm;
use core::mem::offset_of;

use ebbtide_core::System;
use ebbtide_core::arch::PAGE_BYTES;
use static_assertions::const_assert;

use super::dispatch::{dispatch, nested, on_thread_stack};
use crate::user::{CLAC, KERNEL_VIEW, USER_VIEW};

/// What a trap saves: enough to go on as if it had not come.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl TrapFrame {
    /// Says whether the trap came in user mode.
    pub fn in_user_mode(&self) -> bool {
        self.cs & 3 != 0
    }
}

/// The top of a trap stack, above the IST pointer.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct Header {
    /// Traps that stand on this stack.
    pub depth: u64,
    /// Where a nested trap is reported from.
    pub emergency: u64,
    /// The CPU's data: what the GS base is set to when it cannot be trusted.
    pub per_cpu: u64,
    /// Keeps the IST pointer aligned to 16 bytes.
    pub reserved: u64,
}

/// A trap frame where it is built, with the header above it.
#[repr(C)]
struct TrapStackTop {
    frame: TrapFrame,
    header: Header,
}

/// Bytes from one stub to the next: as many as the longest has, so that all that is here fits into a page.
const STUB_BYTES: usize = 12;

/// Offset of the depth from the vector, when the stub has pushed that and nothing else has been.
pub(super) const DEPTH: usize = offset_of!(TrapStackTop, header.depth) - offset_of!(TrapFrame, vector);
const EMERGENCY: usize = offset_of!(TrapStackTop, header.emergency) - offset_of!(TrapFrame, vector);
/// Offset of the per-CPU data from a whole frame.
const PER_CPU: usize = offset_of!(TrapStackTop, header.per_cpu);

/// The entry of `vector`.
pub(crate) fn stub<S: System>(vector: usize) -> u64 {
    stubs::<S>() + (vector * STUB_BYTES) as u64
}

/// Where the entry code has room for `clac`, which only CPUs with SMAP know.
pub(crate) fn smap_places<S: System>() -> [(*mut u8, [u8; 3]); 2] {
    [(common::<S> as *mut u8, CLAC), (paranoid::<S> as *mut u8, CLAC)]
}

/// Where the stubs begin. There is one for each vector: it pushes an error code if the CPU does not, and the vector.
///
/// The linker puts sections in the order in which it finds them, and the compiler sorts by name: so this function is the first
/// code of all, its section stands before that of the entries, and the stubs at a page's beginning in the latter. The entries have
/// pages for themselves: no other code must follow theirs.
///
/// #DB, NMI, #DF and #MC may come at the entry code of a system call, when the GS base is still the user's: they
/// take the paranoid way.
#[unsafe(naked)]
extern "C" fn stubs<S: System>() -> u64 {
    naked_asm!(
        "lea rax, [rip + 2f]",
        "ret",
        ".pushsection ebbtide_entry, \"ax\", @progbits",
        ".balign {PAGE_BYTES}",
        "2:",
        ".set .Lebbtide_vector, 0",
        ".rept 256",
        // #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX come with an error code.
        ".set .Lebbtide_bit, 0",
        ".if .Lebbtide_vector < 32",
        ".set .Lebbtide_bit, 1 << .Lebbtide_vector",
        ".endif",
        ".if ({WITH_ERROR_CODE} & .Lebbtide_bit) == 0",
        ".byte 0x6a, 0x00", // push 0
        ".endif",
        ".byte 0x68", // push the vector
        ".long .Lebbtide_vector",
        ".byte 0xe9", // jmp, as long wherever it leads
        ".if ({PARANOID} & .Lebbtide_bit) == 0",
        ".long {common} - . - 4",
        ".else",
        ".long {paranoid} - . - 4",
        ".endif",
        ".org 2b + {STUB_BYTES} * (.Lebbtide_vector + 1)",
        ".set .Lebbtide_vector, .Lebbtide_vector + 1",
        ".endr",
        ".popsection",
        PAGE_BYTES = const PAGE_BYTES,
        STUB_BYTES = const STUB_BYTES,
        WITH_ERROR_CODE = const 1u32 << 8 | 0x1f << 10 | 1 << 17 | 1 << 21 | 3 << 29,
        PARANOID = const 1u32 << 1 | 1 << 2 | 1 << 8 | 1 << 18,
        paranoid = sym paranoid::<S>,
        common = sym common::<S>,
    )
}

/// The beginning of a trap that is not nested: the depth, and every register. Nested, it goes on at `3:`.
macro_rules! save {
    () => {
        concat!(
            "cld\n",
            "inc qword ptr [rsp + {DEPTH}]\n",
            "cmp qword ptr [rsp + {DEPTH}], 1\n",
            "jne 3f\n",
            "push rax\n",
            "push rbx\n",
            "push rcx\n",
            "push rdx\n",
            "push rsi\n",
            "push rdi\n",
            "push rbp\n",
            "push r8\n",
            "push r9\n",
            "push r10\n",
            "push r11\n",
            "push r12\n",
            "push r13\n",
            "push r14\n",
            "push r15",
        )
    };
}

/// The end of a trap: every register, without vector and error code, and back.
macro_rules! resume {
    () => {
        concat!(
            "pop r15\n",
            "pop r14\n",
            "pop r13\n",
            "pop r12\n",
            "pop r11\n",
            "pop r10\n",
            "pop r9\n",
            "pop r8\n",
            "pop rbp\n",
            "pop rdi\n",
            "pop rsi\n",
            "pop rdx\n",
            "pop rcx\n",
            "pop rbx\n",
            "pop rax\n",
            "add rsp, 16\n",
            "iretq",
        )
    };
}

/// Saves the rest, asks what the trap means, and resumes: on the trap stack, or (when the answer is a frame that was
/// moved) on the thread's own stack, after a preemption there. From user mode, GS base and view are changed first and last.
#[unsafe(naked)]
#[unsafe(link_section = "ebbtide_entry")]
extern "C" fn common<S: System>() {
    naked_asm!(
        ".byte 0x0f, 0x1f, 0x00", // nop, or clac
        save!(),
        "test byte ptr [rsp + {CS}], 3",
        "jz 5f",
        "swapgs",
        "mov rax, [rip + {KERNEL_VIEW}]",
        "mov cr3, rax",
        "5:",
        "mov rdi, rsp",
        "call {dispatch}",
        "cmp rax, rsp",
        "jne 2f",
        "dec qword ptr [rsp + {DEPTH_IN_FRAME}]",
        "4:",
        "test byte ptr [rsp + {CS}], 3",
        "jz 6f",
        "mov rax, [rip + {USER_VIEW}]",
        "mov cr3, rax",
        "swapgs",
        "6:",
        resume!(),
        // The frame has moved to the thread's stack, and the trap stack is free.
        "2:",
        "mov rsp, rax",
        "mov rdi, rax",
        "call {on_thread_stack}",
        "jmp 4b",
        // Nested: the first trap's frame is gone. Report from the emergency stack; nothing resumes.
        "3:",
        "mov rdi, rsp",
        "mov rsi, rbp",
        "mov rsp, [rsp + {EMERGENCY}]",
        "call {nested}",
        "ud2",
        DEPTH = const DEPTH,
        DEPTH_IN_FRAME = const offset_of!(TrapStackTop, header.depth),
        EMERGENCY = const EMERGENCY,
        CS = const offset_of!(TrapFrame, cs),
        KERNEL_VIEW = sym KERNEL_VIEW,
        USER_VIEW = sym USER_VIEW,
        dispatch = sym dispatch::<S>,
        on_thread_stack = sym on_thread_stack::<S>,
        nested = sym nested::<S>,
    )
}

/// As `common`, but trusts neither GS base nor view nor anything of the interrupted code, and never preempts. It may have come
/// between user mode and the kernel; if it came in user mode itself, it goes the common way.
#[unsafe(naked)]
#[unsafe(link_section = "ebbtide_entry")]
extern "C" fn paranoid<S: System>() {
    naked_asm!(
        ".byte 0x0f, 0x1f, 0x00", // nop, or clac
        "test byte ptr [rsp + {CS_PUSHED}], 3",
        "jnz {common}",
        save!(),
        // The view as it was, if it was the user's.
        "xor r13d, r13d",
        "mov rax, cr3",
        "cmp rax, [rip + {USER_VIEW}]",
        "jne 7f",
        "mov r13, rax",
        "mov rax, [rip + {KERNEL_VIEW}]",
        "mov cr3, rax",
        "7:",
        // The GS base as it was, in a callee-saved register; then this CPU's.
        "mov ecx, {GS_BASE}",
        "rdmsr",
        "shl rdx, 32",
        "mov r12, rdx",
        "mov eax, eax",
        "or r12, rax",
        "mov rax, [rsp + {PER_CPU}]",
        "mov rdx, rax",
        "shr rdx, 32",
        "wrmsr",
        "mov rdi, rsp",
        "call {dispatch}",
        "mov rax, r12",
        "mov rdx, r12",
        "shr rdx, 32",
        "mov ecx, {GS_BASE}",
        "wrmsr",
        "test r13, r13",
        "jz 8f",
        "mov cr3, r13",
        "8:",
        "dec qword ptr [rsp + {DEPTH_IN_FRAME}]",
        resume!(),
        "3:",
        "mov rdi, rsp",
        "mov rsi, rbp",
        "mov rsp, [rsp + {EMERGENCY}]",
        "call {nested}",
        "ud2",
        DEPTH = const DEPTH,
        DEPTH_IN_FRAME = const offset_of!(TrapStackTop, header.depth),
        EMERGENCY = const EMERGENCY,
        PER_CPU = const PER_CPU,
        GS_BASE = const 0xc000_0101u32,
        CS_PUSHED = const offset_of!(TrapFrame, cs) - offset_of!(TrapFrame, vector),
        KERNEL_VIEW = sym KERNEL_VIEW,
        USER_VIEW = sym USER_VIEW,
        common = sym common::<S>,
        dispatch = sym dispatch::<S>,
        nested = sym nested::<S>,
    )
}

// The CPU aligns the stack to 16 bytes before it pushes, and the ABI asks for that before a call.
const_assert!(size_of::<TrapFrame>().is_multiple_of(16));
const_assert!(size_of::<Header>().is_multiple_of(16));
// What the stubs push, and what the common part does.
const_assert!(offset_of!(TrapFrame, vector) == 15 * 8);
const_assert!(offset_of!(TrapFrame, rip) == 17 * 8);

//! What no compiled code can see: what lies below its own stack pointer, and whether a register keeps its value.

use core::arch::naked_asm;
use core::sync::atomic::AtomicBool;

use static_assertions::const_assert_eq;

/// What is painted: no address, and no small number.
const PAINT: u64 = 0x5eab_ed0f_7ade_c0de;

/// CF and DF: the flags that neither the loop nor the comparison needs.
const FLAGS: u64 = 1 << 0 | 1 << 10;

/// General registers, without the stack pointer.
const REGISTERS: u64 = 15;

/// The bit that says that the flags have changed.
const FLAGS_BIT: u64 = REGISTERS;

/// Paints `bytes` below the stack pointer, loops until `stop` is set, and returns how deep something else wrote there.
///
/// The stack pointer is the same from the painting to the end, so that every interrupt finds it where the paint begins.
#[unsafe(naked)]
pub(super) extern "C" fn stack_used_until(stop: &AtomicBool, bytes: usize) -> usize {
    naked_asm!(
        "mov rcx, rsp",
        "sub rcx, rsi",
        "mov rax, {PAINT}",
        "mov rdx, rcx",
        // From the bottom: what an interrupt writes below is not painted over.
        "2:",
        "mov [rdx], rax",
        "add rdx, 8",
        "cmp rdx, rsp",
        "jb 2b",
        // Without a spin hint: what is waited for runs on this CPU, and an emulator leaves its loop at each hint.
        "3:",
        "cmp byte ptr [rdi], 0",
        "je 3b",
        "4:",
        "cmp [rcx], rax",
        "jne 5f",
        "add rcx, 8",
        "cmp rcx, rsp",
        "jb 4b",
        "5:",
        "mov rax, rsp",
        "sub rax, rcx",
        "ret",
        PAINT = const PAINT,
    )
}

// A byte that is not 0 is `true`.
const_assert_eq!(size_of::<AtomicBool>(), 1);

/// Pushes what a call preserves, and then the pattern's values, so that the last one lies at the stack pointer; each is
/// made from the one before. The pattern is in rdi.
macro_rules! push_values {
    () => {
        concat!(
            "push rbx\n",
            "push rbp\n",
            "push r12\n",
            "push r13\n",
            "push r14\n",
            "push r15\n",
            "mov rax, rdi\n",
            ".rept {REGISTERS}\n",
            "push rax\n",
            "imul rax, rax, 0x01000193\n",
            "rol rax, 13\n",
            ".endr",
        )
    };
}

/// Compares a register with its value, `$at` words above the stack pointer; `$bit` goes into the mask at the stack
/// pointer. The last word that was pushed is the value of the highest bit.
macro_rules! compare {
    ($register:literal, $bit:literal) => {
        concat!(
            "cmp ",
            $register,
            ", [rsp + 8 * (2 + {REGISTERS} - 1 - ",
            $bit,
            ")]\n",
            "je 9f\n",
            "or dword ptr [rsp], 1 << ",
            $bit,
            "\n",
            "9:",
        )
    };
}

/// Loads a register with its value.
macro_rules! load {
    ($register:literal, $bit:literal) => {
        concat!("mov ", $register, ", [rsp + 8 * (2 + {REGISTERS} - 1 - ", $bit, ")]")
    };
}

/// Takes everything off the stack again: the mask is the result.
macro_rules! pop_values {
    () => {
        concat!(
            "cld\n",
            "mov rax, [rsp]\n",
            "add rsp, 8 * (2 + {REGISTERS})\n",
            "pop r15\n",
            "pop r14\n",
            "pop r13\n",
            "pop r12\n",
            "pop rbp\n",
            "pop rbx\n",
            "ret",
        )
    };
}

/// Fills every register, counts `turns` down in memory, and compares. If the pattern is odd, CF and DF are set, else
/// clear: `dec` changes neither.
#[unsafe(naked)]
pub(super) extern "C" fn registers_changed_meanwhile(pattern: u64, turns: u64) -> u64 {
    naked_asm!(
        push_values!(),
        // Above the mask, the turns.
        "push rsi",
        "push 0",
        // CF is the pattern's lowest bit; no `mov` changes it.
        "bt edi, 0",
        load!("rax", 0),
        load!("rbx", 1),
        load!("rcx", 2),
        load!("rdx", 3),
        load!("rsi", 4),
        load!("rdi", 5),
        load!("rbp", 6),
        load!("r8", 7),
        load!("r9", 8),
        load!("r10", 9),
        load!("r11", 10),
        load!("r12", 11),
        load!("r13", 12),
        load!("r14", 13),
        load!("r15", 14),
        "jnc 2f",
        "std",
        "2:",
        "dec qword ptr [rsp + 8]",
        "jnz 2b",
        // The flags take the turns' place; `pop` reckons with the stack pointer as it is after it.
        "pushfq",
        "pop qword ptr [rsp + 8]",
        "cld",
        compare!("rax", 0),
        compare!("rbx", 1),
        compare!("rcx", 2),
        compare!("rdx", 3),
        compare!("rsi", 4),
        compare!("rdi", 5),
        compare!("rbp", 6),
        compare!("r8", 7),
        compare!("r9", 8),
        compare!("r10", 9),
        compare!("r11", 10),
        compare!("r12", 11),
        compare!("r13", 12),
        compare!("r14", 13),
        compare!("r15", 14),
        "mov rax, [rsp + 8]",
        "and eax, {FLAGS}",
        "mov ecx, [rsp + 8 * (2 + {REGISTERS} - 1)]",
        "and ecx, 1",
        "neg ecx",
        "and ecx, {FLAGS}",
        "cmp eax, ecx",
        "je 3f",
        "or dword ptr [rsp], 1 << {FLAGS_BIT}",
        "3:",
        pop_values!(),
        REGISTERS = const REGISTERS,
        FLAGS = const FLAGS,
        FLAGS_BIT = const FLAGS_BIT,
    )
}

/// Fills the registers that a call preserves, calls, and compares. DF must be clear after it, as before it.
#[unsafe(naked)]
pub(super) extern "C" fn registers_changed_by(pattern: u64, call: extern "C" fn()) -> u64 {
    naked_asm!(
        push_values!(),
        "push rsi",
        "push 0",
        load!("rbx", 1),
        load!("rbp", 6),
        load!("r12", 11),
        load!("r13", 12),
        load!("r14", 13),
        load!("r15", 14),
        "call [rsp + 8]",
        "pushfq",
        "pop qword ptr [rsp + 8]",
        "cld",
        compare!("rbx", 1),
        compare!("rbp", 6),
        compare!("r12", 11),
        compare!("r13", 12),
        compare!("r14", 13),
        compare!("r15", 14),
        "bt dword ptr [rsp + 8], 10",
        "jnc 3f",
        "or dword ptr [rsp], 1 << {FLAGS_BIT}",
        "3:",
        pop_values!(),
        REGISTERS = const REGISTERS,
        FLAGS_BIT = const FLAGS_BIT,
    )
}

// A call wants the stack pointer at a multiple of 16: what was pushed, with the return address.
const_assert_eq!((1 + 6 + REGISTERS + 2) % 2, 0);

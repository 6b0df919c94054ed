//! What no compiled code can see: what lies below its own stack pointer, and whether a register keeps its value.

use core::arch::naked_asm;
use core::sync::atomic::AtomicBool;

use static_assertions::const_assert_eq;

/// What is painted: no address, and no small number.
const PAINT: u64 = 0x5eab_ed0f_7ade_c0de;

/// General registers, without the stack pointer: x0 to x30. Their bits stand first in a result.
const REGISTERS: u64 = 31;

/// The bit that says that N, Z, C or V has changed.
const FLAGS_BIT: u64 = REGISTERS;

/// N, Z, C and V, as NZCV has them.
const FLAGS: u64 = 0b1111 << 28;

/// What the registers' values are multiplied with, to make the next one.
const FACTOR: u64 = 0x0100_0193;

/// Paints `bytes` below the stack pointer, loops until `stop` is set, and returns how deep something else wrote there.
///
/// The stack pointer is the same from the painting to the end, so that every interrupt finds it where the paint begins.
#[unsafe(naked)]
pub(super) extern "C" fn stack_used_until(stop: &AtomicBool, bytes: usize) -> usize {
    naked_asm!(
        "mov x3, sp",
        "sub x1, x3, x1",
        "ldr x2, ={PAINT}",
        "mov x4, x1",
        // From the bottom: what an interrupt writes below is not painted over.
        "2:",
        "str x2, [x4], #8",
        "cmp x4, x3",
        "b.lo 2b",
        // Without a spin hint: what is waited for runs on this CPU, and an emulator leaves its loop at each hint.
        "3:",
        "ldrb w4, [x0]",
        "cbz w4, 3b",
        "4:",
        "ldr x4, [x1]",
        "cmp x4, x2",
        "b.ne 5f",
        "add x1, x1, #8",
        "cmp x1, x3",
        "b.lo 4b",
        "5:",
        "sub x0, x3, x1",
        "ret",
        ".ltorg",
        PAINT = const PAINT,
    )
}

// A byte that is not 0 is `true`.
const_assert_eq!(size_of::<AtomicBool>(), 1);

/// What lies on the stack, from the stack pointer upwards, in bytes.
///
/// ```text
/// 0 result | 8 turns left | 16 flags as they were | 24 what to call, turns | 32 value of x0 … x30 | 288 x19 … x30
/// ```
const FRAME_BYTES: u64 = 384;

/// Makes room, keeps what a call preserves, and lays the pattern's values down; each is made from the one before. The
/// pattern is in x0, the second argument in x1.
macro_rules! begin {
    () => {
        concat!(
            "sub sp, sp, #{FRAME_BYTES}\n",
            ".irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30\n",
            "str x\\n, [sp, #288 + 8 * (\\n - 19)]\n",
            ".endr\n",
            "str xzr, [sp]\n",
            "str x1, [sp, #24]\n",
            "ldr x9, ={FACTOR}\n",
            "add x10, sp, #32\n",
            ".rept {REGISTERS}\n",
            "str x0, [x10], #8\n",
            "mul x0, x0, x9\n",
            "ror x0, x0, #51\n",
            ".endr",
        )
    };
}

/// Loads a register with its value: for `.irp`.
macro_rules! load {
    () => {
        "ldr x\\n, [sp, #32 + 8 * \\n]\n"
    };
}

/// Compares a register with its value, with the help of another one: for `.irp`.
macro_rules! compare {
    ($help:literal) => {
        concat!(
            "ldr x",
            $help,
            ", [sp, #32 + 8 * \\n]\n",
            "cmp x",
            $help,
            ", x\\n\n",
            "b.eq 9f\n",
            "ldr x",
            $help,
            ", [sp]\n",
            "orr x",
            $help,
            ", x",
            $help,
            ", #1 << \\n\n",
            "str x",
            $help,
            ", [sp]\n",
            "9:\n",
        )
    };
}

/// Gives back what was kept: the result is what was found.
macro_rules! end {
    () => {
        concat!(
            "ldr x0, [sp]\n",
            ".irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30\n",
            "ldr x\\n, [sp, #288 + 8 * (\\n - 19)]\n",
            ".endr\n",
            "add sp, sp, #{FRAME_BYTES}\n",
            "ret\n",
            ".ltorg",
        )
    };
}

/// Fills every register but the one that counts, counts the turns down in memory, and compares. No instruction of the
/// loop changes a flag: these are the pattern's lowest bit, four times.
macro_rules! pass {
    ($counts:literal, $others:literal) => {
        concat!(
            "ldr x2, [sp, #24]\n",
            "str x2, [sp, #8]\n",
            "ldr x2, [sp, #32]\n",
            "and x2, x2, #1\n",
            "neg x2, x2\n",
            "and x2, x2, #{FLAGS}\n",
            "msr nzcv, x2\n",
            ".irp n, ",
            $others,
            "\n",
            load!(),
            ".endr\n",
            "2:\n",
            "ldr x",
            $counts,
            ", [sp, #8]\n",
            "sub x",
            $counts,
            ", x",
            $counts,
            ", #1\n",
            "str x",
            $counts,
            ", [sp, #8]\n",
            "cbnz x",
            $counts,
            ", 2b\n",
            "mrs x",
            $counts,
            ", nzcv\n",
            "str x",
            $counts,
            ", [sp, #16]\n",
            ".irp n, ",
            $others,
            "\n",
            compare!($counts),
            ".endr\n",
            "ldr x2, [sp, #32]\n",
            "and x2, x2, #1\n",
            "neg x2, x2\n",
            "and x2, x2, #{FLAGS}\n",
            "ldr x3, [sp, #16]\n",
            "cmp x2, x3\n",
            "b.eq 3f\n",
            "ldr x2, [sp]\n",
            "orr x2, x2, #1 << {FLAGS_BIT}\n",
            "str x2, [sp]\n",
            "3:",
        )
    };
}

/// Nothing counts in memory without a register. So it is done twice, with another one each time: each register keeps
/// its value through one pass at least.
#[unsafe(naked)]
pub(super) extern "C" fn registers_changed_meanwhile(pattern: u64, turns: u64) -> u64 {
    naked_asm!(
        begin!(),
        pass!(
            "0",
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30"
        ),
        pass!(
            "1",
            "0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30"
        ),
        end!(),
        REGISTERS = const REGISTERS,
        FRAME_BYTES = const FRAME_BYTES,
        FACTOR = const FACTOR,
        FLAGS = const FLAGS,
        FLAGS_BIT = const FLAGS_BIT,
    )
}

/// Fills the registers that a call preserves, calls, and compares.
#[unsafe(naked)]
pub(super) extern "C" fn registers_changed_by(pattern: u64, call: extern "C" fn()) -> u64 {
    naked_asm!(
        begin!(),
        ".irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29",
        load!(),
        ".endr",
        "ldr x0, [sp, #24]",
        "blr x0",
        ".irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29",
        compare!("0"),
        ".endr",
        end!(),
        REGISTERS = const REGISTERS,
        FRAME_BYTES = const FRAME_BYTES,
        FACTOR = const FACTOR,
    )
}

// The stack pointer stays aligned, and what is kept has its room.
const_assert_eq!(FRAME_BYTES % 16, 0);
const_assert_eq!(FRAME_BYTES, 288 + 12 * 8);
const_assert_eq!(32 + 8 * REGISTERS + 8, 288);

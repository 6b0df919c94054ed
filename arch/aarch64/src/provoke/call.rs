//! A system call, or a fault, with anything in the registers, the stack pointer among them.

use core::arch::naked_asm;
use core::mem::offset_of;
use core::ops::RangeInclusive;

use ebbtide_core::arch::Answer;
use ebbtide_core::provoke::{CallRegisters, GENERAL_REGISTERS};

/// x8: the number of the call.
const NUMBER: usize = 8;

/// x19 to x27 and x29: a call keeps them, and x28, which holds where the record is.
const KEPT: [RangeInclusive<usize>; 2] = [19..=27, 29..=29];

/// x2 to x18 and x30: 0 after a call.
const LOST: [RangeInclusive<usize>; 2] = [2..=18, 30..=30];

/// N, Z, C and V, as NZCV has them.
const FLAGS: u64 = 0b1111 << 28;

/// Registers before the call, and after it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Record {
    /// x0 to x30.
    general: [u64; GENERAL_REGISTERS],
    stack_pointer: u64,
    flags: u64,
    /// The stack pointer of who calls the kernel.
    own: u64,
}

impl Record {
    fn new(registers: &CallRegisters) -> Self {
        let mut general = registers.others;
        general[NUMBER] = registers.number;
        general[..registers.arguments.len()].copy_from_slice(&registers.arguments);
        Self { general, stack_pointer: registers.stack_pointer, flags: registers.flags & FLAGS, own: 0 }
    }
}

pub(super) fn call_kernel_with(registers: &CallRegisters) -> (Answer, u64) {
    let before = Record::new(registers);
    let mut after = before;
    // SAFETY: the caller is in user mode; what is not the record's is as before when it comes back.
    unsafe { call(&mut after) };
    let kept = KEPT.into_iter().flatten().filter(|number| after.general[*number] != before.general[*number]);
    let lost = LOST.into_iter().flatten().filter(|number| after.general[*number] != 0);
    let mut changed = kept.chain(lost).fold(0, |bits, number| bits | 1 << number);
    changed |= u64::from(after.stack_pointer != before.stack_pointer) << GENERAL_REGISTERS;
    changed |= u64::from(after.flags != before.flags) << (GENERAL_REGISTERS + 1);
    (Answer { error: after.general[0], value: after.general[1] }, changed)
}

pub(super) fn fault_with(registers: &CallRegisters) -> ! {
    let mut record = Record::new(registers);
    // SAFETY: the caller is in user mode, which ends there.
    unsafe { fault(&mut record) }
}

/// Loads what the record holds, whose address is in x0, and keeps that in x28.
macro_rules! load {
    () => {
        concat!(
            "mov x28, x0\n",
            "ldr x9, [x28, #{STACK_POINTER}]\n",
            "ldr x10, [x28, #{FLAGS}]\n",
            "mov sp, x9\n",
            "msr nzcv, x10\n",
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30\n",
            "ldr x\\n, [x28, #8 * \\n]\n",
            ".endr",
        )
    };
}

/// Loads what the record holds, calls, and stores what is there then.
///
/// # Safety
///
/// In user mode.
#[unsafe(naked)]
unsafe extern "C" fn call(record: &mut Record) {
    naked_asm!(
        "stp x29, x30, [sp, #-96]!",
        "stp x27, x28, [sp, #16]",
        "stp x25, x26, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x21, x22, [sp, #64]",
        "stp x19, x20, [sp, #80]",
        "mov x9, sp",
        "str x9, [x0, #{OWN}]",
        load!(),
        "svc #0",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30",
        "str x\\n, [x28, #8 * \\n]",
        ".endr",
        "mov x9, sp",
        "mrs x10, nzcv",
        "str x9, [x28, #{STACK_POINTER}]",
        "str x10, [x28, #{FLAGS}]",
        "ldr x9, [x28, #{OWN}]",
        "mov sp, x9",
        "ldp x19, x20, [sp, #80]",
        "ldp x21, x22, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #32]",
        "ldp x27, x28, [sp, #16]",
        "ldp x29, x30, [sp], #96",
        "ret",
        OWN = const offset_of!(Record, own),
        STACK_POINTER = const offset_of!(Record, stack_pointer),
        FLAGS = const offset_of!(Record, flags),
    )
}

/// Loads what the record holds, and does what user mode must not do.
///
/// # Safety
///
/// In user mode. Nothing comes back from it.
#[unsafe(naked)]
unsafe extern "C" fn fault(record: &mut Record) -> ! {
    naked_asm!(
        load!(),
        "udf #0",
        STACK_POINTER = const offset_of!(Record, stack_pointer),
        FLAGS = const offset_of!(Record, flags),
    )
}

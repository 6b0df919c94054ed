//! A system call, or a fault, with anything in the registers, the stack pointer among them.

use core::arch::naked_asm;
use core::mem::offset_of;

use ebbtide_core::arch::Answer;
use ebbtide_core::provoke::CallRegisters;
use x86_64::registers::rflags::RFlags;

/// General registers, without the stack pointer. They are numbered as they stand in [`Record`].
const REGISTERS: usize = 15;

/// Numbers of registers.
mod number {
    pub const RAX: usize = 0;
    pub const RDX: usize = 3;
    /// Holds where the record is.
    pub const R15: usize = 14;
    /// rdi rsi rdx r10 r8: the arguments.
    pub const ARGUMENTS: [usize; 5] = [5, 4, RDX, 9, 7];
    /// rbx rbp r12 r13 r14: a call keeps them.
    pub const KEPT: [usize; 5] = [1, 6, 11, 12, 13];
    /// rsi rdi r8 r9 r10: 0 after a call. rcx and r11 are where it returned to, and its flags.
    pub const LOST: [usize; 5] = [4, 5, 7, 8, 9];
}

/// Flags that user mode may set and that disturb nobody: CF PF AF ZF SF DF OF NT AC ID.
const FLAGS: u64 = RFlags::CARRY_FLAG.bits()
    | RFlags::PARITY_FLAG.bits()
    | RFlags::AUXILIARY_CARRY_FLAG.bits()
    | RFlags::ZERO_FLAG.bits()
    | RFlags::SIGN_FLAG.bits()
    | RFlags::DIRECTION_FLAG.bits()
    | RFlags::OVERFLOW_FLAG.bits()
    | RFlags::NESTED_TASK.bits()
    | RFlags::ALIGNMENT_CHECK.bits()
    | RFlags::ID.bits();

/// Registers before the call, and after it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Record {
    /// rax rbx rcx rdx rsi rdi rbp r8 … r15.
    general: [u64; REGISTERS],
    stack_pointer: u64,
    flags: u64,
    /// The stack pointer of who calls the kernel.
    own: u64,
}

impl Record {
    fn new(registers: &CallRegisters, flags: u64) -> Self {
        let mut general: [u64; REGISTERS] = core::array::from_fn(|number| registers.others[number]);
        general[number::RAX] = registers.number;
        for (number, argument) in number::ARGUMENTS.into_iter().zip(registers.arguments) {
            general[number] = argument;
        }
        Self { general, stack_pointer: registers.stack_pointer, flags: registers.flags & flags, own: 0 }
    }
}

pub(super) fn call_kernel_with(registers: &CallRegisters) -> (Answer, u64) {
    let before = Record::new(registers, FLAGS);
    let mut after = before;
    // SAFETY: the caller is in user mode; what is not the record's is as before when it comes back.
    unsafe { call(&mut after) };
    let kept = number::KEPT.into_iter().filter(|number| after.general[*number] != before.general[*number]);
    let lost = number::LOST.into_iter().filter(|number| after.general[*number] != 0);
    let mut changed = kept.chain(lost).fold(0, |bits, number| bits | 1 << number);
    changed |= u64::from(after.stack_pointer != before.stack_pointer) << REGISTERS;
    changed |= u64::from(after.flags & FLAGS != before.flags) << (REGISTERS + 1);
    (Answer { error: after.general[number::RAX], value: after.general[number::RDX] }, changed)
}

pub(super) fn fault_with(registers: &CallRegisters) -> ! {
    let mut record = Record::new(registers, FLAGS | RFlags::TRAP_FLAG.bits());
    // SAFETY: the caller is in user mode, which ends there.
    unsafe { fault(&mut record) }
}

/// Loads what the record holds, whose address is in rdi, and keeps that in r15. With TF the trap comes when all is loaded.
macro_rules! load {
    () => {
        concat!(
            "mov r15, rdi\n",
            "mov rax, [r15]\n",
            "mov rbx, [r15 + 8]\n",
            "mov rcx, [r15 + 16]\n",
            "mov rdx, [r15 + 24]\n",
            "mov rsi, [r15 + 32]\n",
            "mov rdi, [r15 + 40]\n",
            "mov rbp, [r15 + 48]\n",
            "mov r8, [r15 + 56]\n",
            "mov r9, [r15 + 64]\n",
            "mov r10, [r15 + 72]\n",
            "mov r11, [r15 + 80]\n",
            "mov r12, [r15 + 88]\n",
            "mov r13, [r15 + 96]\n",
            "mov r14, [r15 + 104]\n",
            "push qword ptr [r15 + {FLAGS}]\n",
            "popfq\n",
            "mov rsp, [r15 + {STACK_POINTER}]",
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
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi + {OWN}], rsp",
        load!(),
        "syscall",
        "mov [r15], rax",
        "mov [r15 + 8], rbx",
        "mov [r15 + 16], rcx",
        "mov [r15 + 24], rdx",
        "mov [r15 + 32], rsi",
        "mov [r15 + 40], rdi",
        "mov [r15 + 48], rbp",
        "mov [r15 + 56], r8",
        "mov [r15 + 64], r9",
        "mov [r15 + 72], r10",
        "mov [r15 + 80], r11",
        "mov [r15 + 88], r12",
        "mov [r15 + 96], r13",
        "mov [r15 + 104], r14",
        "mov [r15 + {STACK_POINTER}], rsp",
        "mov rsp, [r15 + {OWN}]",
        "pushfq",
        "pop qword ptr [r15 + {FLAGS}]",
        // None is set any more.
        "push 0",
        "popfq",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
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
        "ud2",
        STACK_POINTER = const offset_of!(Record, stack_pointer),
        FLAGS = const offset_of!(Record, flags),
    )
}

// The record's own register is the last one.
const _: () = assert!(number::R15 + 1 == REGISTERS);

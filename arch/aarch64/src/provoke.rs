//! Ways to break the machine on purpose, and to look at what no program can see, for the images that test what happens
//! then.
#![expect(unsafe_code, reason = "breaks the machine on purpose")]

mod call;
mod look;

use core::arch::{asm, naked_asm};
use core::sync::atomic::AtomicBool;

use aarch64_cpu::asm::barrier;
use ebbtide_core::arch::{Answer, Cpu, FloatState, Provoke};
use ebbtide_core::provoke::{CallRegisters, drawn};
use ebbtide_core::{System, VirtAddr};

use crate::trap::{EMERGENCY_NUMBER, TRAP_STACKS, TRAPS, TrapFrame, set_trap_stack_top, trap_stack_top};
use crate::{Aarch64, descriptor, float};

/// An address that no table maps.
const NOWHERE: u64 = 0xffff_ff00_dead_0000;

/// DBGWCR0_EL1: enabled; EL1; stores; all eight bytes of the word (D24.3.12).
const WATCH_STORES: u64 = 1 << 0 | 0b01 << 1 | 0b10 << 3 | 0xff << 5;

/// MDSCR_EL1: KDE and MDE, watchpoints count, also at EL1 (D24.3.20).
const WATCH_EL1: u64 = 1 << 13 | 1 << 15;

/// Where RMode begins in FPCR (C5.2.8).
const ROUNDING: u64 = 22;

/// QC, in FPSR (C5.2.10).
const SATURATED: u64 = 1 << 27;

impl Provoke for Aarch64 {
    const TRAP_STACKS: usize = TRAP_STACKS.len();

    // A pointer to a table forbids nothing, and has no such bit: hardware ignores it there (D8.3.1).
    const USER: u64 = descriptor::USER;

    fn breakpoint() {
        // SAFETY: the handler goes on behind it.
        unsafe { asm!("brk #0") };
    }

    fn unmaskable_interrupt<S: System>() {
        // There is none. What no mask stops is an exception.
        let enabled = Self::disable_interrupts();
        Self::breakpoint();
        if enabled {
            Self::enable_interrupts();
        }
    }

    fn undefined_instruction() -> ! {
        // SAFETY: raises an exception, which ends the run.
        unsafe { asm!("udf #0", options(noreturn)) }
    }

    fn touch_float_register() {
        // SAFETY: `fmov d0, x0`, which the assembler does not know for this target; it is trapped, which ends the run.
        unsafe { asm!(".inst 0x9e670000", options(nomem, nostack, preserves_flags)) };
    }

    fn touch_wide_register() {
        // SAFETY: `rdvl x0, #1`, of SVE; it is trapped, or unknown to the CPU, which ends who executes it.
        unsafe { asm!(".inst 0x04bf5020", out("x0") _, options(nomem, nostack, preserves_flags)) };
    }

    fn draw_float(state: &FloatState, pattern: u64) {
        let registers =
            float::Registers { control: (pattern & 0b11) << ROUNDING, status: SATURATED, simd: drawn(pattern) };
        // SAFETY: there is room for that, and the caller's alone.
        unsafe { state.as_ptr::<float::Registers>().write(registers) };
    }

    fn write_float(state: &FloatState) {
        // SAFETY: in user mode they are open as soon as they are touched.
        unsafe { float::write(state) };
    }

    fn read_float(state: &FloatState) {
        // SAFETY: as above.
        unsafe { float::read(state) };
    }

    fn double_fault() -> ! {
        Self::mask_interrupts();
        // The next exception has nowhere to save its frame.
        set_trap_stack_top(TRAPS, NOWHERE);
        Self::undefined_instruction()
    }

    fn overflow_trap_stack(number: usize) -> ! {
        let stack_pointer = stand_on(number);
        // SAFETY: the run ends on that stack.
        unsafe { call_on(stack_pointer, recurse_on_and_on, is_nested(number)) }
    }

    fn nested_fault() -> ! {
        let stack_pointer = stand_on(TRAPS);
        // SAFETY: the run ends on that stack.
        unsafe { call_on(stack_pointer, fault, false) }
    }

    fn overflow_stack(top: VirtAddr) -> ! {
        Self::mask_interrupts();
        // SAFETY: the run ends on that stack.
        unsafe { recurse_on(top.as_u64()) }
    }

    fn on_trap_stack(number: usize, f: extern "C" fn() -> !) -> ! {
        let stack_pointer = stand_on(number);
        // SAFETY: the run ends on that stack.
        unsafe { call_on(stack_pointer, f, is_nested(number)) }
    }

    fn shorten_trap_stacks(bytes: u64) {
        assert!(bytes.is_multiple_of(16), "a trap stack stays aligned");
        let enabled = Self::disable_interrupts();
        for (number, (_, whole)) in TRAP_STACKS.into_iter().enumerate() {
            set_trap_stack_top(number, trap_stack_top(number) - whole.saturating_sub(bytes));
        }
        if enabled {
            Self::enable_interrupts();
        }
    }

    fn watch(address: VirtAddr) {
        // SAFETY: unlocks the registers below.
        unsafe { asm!("msr oslar_el1, xzr", options(nomem, nostack, preserves_flags)) };
        // SAFETY: the address that is watched.
        unsafe { asm!("msr dbgwvr0_el1, {}", in(reg) address.as_u64(), options(nomem, nostack, preserves_flags)) };
        // SAFETY: for what.
        unsafe { asm!("msr dbgwcr0_el1, {}", in(reg) WATCH_STORES, options(nomem, nostack, preserves_flags)) };
        // SAFETY: a store there is an exception from now on, since PSTATE.D is clear in every thread.
        unsafe { asm!("msr mdscr_el1, {}", in(reg) WATCH_EL1, options(nomem, nostack, preserves_flags)) };
        barrier::isb(barrier::SY);
    }

    fn stack_used_until(stop: &AtomicBool, bytes: usize) -> usize {
        look::stack_used_until(stop, bytes)
    }

    fn registers_changed_meanwhile(pattern: u64, turns: u64) -> u64 {
        look::registers_changed_meanwhile(pattern, turns)
    }

    fn registers_changed_by(pattern: u64, call: extern "C" fn()) -> u64 {
        look::registers_changed_by(pattern, call)
    }

    fn find_end(code: &[u8]) -> Option<usize> {
        const RET: u32 = 0xd65f_03c0;
        // `brk`, `udf`, and loads and stores, but no `prfm`, by one of x0 to x15, which are 0 then: nothing lies in the first pages.
        let traps = |word: u32| {
            let is_access = word & 0x3f00_0000 == 0x3900_0000 && word & 0xffc0_0000 != 0xf980_0000;
            word & 0xffe0_001f == 0xd420_0000 || word >> 16 == 0 || is_access && word >> 5 & 31 < 16
        };
        let find = |is_it: &dyn Fn(u32) -> bool| {
            let mut words = code.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
            words.position(is_it).map(|found| found * size_of::<u32>())
        };
        find(&|word| word == RET).or_else(|| find(&traps))
    }

    fn call(address: VirtAddr) {
        // SAFETY: none: what lies there is called. What `find_end` may find accesses memory by x0 to x15.
        unsafe {
            asm!(
                "blr {}",
                in(reg) address.as_u64(),
                in("x0") 0_u64, in("x1") 0_u64, in("x2") 0_u64, in("x3") 0_u64,
                in("x4") 0_u64, in("x5") 0_u64, in("x6") 0_u64, in("x7") 0_u64,
                in("x8") 0_u64, in("x9") 0_u64, in("x10") 0_u64, in("x11") 0_u64,
                in("x12") 0_u64, in("x13") 0_u64, in("x14") 0_u64, in("x15") 0_u64,
                clobber_abi("C"),
            );
        }
    }

    fn call_kernel_with(registers: &CallRegisters) -> (Answer, u64) {
        call::call_kernel_with(registers)
    }

    fn fault_with(registers: &CallRegisters) -> ! {
        call::fault_with(registers)
    }
}

/// Masks everything, as in a handler, and returns where the stack pointer is when a trap stands on a trap stack.
fn stand_on(number: usize) -> u64 {
    // SAFETY: the run ends soon.
    unsafe { asm!("msr daifset, #15", options(nostack, preserves_flags)) };
    let top = trap_stack_top(number);
    if is_nested(number) { top } else { top - size_of::<TrapFrame>() as u64 }
}

/// Says whether what stands on a trap stack is a trap in a handler.
fn is_nested(number: usize) -> bool {
    number == EMERGENCY_NUMBER
}

/// Faults.
extern "C" fn fault() -> ! {
    // SAFETY: it ends the run.
    unsafe { asm!("ldr {0}, [{0}]", "udf #0", in(reg) NOWHERE, options(noreturn)) }
}

/// Calls until the stack is full.
#[unsafe(naked)]
extern "C" fn recurse_on_and_on() -> ! {
    naked_asm!("2:", "stp x29, x30, [sp, #-16]!", "mov x29, sp", "bl 2b")
}

/// Moves to a thread's stack and calls until it is full.
///
/// # Safety
///
/// Nothing comes back from it: it ends the run. The stack pointer is a multiple of 16.
#[unsafe(naked)]
unsafe extern "C" fn recurse_on(stack_pointer: u64) -> ! {
    // The first frame has no caller.
    naked_asm!("mov sp, x0", "mov x29, #0", "mov x30, #0", "b {recurse}", recurse = sym recurse_on_and_on)
}

/// Moves to a trap stack and calls a function there, as a handler; `nested` is noted as the entry code does.
///
/// # Safety
///
/// Nothing comes back from it: it ends the run. The stack pointer is a multiple of 16.
#[unsafe(naked)]
unsafe extern "C" fn call_on(stack_pointer: u64, f: extern "C" fn() -> !, nested: bool) -> ! {
    naked_asm!(
        "msr spsel, #1",
        "tbz w2, #0, 2f",
        "msr sp_el0, xzr",
        "2:",
        "mov sp, x0",
        "mov x29, #0",
        "mov x30, #0",
        "br x1",
    )
}

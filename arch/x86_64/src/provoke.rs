//! Ways to break the machine on purpose, and to look at what no program can see, for the images that test what happens
//! then.
#![expect(unsafe_code, reason = "breaks the machine on purpose")]

mod call;
mod entries;
mod look;

pub(crate) use entries::{count_unmaskable, note_unmaskable};

use core::arch::{asm, naked_asm};
use core::sync::atomic::AtomicBool;

use ebbtide_core::arch::{Answer, FloatState, Provoke};
use ebbtide_core::provoke::{CallRegisters, drawn};
use ebbtide_core::{System, VirtAddr};
use x86_64::instructions::interrupts;
use x86_64::registers::debug::{
    BreakpointCondition, BreakpointSize, DebugAddressRegister, DebugAddressRegisterNumber, Dr0, Dr7, Dr7Flags, Dr7Value,
};
use x86_64::structures::paging::PageTableFlags;

use crate::trap::{Header, TRAP_STACKS, TrapFrame, provoke_with};
use crate::{X86_64, float};

/// An address that no table maps.
const NOWHERE: u64 = 0xffff_ff00_dead_0000;

/// Index of the trap stack of ordinary exceptions.
const EXCEPTIONS: usize = 1;
/// Index of the trap stack of page faults.
const PAGE_FAULT: usize = 2;
/// Index of the trap stack of double faults, where nested traps are reported.
const DOUBLE_FAULT: usize = 6;

impl Provoke for X86_64 {
    const TRAP_STACKS: usize = TRAP_STACKS.len();

    const USER: u64 = PageTableFlags::USER_ACCESSIBLE.bits();

    fn breakpoint() {
        interrupts::int3();
    }

    fn unmaskable_interrupt<S: System>() {
        // SAFETY: enters the NMI's handler as the NMI does, and returns.
        unsafe { asm!("int 2") };
    }

    fn system_call_code() -> Option<&'static [u8]> {
        Some(entries::code())
    }

    fn was_interrupted_at(offset: usize) -> bool {
        entries::was_interrupted_at(offset)
    }

    fn unmaskable_interrupts() -> u64 {
        entries::unmaskable_interrupts()
    }

    fn undefined_instruction() -> ! {
        // SAFETY: raises #UD, which ends the run.
        unsafe { asm!("ud2", options(noreturn)) }
    }

    fn touch_float_register() {
        // SAFETY: `movd xmm0, eax`. In the kernel it raises #NM, which ends the run.
        unsafe { asm!(".byte 0x66, 0x0f, 0x6e, 0xc0", options(nomem, nostack, preserves_flags)) };
    }

    fn touch_wide_register() {
        // SAFETY: `vzeroupper`, of AVX; CR4.OSXSAVE is 0, so it raises #UD, which ends who executes it.
        unsafe { asm!(".byte 0xc5, 0xf8, 0x77", options(nomem, nostack, preserves_flags)) };
    }

    fn draw_float(state: &FloatState, pattern: u64) {
        let rounding = pattern as u16 & 0b11;
        let registers = float::Registers {
            control: float::FIRST.control | rounding << 10,
            tags: 0xff,
            simd_control: float::FIRST.simd_control | u32::from(rounding) << 13,
            x87: drawn(pattern).map(|value| value >> 48),
            simd: drawn(!pattern),
            ..float::FIRST
        };
        // SAFETY: there is room for that, and the caller's alone.
        unsafe { state.as_ptr::<float::Registers>().write(registers) };
    }

    fn write_float(state: &FloatState) {
        // SAFETY: in user mode they are open as soon as they are touched, and the values are such as they may have.
        unsafe { float::write(state) };
    }

    fn read_float(state: &FloatState) {
        // SAFETY: as above.
        unsafe { float::read(state) };
        // SAFETY: the place is the caller's alone. That field says what the CPU can do, and is none that was loaded.
        unsafe { (*state.as_ptr::<float::Registers>()).mask = 0 };
    }

    fn double_fault() -> ! {
        interrupts::disable();
        // #UD and then #PF: neither can be delivered, so the second makes it a double fault.
        provoke_with(EXCEPTIONS, Some(NOWHERE));
        provoke_with(PAGE_FAULT, Some(NOWHERE));
        Self::undefined_instruction()
    }

    fn overflow_trap_stack(number: usize) -> ! {
        interrupts::disable();
        let header = stand_on(number);
        // SAFETY: the run ends on that stack.
        unsafe { recurse_on(header as u64) }
    }

    fn nested_fault() -> ! {
        interrupts::disable();
        stand_on(PAGE_FAULT);
        // SAFETY: faults, which ends the run.
        unsafe { asm!("mov rax, [{}]", in(reg) NOWHERE, options(noreturn)) }
    }

    fn overflow_stack(top: VirtAddr) -> ! {
        interrupts::disable();
        // SAFETY: the run ends on that stack.
        unsafe { recurse_on(top.as_u64()) }
    }

    fn on_trap_stack(number: usize, f: extern "C" fn() -> !) -> ! {
        interrupts::disable();
        let below_frame = stand_on(number).cast::<TrapFrame>().wrapping_sub(1);
        // SAFETY: the run ends on that stack, below where a trap's frame would be.
        unsafe { call_on(below_frame as u64, f) }
    }

    fn shorten_trap_stacks(bytes: u64) {
        assert!(bytes.is_multiple_of(align_of::<Header>() as u64), "a trap stack stays aligned");
        interrupts::without_interrupts(|| {
            let less = |number: usize| TRAP_STACKS[number].1.saturating_sub(bytes);
            for number in 0..TRAP_STACKS.len() {
                let header = provoke_with(number, None);
                let lower = header.wrapping_byte_sub(less(number) as usize);
                // SAFETY: interrupts are off, so no trap stands there and nobody else looks at the header.
                let Header { emergency, per_cpu, .. } = unsafe { header.read() };
                let header = Header { depth: 0, emergency: emergency - less(DOUBLE_FAULT), per_cpu, reserved: 0 };
                // SAFETY: it lies within the trap stack, which nobody uses.
                unsafe { lower.write(header) };
                provoke_with(number, Some(lower as u64));
            }
        });
    }

    fn watch(address: VirtAddr) {
        let number = DebugAddressRegisterNumber::Dr0;
        Dr0::write(address.as_u64());
        let mut control = Dr7Value::from(Dr7Flags::global_breakpoint_enable(number));
        control.set_condition(number, BreakpointCondition::DataWrites);
        control.set_size(number, BreakpointSize::Length8B);
        Dr7::write(control);
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
        const RET: u8 = 0xc3;
        const INT3: u8 = 0xcc;
        const HLT: u8 = 0xf4;
        // Whatever the byte is part of, it is also an instruction.
        let find = |instructions: &[u8]| code.iter().position(|byte| instructions.contains(byte));
        find(&[RET]).or_else(|| find(&[INT3, HLT]))
    }

    fn call(address: VirtAddr) {
        // SAFETY: none: what lies there is called.
        unsafe { asm!("call {}", in(reg) address.as_u64(), clobber_abi("C")) };
    }

    fn call_kernel_with(registers: &CallRegisters) -> (Answer, u64) {
        call::call_kernel_with(registers)
    }

    fn fault_with(registers: &CallRegisters) -> ! {
        call::fault_with(registers)
    }
}

/// Makes the CPU believe that a trap stands on a trap stack, whose header this returns. Interrupts are off.
fn stand_on(number: usize) -> *mut Header {
    let header = provoke_with(number, None);
    // SAFETY: the header lies above the trap stack's IST pointer, and no trap looks at it right now.
    unsafe { (*header).depth += 1 };
    header
}

/// Moves to a stack and calls until it is full.
///
/// # Safety
///
/// Nothing comes back from it: it ends the run.
#[unsafe(naked)]
unsafe extern "C" fn recurse_on(stack_pointer: u64) -> ! {
    // The first frame has no caller.
    naked_asm!("mov rsp, rdi", "xor ebp, ebp", "push rbp", "2:", "push rbp", "mov rbp, rsp", "call 2b")
}

/// Moves to a stack and calls a function there.
///
/// # Safety
///
/// Nothing comes back from it: it ends the run. The stack pointer is a multiple of 16.
#[unsafe(naked)]
unsafe extern "C" fn call_on(stack_pointer: u64, f: extern "C" fn() -> !) -> ! {
    naked_asm!("mov rsp, rdi", "xor ebp, ebp", "call rsi")
}

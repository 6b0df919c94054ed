//! Ways to break the machine on purpose, for the images that test what happens then.

use ebbtide_core::arch::Provoke as _;

use crate::machine::Arch;
use crate::system::Ebbtide;

/// Number of trap stacks.
pub const TRAP_STACKS: usize = Arch::TRAP_STACKS;

/// Raises a breakpoint exception, which the run survives.
pub fn breakpoint() {
    Arch::breakpoint();
}

/// Sends an interrupt that nobody can mask, which the run survives.
pub fn unmaskable_interrupt() {
    Arch::unmaskable_interrupt::<Ebbtide>();
}

/// Raises an exception that nobody handles.
pub fn undefined_instruction() -> ! {
    Arch::undefined_instruction()
}

/// Makes the delivery of an exception fail.
pub fn double_fault() -> ! {
    Arch::double_fault()
}

/// Overflows a trap stack.
pub fn overflow_trap_stack(number: usize) -> ! {
    Arch::overflow_trap_stack(number)
}

/// Raises a fault while the handler of a page fault runs.
pub fn nested_fault() -> ! {
    Arch::nested_fault()
}

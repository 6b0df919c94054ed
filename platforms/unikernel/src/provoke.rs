//! Ways to break the machine on purpose, for the images that test what happens then.
#![expect(unsafe_code, reason = "breaks the machine on purpose")]

use ebbtide_core::System as _;
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

/// Takes a frame from the allocator and forgets it.
pub fn lose_frame() {
    let _ = Ebbtide::kernel().frames.with::<Ebbtide, _>(|frames| frames.allocate());
}

/// Gives a frame back twice. Whoever takes frames from then on gets it twice.
pub fn free_frame_twice() {
    Ebbtide::kernel().frames.with::<Ebbtide, _>(|frames| {
        let frame = frames.allocate().expect("there is a frame");
        for _ in 0..2 {
            // SAFETY: none. Nobody but the audit looks at free frames before the run ends.
            unsafe { frames.deallocate(frame) };
        }
    });
}

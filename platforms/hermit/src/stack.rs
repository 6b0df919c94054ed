//! The stack that the first instructions load: nothing is known of a loader's.

#![expect(unsafe_code, reason = "a stack is memory that the CPU writes behind the compiler's back")]

use core::cell::UnsafeCell;
use core::ops::Range;

use memory_addresses::VirtAddr;

/// Size of the boot stack, in bytes.
const STACK_BYTES: usize = 64 << 10;

/// Size of the guard page below it, in bytes.
const GUARD_BYTES: usize = 4 << 10;

/// The boot stack, as it lies in `.bss`. The kernel's page tables leave the guard out.
///
/// ```text
/// guard page | 64 KiB of stack ─┐
///                               └─ top: the stack pointer at the first call
/// ```
#[doc(hidden)]
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct BootStack {
    guard: UnsafeCell<[u8; GUARD_BYTES]>,
    stack: UnsafeCell<[u8; STACK_BYTES]>,
}

// SAFETY: only the CPU that boots uses it, as its stack; no reference into it is ever made.
unsafe impl Sync for BootStack {}

#[doc(hidden)]
pub static BOOT_STACK: BootStack =
    BootStack { guard: UnsafeCell::new([0; GUARD_BYTES]), stack: UnsafeCell::new([0; STACK_BYTES]) };

/// Distance from the start of [`BOOT_STACK`] to the stack's top, in bytes.
#[doc(hidden)]
pub const BOOT_STACK_TOP: usize = core::mem::offset_of!(BootStack, stack) + STACK_BYTES;

const _: () = assert!(
    BOOT_STACK_TOP.is_multiple_of(16) && BOOT_STACK_TOP == size_of::<BootStack>(),
    "calls want the stack pointer at a multiple of 16, and the stack ends the block"
);

/// Returns the addresses of the boot stack, its guard page not included.
#[must_use]
pub fn boot_stack() -> Range<VirtAddr> {
    range(BOOT_STACK.stack.get().addr(), STACK_BYTES)
}

/// Says whether nothing has written to the page below the boot stack, as an overflow would have before the kernel's own
/// page tables leave it out.
#[must_use]
pub fn boot_stack_guard_is_untouched() -> bool {
    let words = BOOT_STACK.guard.get().cast::<u64>();
    (0..GUARD_BYTES / size_of::<u64>()).all(|at| {
        // SAFETY: a word of the guard, which is aligned to pages and still mapped; volatile, since a push may have
        // written it behind the compiler's back.
        unsafe { words.wrapping_add(at).read_volatile() == 0 }
    })
}

/// Returns the addresses of the page below the boot stack, which nothing ever touches.
#[must_use]
pub fn boot_stack_guard() -> Range<VirtAddr> {
    range(BOOT_STACK.guard.get().addr(), GUARD_BYTES)
}

fn range(start: usize, bytes: usize) -> Range<VirtAddr> {
    VirtAddr::new(start as u64)..VirtAddr::new((start + bytes) as u64)
}

//! The stack that a kernel finds: it gets the *lowest* address, and the page below is not there.

#![expect(unsafe_code, reason = "a stack is memory that the CPU writes behind the compiler's back")]

use core::cell::UnsafeCell;

use ebbtide_loader::x86_64::enter::STACK_BYTES;

/// Size of the page that is left out below the stack, in bytes.
pub const GUARD_BYTES: usize = 4096;

#[repr(C, align(4096))]
struct Stack {
    guard: UnsafeCell<[u8; GUARD_BYTES]>,
    stack: UnsafeCell<[u8; STACK_BYTES]>,
}

// SAFETY: the stub never looks at it.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack { guard: UnsafeCell::new([0; GUARD_BYTES]), stack: UnsafeCell::new([0; STACK_BYTES]) };

/// Returns the address of the page that must not be there.
pub fn guard() -> u64 {
    STACK.guard.get().expose_provenance() as u64
}

/// Returns the lowest address of the stack.
pub fn lowest() -> u64 {
    STACK.stack.get().expose_provenance() as u64
}

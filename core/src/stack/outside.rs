//! A stack pointer that is not where it should be.

use core::fmt;

use memory_addresses::VirtAddr;

/// A stack pointer that does not lie in the stack that it is said to belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideStack {
    /// The stack pointer.
    pub stack_pointer: VirtAddr,
    /// The stack's lowest address.
    pub limit: VirtAddr,
    /// The address behind its highest byte.
    pub top: VirtAddr,
}

impl fmt::Display for OutsideStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack_pointer, limit, top } = self;
        write!(f, "stack pointer {stack_pointer:#x} lies outside of its stack {limit:#x}..{top:#x}")
    }
}

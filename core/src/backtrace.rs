//! Backtraces: return addresses, found by following the frame pointers.
//!
//! Raw addresses; `cargo xtask` turns them into names. Every address is looked up in the page tables before it is
//! read, so a broken chain ends the backtrace and never faults.
#![expect(unsafe_code, reason = "reads stacks")]

use core::fmt;
use core::marker::PhantomData;

use memory_addresses::VirtAddr;

use crate::memory::layout;
use crate::stack::Slot;
use crate::system::System;
use crate::trap;

/// Most frames that are shown: those nearest to what went wrong. A report stays short, and ends, whatever a stack says.
const MOST_FRAMES: usize = 32;

/// A backtrace that is made while it is displayed.
#[derive(Debug)]
pub struct Backtrace<S> {
    /// The instruction at which a trap came, if one did.
    instruction: Option<VirtAddr>,
    frame_pointer: VirtAddr,
    read: ReadFrame,
    system: PhantomData<fn() -> S>,
}

/// How the two words at a frame pointer are read: the caller's frame pointer and the return address, on both architectures.
pub(crate) type ReadFrame = fn(VirtAddr) -> Option<[u64; 2]>;

impl<S: System> Backtrace<S> {
    /// Starts with the caller of the function whose frame pointer this is.
    pub fn from(frame_pointer: VirtAddr) -> Self {
        Self { instruction: None, frame_pointer, read: read_frame::<S>, system: PhantomData }
    }

    /// Starts with the instruction at which user mode was left; `read` reads its stack.
    pub(crate) fn from_user_mode(instruction: VirtAddr, frame_pointer: VirtAddr, read: ReadFrame) -> Self {
        Self { instruction: Some(instruction), frame_pointer, read, system: PhantomData }
    }

    /// Starts with the instruction at which a trap came.
    pub fn from_trap(instruction: VirtAddr, frame_pointer: VirtAddr) -> Self {
        Self { instruction: Some(instruction), ..Self::from(frame_pointer) }
    }
}

impl<S: System> fmt::Display for Backtrace<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "backtrace (image at {:#x}):", S::kernel().image_base())?;
        let mut number = 0;
        let mut line = |address: u64| {
            let result = writeln!(f, "  #{number} {address:#x}");
            number += 1;
            result
        };
        if let Some(instruction) = self.instruction {
            line(instruction.as_u64())?;
        }
        let mut frame = self.frame_pointer;
        for _ in 0..MOST_FRAMES {
            let Some([caller, return_address]) = (self.read)(frame) else { return Ok(()) };
            if return_address == 0 {
                return Ok(());
            }
            line(return_address)?;
            // Stacks grow down: a caller's frame lies above, or on the stack that was left for this one.
            let caller = VirtAddr::new_truncate(caller);
            if caller <= frame && Slot::of(frame).is_none_or(|slot| slot.base() <= caller) {
                return Ok(());
            }
            frame = caller;
        }
        writeln!(f, "  (more callers are not shown)")
    }
}

/// Reads a frame on a stack of the kernel's.
fn read_frame<S: System>(frame: VirtAddr) -> Option<[u64; 2]> {
    if S::kernel().root().is_null() || layout::is_user(frame) {
        // Before the kernel has tables there is nothing to look the addresses up in; and user mode's are not read like that.
        return None;
    }
    let tables = S::kernel().tables::<S>();
    let second = VirtAddr::try_new(frame.as_u64().checked_add(8)?).ok()?;
    if !frame.as_u64().is_multiple_of(8) {
        return None;
    }
    tables.translate(frame)?;
    tables.translate(second)?;
    trap::will_touch::<S>(frame, 16);
    // SAFETY: both words are mapped and aligned, and everything that is mapped can be read.
    Some(unsafe { frame.as_ptr::<[u64; 2]>().read_volatile() })
}

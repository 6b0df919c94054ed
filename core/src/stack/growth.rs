//! Growth: a fault on a page of the running thread's stack populates down to it, under a policy that wants that.
//!
//! Pasha Tatashin ("[RFC 00/14] Dynamic Kernel Stacks", Linux kernel mailing list, March 2024) did so from the double fault. That one is
//! an abort: what the CPU was just delivering is lost (H. Peter Anvin and Andy Lutomirski, in the same discussion). Here every trap has a
//! stack of its own, so the page fault itself can be taken where the stack has no page, and nothing is lost.
//!
//! - Whose stack it is says the **address**, never "current": around the move of the stack pointer the two differ.
//! - It is the stack that is **in use** if the stack pointer lies in the same slot. Whoever runs on a stack holds it. A stray access to
//!   an absent page of another stack is none of this, and is reported.
//! - Frames come from the [fault reserve](super::reserve), which was filled before the thread was switched to.
//! - The handler takes no lock and allocates nothing: what it interrupted may hold any lock.
#![expect(unsafe_code, reason = "changes the stack that is in use")]

use memory_addresses::VirtAddr;

use crate::arch::{Cpu, PAGE_BYTES};
use crate::audit;
use crate::report::{self, Place};
use crate::stack::policy::{Growing, StackPolicy};
use crate::stack::{Slot, owner};
use crate::system::System;
use crate::thread::Thread;

/// A page is absent that was touched at `at`. Returns whether it is there now: then the access can be tried again.
pub(crate) fn fault<S: System>(at: &Place) -> bool {
    if Slot::of(at.address) != Slot::of(at.stack_pointer) {
        return false;
    }
    let grown = grow::<S>(at);
    if grown {
        audit::seen_in_trap::<S>();
        S::Arch::per_cpu().fault_reserve.count_fault();
    }
    grown
}

/// Populates what is missing down to `at.address`, which is in the slot of the stack that is in use. Returns whether anything was.
pub(crate) fn grow<S: System>(at: &Place) -> bool {
    let Some((slot, Some(owner))) = owner::<S>(at.address) else { return false };
    if at.address < slot.limit(S::Policy::GUARD) {
        return false;
    }
    grow_of::<S>(owner, slot, at)
}

/// The same for a stack in this slot, whose owner is known.
#[inline(always)]
pub(crate) fn grow_of<S: System>(owner: &'static Thread, slot: Slot, at: &Place) -> bool {
    let pages = ((slot.top() - at.address - 1) / PAGE_BYTES) as usize + 1;
    // SAFETY: it runs here, so this CPU holds it; whoever was interrupted here looks at its own stack's bookkeeping where it
    // touches nothing new of that stack.
    let stack = unsafe { owner.stack_mut() };
    let before = stack.populated();
    if before >= pages {
        return false;
    }
    let reserve = &S::Arch::per_cpu().fault_reserve;
    S::Policy::on_stack_fault(&mut Growing::<S>::new(stack, pages, reserve));
    let populated = stack.populated();
    reserve.count_grown(populated - before);
    if populated < pages {
        short::<S>(pages - populated, at);
    }
    true
}

/// The reserve did not suffice, though it was filled with what the thread may lack. A bug: ends the run.
#[cold]
fn short<S: System>(pages: usize, at: &Place) -> ! {
    let cpu = S::Arch::per_cpu();
    report::exception::<S>(
        format_args!(
            "stack fault at {:#x}, for which the reserve has {pages} frames too few ({} are left in it), though policy {} reserves \
             what the running thread lacks: please report this,",
            at.address,
            cpu.fault_reserve.len(),
            S::Policy::NAME,
        ),
        at,
    )
}

/// Populates `bytes` below `stack_pointer`, on the stack that is in use: before anything is pushed there from another one.
pub(crate) fn make_room<S: System>(stack_pointer: VirtAddr, bytes: u64, at: &Place) {
    if let Some(slot) = Slot::of(VirtAddr::new(stack_pointer.as_u64() - 1)) {
        let address = VirtAddr::new(stack_pointer.as_u64() - bytes).max(slot.limit(S::Policy::GUARD));
        grow::<S>(&Place { address, stack_pointer, ..*at });
    }
}

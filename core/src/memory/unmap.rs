//! The way back of a page's frame that is no stack's.
#![expect(unsafe_code, reason = "gives frames back to the allocator")]

use core::ops::Range;

use memory_addresses::VirtAddr;

use crate::arch::{PAGE_BYTES, Paging, StackEntry, TableEntry};
use crate::kernel::Count;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::system::System;

/// Unmaps what is mapped of `pages` (addresses, whole pages), and gives the frames back, which `account` counts. A page rests until
/// every CPU has forgotten it: its entry is absent and keeps the frame.
///
/// Interrupts are on and preemption is off; nobody else maps or unmaps these pages.
#[inline(never)]
pub(crate) fn unmap<S: System>(pages: Range<u64>, account: &Count) {
    if pages.is_empty() {
        return;
    }
    let pages = pages.step_by(PAGE_BYTES as usize).map(VirtAddr::new);
    for entry in pages.clone().filter_map(entry::<S>) {
        if let TableEntry::Leaf(frame) = S::Arch::decode(entry.load(Ordering::Relaxed), 0) {
            entry.store(S::Arch::encode_stack(StackEntry::Resting { frame, generation: 0 }), Ordering::Release);
        }
    }
    S::Arch::invalidate_everywhere::<S>(pages.clone());
    for entry in pages.filter_map(entry::<S>) {
        if let StackEntry::Resting { frame, .. } = S::Arch::decode_stack(entry.load(Ordering::Relaxed)) {
            entry.store(S::Arch::encode_stack(StackEntry::Empty), Ordering::Release);
            // Under one lock, for whoever claims frames.
            S::kernel().frames.with::<S, _>(|all| {
                account.sub(1);
                // SAFETY: no entry names it, and every CPU has forgotten the one that did.
                unsafe { all.deallocate(frame) };
            });
        }
    }
}

/// The entry of a page, if there is a table for it.
fn entry<S: System>(page: VirtAddr) -> Option<&'static AtomicU64> {
    let entry = S::kernel().tables::<S>().find(page, 0)?;
    // SAFETY: tables are never freed.
    Some(unsafe { entry.as_ref() })
}

//! The leaf entries of a slot: those of its stack's pages, and the one that holds its note.
#![expect(unsafe_code, reason = "leaf entries are memory that the CPU reads")]

use core::ptr::NonNull;

use crate::stack::range::top_entry;
use crate::stack::slot::{Note, Slot};
use crate::sync::atomic::AtomicU64;
use crate::system::System;

/// The leaf entries of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries {
    slot: Slot,
    top: NonNull<AtomicU64>,
}

impl Entries {
    /// The entry of a page, counted from the top page; those behind the stack's are the guard's.
    pub fn page(self, page: usize) -> &'static AtomicU64 {
        page_entry(self.top, page)
    }

    /// Whose the slot is.
    pub fn note(self) -> Note {
        note(self.slot, self.top)
    }
}

/// The leaf entries of a slot, if it was ever used.
pub(crate) fn entries<S: System>(slot: Slot) -> Option<Entries> {
    top_entry::<S>(slot).map(|top| Entries { slot, top })
}

/// The leaf entry of page `page` of the stack whose top page has `top_entry`.
pub(super) fn page_entry(top_entry: NonNull<AtomicU64>, page: usize) -> &'static AtomicU64 {
    // SAFETY: a slot's entries lie side by side in one leaf table; `page` is one of the slot's.
    let entry = unsafe { top_entry.sub(page) };
    // SAFETY: leaf tables of the stack range are never freed.
    unsafe { entry.as_ref() }
}

/// The entry that holds the note of a slot with `slot_pages` pages: that of the lowest.
pub(super) fn note_entry(slot_pages: usize, top_entry: NonNull<AtomicU64>) -> &'static AtomicU64 {
    page_entry(top_entry, slot_pages - 1)
}

/// Who owns the slot with this top entry.
pub(super) fn note(slot: Slot, top_entry: NonNull<AtomicU64>) -> Note {
    Note::load(note_entry(slot.class.slot_pages(), top_entry))
}

//! The ring: a CPU's notes of what rests.
//!
//! A note names the pages of one rest. It is valid for as long as one of them still rests with the note's
//! generation; a page that was taken back, or rests again since, has another entry, so a stale note is told by a
//! load and a comparison. Notes are dropped from the old end.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use heapless::Deque;
use memory_addresses::VirtAddr;

use crate::arch::{PAGE_BYTES, Paging, StackEntry};
use crate::stack::page::page_entry;
use crate::stack::slot::{MAX_POLICY_STACK_BYTES, Slot};

/// Most notes in a ring.
pub(crate) const RING_NOTES: usize = 256;

/// Most pages that one note names: those of the largest stack that a policy is asked about.
pub(crate) const MAX_NOTE_PAGES: usize = (MAX_POLICY_STACK_BYTES / PAGE_BYTES) as usize;

/// A note that pages rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestNote {
    /// The slot.
    pub slot: Slot,
    /// The highest page that rests, counted from the top page.
    pub first: u16,
    /// How many pages rest, from there downwards.
    pub count: u16,
    /// The generation of the rest.
    pub generation: u32,
    /// The top page's leaf entry.
    pub top: NonNull<AtomicU64>,
}

impl RestNote {
    /// The pages of the note that still rest: address, entry, and the entry's value.
    pub fn resting<P: Paging>(&self) -> impl Iterator<Item = RestingPage> {
        let Self { slot, first, count, generation, top } = *self;
        (first..first + count).filter_map(move |page| {
            let entry = page_entry(top, page.into());
            let value = entry.load(Ordering::Relaxed);
            let address = VirtAddr::new(slot.top().as_u64() - (u64::from(page) + 1) * PAGE_BYTES);
            match P::decode_stack(value) {
                StackEntry::Resting { generation: g, .. } if g == generation => {
                    Some(RestingPage { address, entry, value })
                }
                _ => None,
            }
        })
    }
}

/// A page that rests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingPage {
    /// Its address.
    pub address: VirtAddr,
    /// Its leaf entry.
    pub entry: &'static AtomicU64,
    /// What the entry said when it was read.
    pub value: u64,
}

/// A CPU's notes, oldest first.
#[derive(Debug)]
pub(crate) struct Ring(Deque<RestNote, RING_NOTES>);

impl Ring {
    /// Creates an empty ring.
    pub const fn new() -> Self {
        Self(Deque::new())
    }

    /// Says whether one more rest can be noted.
    pub fn has_room(&self) -> bool {
        !self.0.is_full()
    }

    /// Adds a note; `schedule()` has seen to it that there is room.
    pub fn push(&mut self, note: RestNote) {
        self.0.push_back(note).expect("the ring has room: schedule() made it before the switch");
    }

    /// Drops the notes whose pages no longer rest. Needs no invalidation.
    pub fn compact<P: Paging>(&mut self) {
        for _ in 0..self.0.len() {
            let Some(note) = self.0.pop_front() else { return };
            if note.resting::<P>().next().is_some() {
                // It was just taken out, so there is room.
                let _ = self.0.push_back(note);
            }
        }
    }

    /// Number of notes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the oldest note.
    pub fn pop(&mut self) -> Option<RestNote> {
        self.0.pop_front()
    }
}

mod send {
    #![expect(unsafe_code, reason = "an entry's address may be used by any CPU")]

    use super::RestNote;

    // SAFETY: the pointer is only ever used to reach an atomic in a table that is never freed.
    unsafe impl Send for RestNote {}
}

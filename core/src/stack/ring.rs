//! The ring: a CPU's notes of what rests.
//!
//! A note names the pages of one rest. It is valid for as long as one of them still rests with the note's
//! generation; a page that was taken back, or rests again since, has another entry, so a stale note is told by a
//! load and a comparison. Notes are dropped from the old end.
//!
//! A stack remembers where its last note stands. When all of its pages were taken back since, that note is stale for
//! good, and the next rest writes over it: a thread that sleeps and wakes again and again has one note, however often
//! it does so, and the ring does not fill.

use core::ptr::NonNull;

use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::{PAGE_BYTES, Paging, StackEntry};
use crate::stack::entries::page_entry;
use crate::stack::slot::MAX_POLICY_STACK_BYTES;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Most notes in a ring.
pub(crate) const RING_NOTES: usize = 256;

/// Most pages that one note names: those of the largest stack that a policy is asked about.
pub(crate) const MAX_NOTE_PAGES: usize = (MAX_POLICY_STACK_BYTES / PAGE_BYTES) as usize;

/// A note that pages rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestNote {
    /// The address behind the stack's highest byte.
    pub top: VirtAddr,
    /// The top page's leaf entry, which names the stack.
    pub top_entry: NonNull<AtomicU64>,
    /// The highest page that rests, counted from the top page.
    pub first: u16,
    /// How many pages rest, from there downwards.
    pub count: u16,
    /// The generation of the rest.
    pub generation: u32,
}

impl RestNote {
    /// The pages of the note that still rest: address, entry, and the entry's value.
    pub fn resting<P: Paging>(&self) -> impl Iterator<Item = RestingPage> + use<P> {
        let Self { top, top_entry, first, count, generation } = *self;
        let pages = (first..first + count).filter_map(move |page| RestingPage::of::<P>(top, top_entry, page));
        pages.filter(move |page| page.generation == generation)
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
    /// The generation of the rest.
    generation: u32,
}

impl RestingPage {
    /// The page of this number of the stack with this top, if it rests.
    pub fn of<P: Paging>(top: VirtAddr, top_entry: NonNull<AtomicU64>, page: u16) -> Option<Self> {
        let entry = page_entry(top_entry, page.into());
        let value = entry.load(Ordering::Relaxed);
        let StackEntry::Resting { generation, .. } = P::decode_stack(value) else { return None };
        let address = VirtAddr::new(top.as_u64() - (u64::from(page) + 1) * PAGE_BYTES);
        Some(Self { address, entry, value, generation })
    }

    /// Takes the page's frame from it, by compare-exchange; `None` if it was taken back meanwhile.
    ///
    /// The caller has had the page's address invalidated on every CPU since it began to rest.
    pub fn free<P: Paging>(&self) -> Option<PhysAddr> {
        let StackEntry::Resting { frame, .. } = P::decode_stack(self.value) else { return None };
        let empty = P::encode_stack(StackEntry::Empty);
        self.entry.compare_exchange(self.value, empty, Ordering::AcqRel, Ordering::Relaxed).is_ok().then_some(frame)
    }
}

/// A CPU's notes, oldest first.
#[derive(Debug)]
pub(crate) struct Ring {
    /// None stands as zeros, so that a ring that is made at compile time takes no room in an image.
    notes: [Option<RestNote>; RING_NOTES],
    /// Where the oldest note stands.
    oldest: usize,
    len: usize,
}

impl Ring {
    /// Creates an empty ring.
    pub const fn new() -> Self {
        Self { notes: [None; RING_NOTES], oldest: 0, len: 0 }
    }

    /// Says whether one more rest can be noted.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.len < RING_NOTES
    }

    /// Adds a note, and returns where it stands; `schedule()` has seen to it that there is room.
    #[inline]
    pub fn push(&mut self, note: RestNote) -> u8 {
        assert!(self.has_room(), "a note without room in the ring: schedule() makes it before the switch");
        let place = (self.oldest + self.len) % RING_NOTES;
        self.notes[place] = Some(note);
        self.len += 1;
        place as u8
    }

    /// Writes `note` over the one at `place`, if that is of the same stack. All of the stack's pages were present
    /// before the rest, so whatever the older note says is stale.
    #[inline]
    pub fn renew(&mut self, place: u8, note: RestNote) -> bool {
        let old = &mut self.notes[usize::from(place)];
        let same = old.map(|old| old.top_entry) == Some(note.top_entry);
        if same {
            *old = Some(note);
        }
        same
    }

    /// Drops the notes whose pages no longer rest. Needs no invalidation.
    pub fn compact<P: Paging>(&mut self) {
        for _ in 0..self.len {
            if let Some(note) = self.pop()
                && note.resting::<P>().next().is_some()
            {
                self.push(note);
            }
        }
    }

    /// Number of notes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The oldest `most` notes.
    pub fn oldest(&self, most: usize) -> impl Iterator<Item = &RestNote> {
        (0..most.min(self.len)).filter_map(|n| self.notes[(self.oldest + n) % RING_NOTES].as_ref())
    }

    /// Takes the oldest note.
    pub fn pop(&mut self) -> Option<RestNote> {
        if self.len == 0 {
            return None;
        }
        let note = self.notes[self.oldest].take();
        self.oldest = (self.oldest + 1) % RING_NOTES;
        self.len -= 1;
        note
    }
}

const _: () = assert!(RING_NOTES == 1 << u8::BITS, "a place in the ring is a byte");

mod send {
    #![expect(unsafe_code, reason = "an entry's address may be used by any CPU")]

    use super::RestNote;

    // SAFETY: the pointer is only ever used to reach an atomic in a table that is never freed.
    unsafe impl Send for RestNote {}
}

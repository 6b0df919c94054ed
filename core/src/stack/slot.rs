//! Slots: where in the address space a kernel stack lies, and whose it is.
//!
//! ```text
//! 32 KiB slot, 16 KiB of stack          leaf entries of the slot
//!  +----------------------+ top          page 0: the top page, always populated
//!  | page 0 (top page)    |
//!  | page 1               |              pages 1 to 3: present, resting or empty
//!  | page 2               |
//!  | page 3               | limit
//!  +----------------------+
//!  | guard pages          |              never present; the lowest one's entry is the slot's note:
//!  +----------------------+ base         its owner, or the next free slot
//! ```
//!
//! A slot is aligned to its own size, and half of it is guard, or its lowest page, as the policy says ([`Guard`]): either way no
//! stack crosses a 2 MiB border and one leaf table serves it. The note costs no memory: hardware ignores an entry that is not present.
//!
//! No function jumps over the guard, however large its frame is: on the bare-metal targets the compiler probes the stack
//! inline, so a frame of a page or more is touched page by page on the way down, and the first touch below the limit
//! faults. The guard pages below that one are for code that was compiled otherwise.

use core::ptr::NonNull;

use memory_addresses::VirtAddr;

use crate::arch::PAGE_BYTES;
use crate::memory::layout::{STACK_CLASS_BYTES, STACKS};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::thread::Thread;

/// Number of size classes: slots of 16 KiB to 2 MiB.
pub const CLASSES: usize = 8;

/// Smallest stack, in bytes.
pub const MIN_STACK_BYTES: u64 = 8 << 10;

/// Largest stack, in bytes.
pub const MAX_STACK_BYTES: u64 = MIN_STACK_BYTES << (CLASSES - 1);

/// Largest stack, in bytes, that is left to the policy. Larger ones are always populated, since populating them
/// would keep interrupts off for too long.
pub const MAX_POLICY_STACK_BYTES: u64 = 64 << 10;

/// How much of a slot is its guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The lower half.
    Half,
    /// The lowest page, whose entry is the note.
    Page,
}

/// A size class: slots of `16 KiB << class`, with a stack in what the guard leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeClass(u8);

impl SizeClass {
    /// The smallest class whose stacks have at least `bytes`, or nothing if that is more than
    /// [`MAX_STACK_BYTES`].
    pub fn for_stack(bytes: u64, guard: Guard) -> Option<Self> {
        let fits = |class: &Self| bytes <= MAX_STACK_BYTES && class.stack_bytes(guard) >= bytes;
        Self::all().find(fits)
    }

    /// All classes, smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES as u8).map(Self)
    }

    /// The class's number, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Bytes of a stack.
    pub const fn stack_bytes(self, guard: Guard) -> u64 {
        match guard {
            Guard::Half => self.slot_bytes() / 2,
            Guard::Page => self.slot_bytes() - PAGE_BYTES,
        }
    }

    /// Pages of a stack.
    pub const fn stack_pages(self, guard: Guard) -> usize {
        (self.stack_bytes(guard) / PAGE_BYTES) as usize
    }

    /// Bytes of a slot.
    pub const fn slot_bytes(self) -> u64 {
        (2 * MIN_STACK_BYTES) << self.0
    }

    /// Pages of a slot, those of the guard too.
    pub const fn slot_pages(self) -> usize {
        (self.slot_bytes() / PAGE_BYTES) as usize
    }

    /// How many slots there can be.
    pub const fn slots(self) -> u64 {
        STACK_CLASS_BYTES / self.slot_bytes()
    }

    const fn region(self) -> u64 {
        STACKS + self.0 as u64 * STACK_CLASS_BYTES
    }
}

/// A slot's place: class and number. It says nothing about what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The size class.
    pub class: SizeClass,
    /// The number within the class.
    pub number: u64,
}

impl Slot {
    /// The slot that an address lies in: a comparison, a shift and a division by a power of two; never `current`.
    pub fn of(address: VirtAddr) -> Option<Self> {
        let offset = address.as_u64().checked_sub(STACKS)?;
        let class = offset / STACK_CLASS_BYTES;
        if class >= CLASSES as u64 {
            return None;
        }
        let class = SizeClass(class as u8);
        Some(Self { class, number: (offset % STACK_CLASS_BYTES) / class.slot_bytes() })
    }

    /// The lowest address: that of the lowest guard page.
    pub fn base(self) -> VirtAddr {
        VirtAddr::new(self.class.region() + self.number * self.class.slot_bytes())
    }

    /// The lowest address of the stack: below it are the guard pages.
    pub fn limit(self, guard: Guard) -> VirtAddr {
        VirtAddr::new(self.top().as_u64() - self.class.stack_bytes(guard))
    }

    /// The address behind the stack's highest byte.
    pub fn top(self) -> VirtAddr {
        VirtAddr::new(self.base().as_u64() + self.class.slot_bytes())
    }
}

/// What the entry of a slot's lowest guard page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The slot was never used, or its stack is kept for the next thread.
    Unowned,
    /// It is the stack of this thread.
    Owner(NonNull<Thread>),
    /// It is free, and what frames it has rest.
    Free {
        /// The next free slot of the class, if there is one.
        next: Option<u64>,
        /// The generation of the slot's last rest, for the next one to go on from.
        generation: u32,
    },
}

/// Marks a note that is no pointer. Bit 0 stays clear in every note: the entry is not present.
const FREE: u64 = 0b10;

/// In the note of a free slot: bits 2 to 39 hold the next one's number, counted from 1, and the rest the generation.
const GENERATION_SHIFT: u32 = 40;
const NEXT_MASK: u64 = (1 << (GENERATION_SHIFT - 2)) - 1;

impl Note {
    /// Reads a note.
    pub fn load(entry: &AtomicU64) -> Self {
        let word = entry.load(Ordering::Acquire);
        if word & FREE != 0 {
            let next = (word >> 2 & NEXT_MASK).checked_sub(1);
            return Self::Free { next, generation: (word >> GENERATION_SHIFT) as u32 };
        }
        NonNull::new(core::ptr::with_exposed_provenance_mut(word as usize)).map_or(Self::Unowned, Self::Owner)
    }

    /// Writes a note.
    pub fn store(self, entry: &AtomicU64) {
        let word = match self {
            Self::Unowned => 0,
            Self::Owner(thread) => thread.as_ptr().expose_provenance() as u64,
            Self::Free { next, generation } => {
                FREE | next.map_or(0, |number| number + 1) << 2 | u64::from(generation) << GENERATION_SHIFT
            }
        };
        entry.store(word, Ordering::Release);
    }
}

const _: () = {
    let mut class = 0;
    while class < CLASSES as u8 {
        let class_is = SizeClass(class);
        assert!(class_is.stack_pages(Guard::Half) < class_is.slot_pages(), "the note's entry is one of the guard's");
        assert!(class_is.stack_pages(Guard::Page) < class_is.slot_pages(), "the note's entry is one of the guard's");
        class += 1;
    }
};
const _: () = assert!(align_of::<Thread>() >= 4, "a note's two lowest bits are not part of a thread's address");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_serve_what_the_design_names() {
        let class = SizeClass::for_stack(16 << 10, Guard::Half).unwrap();
        assert_eq!((class.slot_bytes(), class.stack_pages(Guard::Half)), (32 << 10, 4));
        assert_eq!(SizeClass::for_stack(16 << 10, Guard::Page), Some(class));
        assert_eq!((class.stack_pages(Guard::Page), class.slot_pages()), (7, 8));
        assert_eq!(SizeClass::for_stack(1, Guard::Half).unwrap().stack_bytes(Guard::Half), 8 << 10);
        assert_eq!(SizeClass::for_stack(1 << 20, Guard::Half).unwrap().slot_bytes(), 2 << 20);
        assert_eq!(SizeClass::for_stack((1 << 20) + 1, Guard::Half), None);
    }

    #[test]
    fn addresses_outside_the_range_have_no_slot() {
        assert_eq!(Slot::of(VirtAddr::new(STACKS - 1)), None);
        assert_eq!(Slot::of(VirtAddr::new(STACKS + CLASSES as u64 * STACK_CLASS_BYTES)), None);
    }

    proptest! {
        #[test]
        fn every_byte_of_a_slot_finds_it(class in 0..CLASSES as u8, number: u64, offset: u64) {
            let class = SizeClass(class);
            let slot = Slot { class, number: number % class.slots() };
            let address = VirtAddr::new(slot.base().as_u64() + offset % class.slot_bytes());
            prop_assert_eq!(Slot::of(address), Some(slot));
            prop_assert_eq!(slot.base().as_u64() % class.slot_bytes(), 0);
            prop_assert_eq!(slot.limit(Guard::Page).as_u64() >> 21, (slot.top().as_u64() - 1) >> 21);
        }

        #[test]
        fn notes_survive_their_encoding(next in proptest::option::of(0..1u64 << 24), generation in 0..1u32 << 24) {
            let entry = AtomicU64::new(0);
            prop_assert_eq!(Note::load(&entry), Note::Unowned);
            let note = Note::Free { next, generation };
            note.store(&entry);
            prop_assert_eq!(Note::load(&entry), note);
            prop_assert_eq!(entry.load(Ordering::Relaxed) & 1, 0);
        }
    }
}

//! The pages of a stack, against a plain model of what each entry should say.
#![expect(unsafe_code, reason = "the contract of paging is an unsafe trait")]

use std::boxed::Box;
use std::collections::BTreeSet;
use std::vec::Vec;

use memory_addresses::{PhysAddr, VirtAddr};
use proptest::prelude::*;

use crate::arch::{Access, PAGE_BYTES, Paging, StackEntry, TableEntry};
use crate::stack::entries::page_entry;
use crate::stack::page::{NoFrame, Stack};
use crate::stack::policy::{NewStack, StackPolicy};
use crate::stack::ring::Ring;
use crate::stack::slot::{Guard, SizeClass, Slot};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::system::System;
use core::ptr::NonNull;

/// Entries of the stack range in the plainest encoding; nothing else of paging is used here.
struct Plain;

// SAFETY: no page walker reads these entries.
unsafe impl Paging for Plain {
    const GENERATION_BITS: u32 = 4;

    const ACCESSED: u64 = 1 << 3;

    fn encode_table(_: PhysAddr) -> u64 {
        unimplemented_by_design()
    }

    fn encode_leaf(_: PhysAddr, _: Access, _: u32) -> u64 {
        unimplemented_by_design()
    }

    fn decode(_: u64, _: u32) -> TableEntry {
        unimplemented_by_design()
    }

    fn encode_stack(entry: StackEntry) -> u64 {
        match entry {
            StackEntry::Empty => 0,
            StackEntry::Present { frame } => frame.as_u64() | 1,
            StackEntry::Resting { frame, generation } => frame.as_u64() | u64::from(generation) << 4 | 2,
        }
    }

    fn decode_stack(entry: u64) -> StackEntry {
        let frame = PhysAddr::new(entry & !0xfff);
        match entry & 3 {
            0 => StackEntry::Empty,
            1 => StackEntry::Present { frame },
            _ => StackEntry::Resting { frame, generation: (entry >> 4 & 0xf) as u32 },
        }
    }

    fn publish() {}

    fn invalidate_local(_: VirtAddr) {}

    fn invalidate_all_local() {}

    fn invalidate_everywhere<S: System>(_: impl Iterator<Item = VirtAddr>) {}

    unsafe fn activate(_: PhysAddr) {}
}

/// A policy that nobody asks.
pub(crate) struct Unasked;

impl StackPolicy for Unasked {
    const NAME: &'static str = "unasked";

    fn on_spawn(_: &mut NewStack<'_>) -> Result<(), NoFrame> {
        unimplemented_by_design()
    }
}

fn unimplemented_by_design() -> ! {
    panic!("a stack's pages need the entries of the stack range alone")
}

/// A stack of 16 KiB whose eight entries are the test's own, and frames that are told apart by number.
struct Machine {
    stack: Stack,
    top: NonNull<AtomicU64>,
    ring: Ring,
    next_frame: u64,
}

impl Machine {
    fn new() -> Self {
        let entries = Box::leak(Box::new(core::array::from_fn::<_, 8, _>(|_| AtomicU64::new(0))));
        let top = NonNull::from(&entries[7]);
        let slot = Slot { class: SizeClass::for_stack(16 << 10, Guard::Half).unwrap(), number: 3 };
        // SAFETY: the entries are the stack's own, and empty.
        let stack = unsafe { Stack::new(slot, Guard::Half, top, 0) };
        Self { stack, top, ring: Ring::new(), next_frame: 1 }
    }

    fn populate(&mut self, pages: usize) {
        let next = &mut self.next_frame;
        let new_frame = || {
            *next += 1;
            Some(PhysAddr::new(*next * PAGE_BYTES))
        };
        self.stack.populate::<Plain, Unasked>(pages, new_frame).unwrap();
    }

    fn entries(&self) -> Vec<StackEntry> {
        (0..4).map(|page| Plain::decode_stack(page_entry(self.top, page).load(Ordering::Relaxed))).collect()
    }

    /// Frees the oldest note's pages, as the stack cache does; returns how many were freed.
    fn free_oldest(&mut self) -> usize {
        let Some(note) = self.ring.pop() else { return 0 };
        let pages: Vec<_> = note.resting::<Plain>().collect();
        pages.iter().filter_map(|page| page.free::<Plain>()).count()
    }
}

fn frame_of(entry: StackEntry) -> Option<u64> {
    match entry {
        StackEntry::Empty => None,
        StackEntry::Present { frame } | StackEntry::Resting { frame, .. } => Some(frame.as_u64()),
    }
}

#[test]
fn live_pages_are_those_at_or_above_the_stack_pointer() {
    let machine = Machine::new();
    let top = machine.stack.top().as_u64();
    let live = |below: u64| machine.stack.live_pages(VirtAddr::new(top - below)).unwrap();
    assert_eq!((live(0), live(1), live(4096), live(4097), live(16 << 10)), (1, 1, 1, 2, 4));
    assert!(machine.stack.live_pages(VirtAddr::new(top + 1)).is_err(), "above the stack");
    assert!(machine.stack.live_pages(VirtAddr::new(top - (16 << 10) - 1)).is_err(), "in the guard");
}

#[test]
fn what_rests_is_taken_back_with_its_own_frame() {
    let mut machine = Machine::new();
    machine.populate(4);
    let before = machine.entries();
    assert_eq!(machine.stack.rest::<Plain, Unasked>(1, &mut machine.ring).pages, 3);
    assert!(matches!(machine.entries()[..], [StackEntry::Present { .. }, StackEntry::Resting { .. }, ..]));
    assert_eq!(machine.stack.take_back_resting::<Plain, Unasked>(), 0);
    assert_eq!(machine.entries(), before);
    assert_eq!(machine.free_oldest(), 0, "the note is stale: nothing rests with its generation");
}

#[test]
fn a_note_of_an_older_rest_frees_nothing_that_rests_anew() {
    let mut machine = Machine::new();
    machine.populate(4);
    machine.stack.rest::<Plain, Unasked>(1, &mut machine.ring);
    machine.populate(3);
    machine.stack.rest::<Plain, Unasked>(1, &mut machine.ring);
    assert_eq!(machine.free_oldest(), 1, "pages 1 and 2 rested again since: another generation");
    assert_eq!(machine.free_oldest(), 2);
    assert_eq!(machine.entries()[1..], [StackEntry::Empty; 3]);
}

#[test]
fn a_stack_that_was_wholly_taken_back_renews_its_note() {
    let mut machine = Machine::new();
    machine.populate(4);
    for _ in 0..3 {
        machine.stack.rest::<Plain, Unasked>(1, &mut machine.ring);
        machine.populate(4);
    }
    machine.stack.rest::<Plain, Unasked>(2, &mut machine.ring);
    assert_eq!(machine.ring.len(), 1);
    assert_eq!(machine.free_oldest(), 2, "the note says what rests now");
}

#[test]
fn a_place_in_the_ring_that_another_stack_has_by_now_is_not_written_over() {
    let (mut first, mut second) = (Machine::new(), Machine::new());
    first.populate(4);
    first.stack.rest::<Plain, Unasked>(1, &mut first.ring);
    first.populate(4);
    assert_eq!(first.free_oldest(), 0);
    second.populate(4);
    // Both notes were the first of a ring: the same place.
    core::mem::swap(&mut first.ring, &mut second.ring);
    second.stack.rest::<Plain, Unasked>(1, &mut first.ring);
    first.stack.rest::<Plain, Unasked>(1, &mut first.ring);
    assert_eq!(first.ring.len(), 2);
    assert_eq!((first.free_oldest(), first.free_oldest()), (3, 3));
}

#[test]
fn compaction_drops_stale_notes_and_keeps_the_order_of_the_others() {
    let mut machine = Machine::new();
    machine.populate(4);
    machine.stack.rest::<Plain, Unasked>(1, &mut machine.ring);
    for _ in 0..2 {
        machine.populate(2);
        machine.stack.rest::<Plain, Unasked>(1, &mut machine.ring);
    }
    assert_eq!(machine.ring.len(), 3);
    machine.ring.compact::<Plain>();
    assert_eq!(
        machine.ring.len(),
        2,
        "page 1 rests with the last note's generation, pages 2 and 3 with the first one's"
    );
    assert_eq!((machine.free_oldest(), machine.free_oldest()), (2, 1));
}

proptest! {
    /// Whatever is rested, taken back and freed in between: the populated pages are the top ones without a hole, no
    /// frame is in two places, and the top page never goes.
    #[test]
    fn pages_keep_their_rules(steps in proptest::collection::vec((0..3u8, 1..5usize), 1..60)) {
        let mut machine = Machine::new();
        machine.populate(1);
        let top_frame = frame_of(machine.entries()[0]);
        for (what, pages) in steps {
            match what {
                0 => machine.populate(pages),
                1 if machine.ring.has_room() => {
                    machine.stack.rest::<Plain, Unasked>(pages, &mut machine.ring);
                }
                _ => {
                    machine.free_oldest();
                }
            }
            let entries = machine.entries();
            let present = |entry: &&StackEntry| matches!(entry, StackEntry::Present { .. });
            prop_assert_eq!(entries.iter().take_while(present).count(), machine.stack.populated());
            prop_assert_eq!(entries.iter().filter(present).count(), machine.stack.populated());
            prop_assert_eq!(machine.stack.absent() + machine.stack.populated(), 4);
            prop_assert_eq!(frame_of(entries[0]), top_frame);
            let frames: Vec<_> = entries.into_iter().filter_map(frame_of).collect();
            prop_assert_eq!(frames.iter().collect::<BTreeSet<_>>().len(), frames.len());
        }
    }
}

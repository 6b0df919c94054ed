//! A stack page's entry, between the holder, who lets the page rest and takes it back, and CPUs that free it.
#![expect(unsafe_code, reason = "the contract of paging is an unsafe trait")]

use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use loom::thread;
use memory_addresses::{PhysAddr, VirtAddr};

use super::explore;
use crate::arch::{Access, PAGE_BYTES, Paging, StackEntry, TableEntry};
use crate::stack::ring::{RestNote, Ring};
use crate::stack::tests::Unasked;
use crate::stack::{Guard, SizeClass, Slot, Stack};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::system::System;

/// Entries in the plainest encoding, with generations of so many bits.
struct Plain<const GENERATION_BITS: u32>;

// SAFETY: no page walker reads these entries.
unsafe impl<const GENERATION_BITS: u32> Paging for Plain<GENERATION_BITS> {
    const GENERATION_BITS: u32 = GENERATION_BITS;

    const ACCESSED: u64 = 1 << 3;

    fn encode_table(_: PhysAddr) -> u64 {
        panic!("a model has no tables")
    }

    fn encode_leaf(_: PhysAddr, _: Access, _: u32) -> u64 {
        panic!("a model has no leaves but those of stacks")
    }

    fn decode(_: u64, _: u32) -> TableEntry {
        panic!("a model has no tables")
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
            _ => StackEntry::Resting { frame, generation: (entry >> 4 & 0xff) as u32 },
        }
    }

    fn publish() {}

    fn invalidate_local(_: VirtAddr) {}

    fn invalidate_all_local() {}

    fn invalidate_everywhere<S: System>(_: impl Iterator<Item = VirtAddr>) {}

    unsafe fn activate(_: PhysAddr) {}
}

/// Frames, and what CPUs remember of the one page that this is about: page 1 of a stack of two.
///
/// What is not loom's only keeps the books: it takes no turn, and orders nothing.
struct Machine {
    /// How many frames were ever handed out; each has a number of its own.
    handed_out: AtomicU32,
    /// Frames that were freed.
    free: Mutex<BTreeSet<PhysAddr>>,
    /// The frame that a TLB says the page has, or [`NOWHERE`]. A CPU fills it when it touches the page. Always read and
    /// written at once: a TLB has no old values.
    cached: AtomicU64,
}

/// No TLB knows the page.
const NOWHERE: u64 = 0;

impl Machine {
    fn new() -> Arc<Self> {
        Arc::new(Self { handed_out: AtomicU32::new(0), free: Mutex::default(), cached: AtomicU64::new(NOWHERE) })
    }

    fn allocate(&self) -> PhysAddr {
        let number = self.handed_out.fetch_add(1, Ordering::Relaxed) + 1;
        PhysAddr::new(u64::from(number) * PAGE_BYTES)
    }

    fn is_free(&self, frame: PhysAddr) -> bool {
        self.free.lock().unwrap().contains(&frame)
    }

    /// The holder populates its stack and touches the page.
    fn populate<P: Paging>(&self, stack: &mut Stack, entry: &AtomicU64) {
        stack.populate::<P, Unasked>(2, || Some(self.allocate())).unwrap();
        let StackEntry::Present { frame } = P::decode_stack(entry.load(Ordering::Relaxed)) else {
            panic!("a page that was populated is absent");
        };
        assert!(!self.is_free(frame), "a frame that was freed was taken back");
        let cached = self.cached.swap(frame.as_u64(), Ordering::AcqRel);
        assert!([NOWHERE, frame.as_u64()].contains(&cached), "the page has another frame than a TLB says");
    }

    /// A CPU frees what a note names, as `stack::cache` does.
    fn free<P: Paging>(&self, note: RestNote) {
        let pages: Vec<_> = note.resting::<P>().collect();
        self.cached.swap(NOWHERE, Ordering::AcqRel);
        for frame in pages.iter().filter_map(|page| page.free::<P>()) {
            let cached = self.cached.fetch_add(0, Ordering::AcqRel);
            assert_ne!(cached, frame.as_u64(), "a frame was freed that a TLB still maps");
            assert!(self.free.lock().unwrap().insert(frame), "a frame was freed twice");
        }
    }
}

/// A stack of two pages whose four entries are the model's own, and the entry of page 1.
fn new_stack() -> (Stack, &'static AtomicU64) {
    let entries = Box::leak(Box::new(std::array::from_fn::<_, 4, _>(|_| AtomicU64::new(0))));
    let slot = Slot { class: SizeClass::for_stack(2 * PAGE_BYTES, Guard::Half).unwrap(), number: 0 };
    // SAFETY: the entries are the stack's own, and empty.
    let stack = unsafe { Stack::new(slot, Guard::Half, NonNull::from(&entries[3]), 0) };
    (stack, &entries[2])
}

/// While the holder takes the page back and lets it rest again, `flushers` CPUs free it by notes of earlier rests.
fn races<const GENERATION_BITS: u32>(flushers: usize, turns: Option<usize>) {
    explore(turns, move || {
        let machine = Machine::new();
        let (mut stack, entry) = new_stack();
        let mut ring = Ring::new();
        let mut rest = |stack: &mut Stack| {
            stack.rest::<Plain<GENERATION_BITS>, Unasked>(1, &mut ring);
            ring.pop().expect("something rests")
        };
        let flush = |_| {
            machine.populate::<Plain<GENERATION_BITS>>(&mut stack, entry);
            let note = rest(&mut stack);
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.free::<Plain<GENERATION_BITS>>(note))
        };
        let flushers: Vec<_> = (0..flushers).map(flush).collect();
        machine.populate::<Plain<GENERATION_BITS>>(&mut stack, entry);
        rest(&mut stack);
        for flusher in flushers {
            flusher.join().unwrap();
        }
        // The top page's frame is one that is in use; this page's the other, if it has one.
        let in_use = match Plain::<GENERATION_BITS>::decode_stack(entry.load(Ordering::Relaxed)) {
            StackEntry::Resting { frame, .. } => {
                assert!(!machine.is_free(frame), "a frame rests, and is free");
                2
            }
            StackEntry::Empty => 1,
            StackEntry::Present { .. } => panic!("the page was let rest"),
        };
        let freed = machine.free.lock().unwrap().len();
        assert_eq!(freed + in_use, machine.handed_out.load(Ordering::Relaxed) as usize, "a frame got lost");
    });
}

#[test]
fn what_one_cpu_frees_is_cached_nowhere() {
    races::<8>(1, None);
}

#[test]
fn what_two_cpus_free_is_cached_nowhere() {
    // All orders would take a minute; loom's manual says that 2 or 3 turns find nearly everything.
    races::<8>(2, Some(3));
}

/// The hole that the generation closes: freed by the note of an older rest, though it was touched in between.
#[test]
#[should_panic(expected = "a TLB still maps")]
fn without_generations_a_frame_is_freed_that_is_still_cached() {
    races::<0>(1, None);
}

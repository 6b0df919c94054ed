//! The whole machine: every slot, this CPU's cache, the heap, and every free frame.
#![expect(unsafe_code, reason = "follows the notes of slots to their threads")]

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::AtomicPtr;

use memory_addresses::{PhysAddr, VirtAddr};

use super::chains::Chains;
use super::depth::Ended;
use super::faults::Faults;
use super::{broken, threads};
use crate::arch::{PAGE_BYTES, Paging, StackEntry};
use crate::kernel::Count;
use crate::memory::layout::HEAP;
use crate::stack::temporary::{self, left_in};
use crate::stack::{self, Guard, Note, SizeClass, Slot, StackPolicy};
use crate::sync::SpinLock;
use crate::sync::atomic::Ordering;
use crate::system::System;
use crate::thread::Thread;

/// What an audit keeps, once it is prepared: other builds have one null pointer of it.
#[derive(Debug)]
pub(crate) struct State(AtomicPtr<Kept>);

/// The same.
#[derive(Debug)]
pub(super) struct Kept {
    /// Which frames a walk has met, one bit each.
    met: SpinLock<Vec<u64>>,
    /// How deep the threads went that have ended.
    pub(super) ended: Ended,
    /// Where stacks went, if the run asks for that.
    pub(super) chains: Option<Chains>,
    /// What goes wrong on purpose.
    pub(super) faults: Faults,
}

impl State {
    /// Creates the state of a build that does not audit.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// What is kept, if it was prepared.
    pub(super) fn kept(&self) -> Option<&Kept> {
        // SAFETY: `prepare` alone sets it, to what is never freed.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}

pub(super) fn prepare<S: System>(frames: usize, command_line: &str) {
    let met = SpinLock::new(vec![0; frames.div_ceil(64)]);
    let chains = S::kernel().settings.reports_chains().then(Chains::new);
    let kept = Box::new(Kept { met, ended: Ended::new(), chains, faults: Faults::new(command_line) });
    S::kernel().audit.0.store(Box::into_raw(kept), Ordering::Release);
}

/// A walk over everything that has frames.
struct Walk<'a> {
    met: &'a mut [u64],
}

impl Walk<'_> {
    /// Notes that `what` has a frame, and says whether something else has it too.
    fn meet<S: System>(&mut self, frame: PhysAddr, what: fmt::Arguments<'_>) {
        let number = (frame.as_u64() / PAGE_BYTES) as usize;
        let Some(word) = self.met.get_mut(number / 64) else {
            broken::<S>(4, format_args!("{what} has frame {frame:#x}, which is no memory"));
        };
        if *word & 1 << (number % 64) != 0 {
            broken::<S>(4, format_args!("{what} has frame {frame:#x}, and something else has it too"));
        }
        *word |= 1 << (number % 64);
    }
}

/// Checks invariants 2, 4, 5 and 10 of every slot, and that no frame is in two places. Interrupts are off, in the second half
/// of a switch: nobody on this CPU holds a lock, since holders are never switched out. The other CPUs stand still; where one
/// of them holds a lock, what that guards may be half changed, and nothing is checked.
pub(super) fn check<S: System>() {
    let kernel = S::kernel();
    let Some(kept) = kernel.audit.kept() else { return };
    let classes_are_free = kernel.stacks.classes.iter().all(|class| class.is_free()) && kernel.left_stacks.is_free();
    if !(classes_are_free && kernel.frames.is_free() && kernel.table_lock.is_free()) {
        return;
    }
    kept.met.locked::<S, _>(|met| {
        met.fill(0);
        let mut walk = Walk { met };
        for class in SizeClass::all() {
            S::kernel().stacks.classes[class.index()].locked::<S, _>(|slots| {
                (0..slots.used).for_each(|number| check_slot::<S>(&mut walk, Slot { class, number }));
            });
        }
        for cpu in S::kernel().cpus() {
            cpu.with_stack_cache(|cache| {
                cache.frames().for_each(|frame| walk.meet::<S>(frame, format_args!("a stack cache")));
            });
            cpu.fault_reserve.frames().for_each(|frame| walk.meet::<S>(frame, format_args!("a fault reserve")));
            if let Some(frame) = cpu.spare.frame() {
                walk.meet::<S>(frame, format_args!("what is set by for emergency pages"));
            }
        }
        for page in 0..S::kernel().accounts.heap.get() as u64 {
            let page = VirtAddr::new(HEAP + page * PAGE_BYTES);
            if let Some((frame, _)) = S::kernel().tables::<S>().translate(page) {
                walk.meet::<S>(frame, format_args!("the heap"));
            }
        }
        S::kernel().frames.locked::<S, _>(|frames| {
            let mut free = 0;
            frames.for_each_free(|frame| {
                free += 1;
                walk.meet::<S>(frame, format_args!("the frame allocator"));
            });
            let counted = frames.counts().free;
            if free != counted {
                broken::<S>(4, format_args!("{free} frames are free, and {counted} are counted"));
            }
        });
    });
}

fn check_slot<S: System>(walk: &mut Walk<'_>, slot: Slot) {
    let Some(entries) = stack::entries::<S>(slot) else { return };
    let (pages, whose) = (slot.class.stack_pages(S::Policy::GUARD), Whose(slot, S::Policy::GUARD));
    let (mut present, mut hole) = (0, false);
    for page in 0..pages {
        match S::Arch::decode_stack(entries.page(page).load(Ordering::Relaxed)) {
            StackEntry::Present { frame } => {
                walk.meet::<S>(frame, format_args!("{whose}"));
                if hole {
                    broken::<S>(1, format_args!("page {page} of {whose} is present below one that is not"));
                }
                present += 1;
            }
            StackEntry::Resting { frame, .. } => {
                walk.meet::<S>(frame, format_args!("{whose}"));
                hole = true;
            }
            StackEntry::Empty => hole = true,
        }
    }
    let emergency = has_emergency_page(entries.note(), slot);
    if emergency
        && let StackEntry::Present { frame } = S::Arch::decode_stack(entries.page(pages).load(Ordering::Relaxed))
    {
        walk.meet::<S>(frame, format_args!("{whose}"));
        present += 1;
    }
    let guard = pages + usize::from(emergency)..slot.class.slot_pages();
    threads::check_guard::<S>(&whose, guard, |page| entries.page(page).load(Ordering::Relaxed));
    match entries.note() {
        Note::Owner(owner) => {
            // SAFETY: the owner is cleared, under the class's lock, before its thread is freed.
            let thread: &Thread = unsafe { owner.as_ref() };
            let running = S::kernel().cpus().any(|cpu| cpu.current().is_some_and(|t| core::ptr::eq(t, thread)));
            let left = left_in::<S>(thread, slot).map_or(slot.top(), |(left, _)| left);
            let live = (slot.top() - left).div_ceil(PAGE_BYTES) as usize;
            // Where stacks grow from faults, the lowest part of a frame has no page before it is touched.
            if present < if running || S::Policy::GROWS_ON_FAULT { 1 } else { live.max(1) } {
                broken::<S>(2, format_args!("{live} pages of {thread} are live, and {present} are present"));
            }
        }
        Note::Free { .. } if present > 0 => {
            broken::<S>(4, format_args!("{whose} is free, and {present} pages are present"));
        }
        Note::Free { .. } | Note::Unowned => {}
    }
}

/// Says whether the thread that owns a slot has its emergency page.
fn has_emergency_page(note: Note, slot: Slot) -> bool {
    // SAFETY: as above: the walk holds the class's lock.
    matches!(note, Note::Owner(owner) if temporary::has_emergency_page(unsafe { owner.as_ref() }, slot))
}

/// Free frames, heap, page tables, user mode's memory and the stack range are all the frames there are: invariant 4.
pub(super) fn check_conservation<S: System>() {
    let sample = stack::sample::<S>();
    let kernel = S::kernel();
    let counts = kernel.frames.with::<S, _>(|frames| frames.counts());
    let accounts = &kernel.accounts;
    let [tables, heap, user, emergency] =
        [&accounts.tables, &accounts.heap, &accounts.user, &accounts.emergency].map(Count::get);
    let found = counts.free + tables + heap + user + emergency + sample.range;
    if found != counts.total {
        broken::<S>(
            4,
            format_args!(
                "there are {} frames, and {found} are accounted for: {} free, {tables} in page tables, {heap} in the heap, \
                 {user} in user mode's memory, {emergency} for emergency pages, {} in the stack range",
                counts.total, counts.free, sample.range
            ),
        );
    }
}

/// A slot's name in a report.
struct Whose(Slot, Guard);

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stack at {:#x}..{:#x}", self.0.limit(self.1), self.0.top())
    }
}

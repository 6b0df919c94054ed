//! The range of kernel stacks: slots that are handed out, kept, and found again by address.
//!
//! A stack that its thread no longer needs is kept with its frames (a few for each class), last in first out: that
//! makes a spawn cheap without any invalidation. Beyond that its pages rest like all others, and the slot is linked
//! into its class's list of free slots, through the slots' own notes.
#![expect(unsafe_code, reason = "hands out slots, each to one owner")]

use core::fmt;
use core::ptr::NonNull;

use align_address::Align;
use heapless::Vec;
use memory_addresses::VirtAddr;

use crate::arch::{PAGE_BYTES, Paging, StackEntry};
use crate::cpu;
use crate::memory::admission::{self, Overcommitted};
use crate::memory::heap;
use crate::memory::table::OutOfFrames;
use crate::stack::ensure::asks_for_more;
use crate::stack::page::{NoFrame, Stack};
use crate::stack::policy::{NewStack, StackPolicy, populate_from_allocator};
use crate::stack::ring::{MAX_NOTE_PAGES, Ring};
use crate::stack::slot::{CLASSES, MAX_POLICY_STACK_BYTES, MAX_STACK_BYTES, Note, SizeClass, Slot};
use crate::stack::{emergency, entries, free_absent, free_resting, refill, trim};
use crate::sync::SpinLock;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::system::System;
use crate::thread::{self, Thread, from_pointer, reclaimer, stack_wait};

/// How many stacks without a thread each class keeps with their frames. Classes of stacks that are always populated
/// keep none: they would tie up too much.
const KEPT: usize = 8;

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackError {
    /// More bytes were asked for than the largest class has.
    TooLarge {
        /// Bytes asked for.
        bytes: u64,
    },
    /// The class has no slot left.
    NoSlot,
    /// There is no frame, for a page or for a page table.
    NoFrame {
        /// Frames that are free.
        free: usize,
    },
    /// Admission is strict, and the frames that there are for stacks are promised to the living threads.
    Overcommitted(Overcommitted),
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(f, "a stack of {bytes} bytes is too large: at most {MAX_STACK_BYTES} are possible; ask for less")
            }
            Self::NoSlot => f.write_str("all slots of this stack size are in use; end threads or use another size"),
            Self::NoFrame { free } => write!(
                f,
                "no memory for another kernel stack ({free} frames of 4 KiB are free); give the machine more memory \
                 or spawn fewer threads"
            ),
            Self::Overcommitted(overcommitted) => {
                write!(
                    f,
                    "{overcommitted}; give the machine more memory, spawn fewer threads, or admit them by `overcommit`"
                )
            }
        }
    }
}

impl core::error::Error for StackError {}

/// The slots of one class.
#[derive(Debug)]
pub(crate) struct Class {
    /// Slots below this number were used.
    pub(crate) used: u64,
    /// The first free slot.
    free: Option<u64>,
    /// Stacks without a thread that are kept with their frames.
    kept: Vec<Stack, KEPT>,
}

/// All classes.
#[derive(Debug)]
pub struct StackRange {
    pub(crate) classes: [SpinLock<Class>; CLASSES],
}

impl StackRange {
    /// Creates a range of which no slot was ever used.
    pub const fn new() -> Self {
        Self { classes: [const { SpinLock::new(Class { used: 0, free: None, kept: Vec::new() }) }; CLASSES] }
    }
}

impl Default for StackRange {
    fn default() -> Self {
        Self::new()
    }
}

/// The thread that an address of the stack range belongs to, with its slot; found from the address alone.
///
/// Takes no lock: a trap handler may ask about the stack of the thread that it interrupted, which is alive.
pub(crate) fn owner<S: System>(address: VirtAddr) -> Option<(Slot, Option<&'static Thread>)> {
    let slot = Slot::of(address)?;
    let owner = top_entry::<S>(slot).and_then(|top| match entries::note(slot, top) {
        Note::Owner(thread) => from_pointer(thread.as_ptr()),
        _ => None,
    });
    Some((slot, owner))
}

/// Says whether the page of an address in a slot's stack is populated, from its entry.
pub(crate) fn is_populated<S: System>(slot: Slot, address: VirtAddr) -> bool {
    let page = ((slot.top() - address - 1) / PAGE_BYTES) as usize;
    page < slot.class.stack_pages(S::Policy::GUARD)
        && top_entry::<S>(slot).is_some_and(|top| is_present::<S>(entries::page_entry(top, page)))
}

/// Number of pages of a slot's stack that are populated, from its entries.
pub(crate) fn populated<S: System>(slot: Slot) -> usize {
    let Some(top) = top_entry::<S>(slot) else { return 0 };
    (0..slot.class.stack_pages(S::Policy::GUARD))
        .filter(|page| is_present::<S>(entries::page_entry(top, *page)))
        .count()
}

fn is_present<S: System>(entry: &AtomicU64) -> bool {
    matches!(S::Arch::decode_stack(entry.load(Ordering::Relaxed)), StackEntry::Present { .. })
}

/// The leaf entry of a slot's top page, if the slot was ever used.
#[inline(never)]
pub(crate) fn top_entry<S: System>(slot: Slot) -> Option<NonNull<AtomicU64>> {
    S::kernel().tables::<S>().find(top_page(slot), 0)
}

/// Who says which pages of a stack are populated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Nobody: all are, always.
    Always,
    /// The policy, for a thread that stays in the kernel.
    OfKernelThread,
    /// The policy, for one that goes to user mode.
    OfUserThread,
}

/// Takes a stack of at least `bytes`, populated as the policy starts a thread, or wholly.
///
/// # Errors
///
/// There is no slot or no memory, or the stack would be too large.
pub(crate) fn allocate<S: System>(bytes: u64, pages: Pages) -> Result<Stack, StackError> {
    let class = SizeClass::for_stack(bytes, S::Policy::GUARD).ok_or(StackError::TooLarge { bytes })?;
    match try_allocate::<S>(class, pages) {
        Err(StackError::NoFrame { .. } | StackError::Overcommitted(_)) => {
            collect::<S>();
            match try_allocate::<S>(class, pages) {
                Err(StackError::NoFrame { .. }) => allocate_from_others::<S>(class, pages),
                result => result,
            }
        }
        result => result,
    }
}

/// The same, once the other CPUs have given up what they can.
#[cold]
#[inline(never)]
fn allocate_from_others<S: System>(class: SizeClass, pages: Pages) -> Result<Stack, StackError> {
    stack_wait::collect_from_others::<S>();
    // The stacks that they have reaped are kept for all.
    collect::<S>();
    try_allocate::<S>(class, pages)
}

/// Brings together what frames nobody uses: before a stack is refused its own.
#[cold]
#[inline(never)]
pub(crate) fn collect<S: System>() {
    thread::reap::<S>();
    recycle::<S>();
    // What was freed just now came into the cache first, which a spawn takes nothing from.
    cpu::without_preemption::<S, _>(|| trim::<S>(cpu::this::<S>(), S::kernel().stack_reserve()));
    heap::trim::<S>();
    // Somebody may have been waiting for such for longer.
    stack_wait::frames_came::<S>();
}

fn try_allocate<S: System>(class: SizeClass, pages: Pages) -> Result<Stack, StackError> {
    admission::claim::<S>(class.stack_pages(S::Policy::GUARD)).map_err(StackError::Overcommitted)?;
    let stack = allocate_claimed::<S>(class, pages);
    if stack.is_err() {
        admission::give_up::<S>(class.stack_pages(S::Policy::GUARD));
    }
    stack
}

fn allocate_claimed<S: System>(class: SizeClass, pages: Pages) -> Result<Stack, StackError> {
    let mut stack = S::kernel().stacks.classes[class.index()].with::<S, _>(|slots| take::<S>(slots, class))?;
    stack.begin(pages == Pages::Always || class.stack_bytes(S::Policy::GUARD) > MAX_POLICY_STACK_BYTES);
    // The CPU that writes the entries makes them visible to the walkers: a thread that was moved between the two would do so
    // on another one.
    match cpu::without_preemption::<S, _>(|| populate_new::<S>(&mut stack, pages)) {
        Ok(()) => Ok(stack),
        Err(NoFrame) => {
            // Not kept: it has the last frames, and others may do with fewer.
            free::<S>(stack);
            cpu::without_preemption::<S, _>(|| free_resting::<S>(cpu::this::<S>()));
            stack_wait::frames_came::<S>();
            Err(no_frame::<S>())
        }
    }
}

/// Notes whose stack it is.
pub(crate) fn set_owner<S: System>(stack: &Stack, thread: &Thread) {
    Note::Owner(NonNull::from(thread)).store(stack.note(S::Policy::GUARD));
}

/// Takes back the stack of a thread that has ended: keeps it, or lets all its pages rest and frees the slot.
///
/// Runs in a thread (not the one that ended) with interrupts on.
pub(crate) fn release<S: System>(stack: Stack) {
    if stack.has_emergency_page() {
        emergency::take_back::<S>(&stack);
    }
    if asks_for_more::<S>() {
        // It may have survived by a page that is its stack's now.
        cpu::without_preemption::<S, _>(|| emergency::set_by::<S>(cpu::this::<S>()));
    }
    let class = stack.slot().class;
    admission::give_up::<S>(class.stack_pages(S::Policy::GUARD));
    let left = S::kernel().stacks.classes[class.index()].with::<S, _>(|slots| {
        // Under the lock, so that a walk of the range never meets the owner of a stack that is being released.
        Note::Unowned.store(stack.note(S::Policy::GUARD));
        // The next thread's would have what that has not asked for.
        let has_too_much = stack.populated() > S::Policy::PAGES_UNASKED;
        let is_large = class.stack_bytes(S::Policy::GUARD) > MAX_POLICY_STACK_BYTES;
        if is_large || has_too_much { Some(stack) } else { slots.kept.push(stack).err() }
    });
    if let Some(stack) = left {
        free::<S>(stack);
    }
}

/// Frees the stacks that are kept without a thread, what those that sleep do not need, and all that rests here: before it is said that
/// there is no memory.
///
/// Interrupts are on; preemption may be off.
pub(crate) fn recycle<S: System>() {
    for class in &S::kernel().stacks.classes {
        while let Some(stack) = class.with::<S, _>(|slots| slots.kept.pop()) {
            free::<S>(stack);
        }
    }
    reclaimer::press::<S>();
    cpu::without_preemption::<S, _>(|| free_resting::<S>(cpu::this::<S>()));
    stack_wait::frames_came::<S>();
}

/// Lets every page of a stack rest, in rests that a note can hold, and puts its slot on the free list.
#[inline(never)]
fn free<S: System>(mut stack: Stack) {
    cpu::without_preemption::<S, _>(|| {
        let cpu = cpu::this::<S>();
        while stack.populated() > 0 {
            if !cpu.with_stack_cache(|cache| cache.ring.has_room()) {
                refill::<S>(cpu, 0);
            }
            let keep = stack.populated().saturating_sub(MAX_NOTE_PAGES);
            cpu.with_stack_cache(|cache| {
                let rested = stack.rest::<S::Arch, S::Policy>(keep, &mut cache.ring);
                cache.counters.pages_rested += rested.pages as u64;
                if rested.is_new {
                    stack_wait::pages_rest::<S>();
                }
            });
        }
    });
    let slot = stack.slot();
    S::kernel().stacks.classes[slot.class.index()].with::<S, _>(|slots| {
        Note::Free { next: slots.free, generation: stack.generation() }.store(stack.note(S::Policy::GUARD));
        slots.free = Some(slot.number);
    });
}

fn populate_new<S: System>(stack: &mut Stack, pages: Pages) -> Result<(), NoFrame> {
    populate_new_entries::<S>(stack, pages)?;
    if S::Policy::READS_ACCESSED_BITS {
        stack.begin_accesses::<S::Arch>(S::kernel().settings.accessed());
    }
    Ok(())
}

#[inline(always)]
fn populate_new_entries<S: System>(stack: &mut Stack, pages: Pages) -> Result<(), NoFrame> {
    if stack.is_pinned() {
        return populate_from_allocator::<S>(stack, stack.pages());
    }
    S::Policy::on_spawn(&mut NewStack::new(stack, pages == Pages::OfUserThread, populate_from_allocator::<S>))?;
    assert!(stack.populated() > 0, "policy {} left a new thread without its top page", S::Policy::NAME);
    if S::Policy::SWEEPS {
        stack.set_lacking(stack.absent() > 0);
    }
    if !S::Policy::RUNS_POPULATED {
        forget_the_last_thread::<S>(stack);
    }
    Ok(())
}

/// The thread runs without what it has not got, so no CPU may know that any more: it would be used without a fault, and be lost when
/// somebody frees it. What the slot's last thread left at rest is taken back; or it is freed, where the next one is to
/// have no more than it asks for. Preemption is off.
fn forget_the_last_thread<S: System>(stack: &mut Stack) {
    if !asks_for_more::<S>() {
        stack.take_back_resting::<S::Arch, S::Policy>();
    } else {
        free_absent::<S>(cpu::this::<S>(), stack);
    }
}

/// There is no frame for a stack.
fn no_frame<S: System>() -> StackError {
    StackError::NoFrame { free: S::kernel().frames.with::<S, _>(|frames| frames.counts().free) }
}

/// A kept stack, else a free slot, else one that was never used.
fn take<S: System>(slots: &mut Class, class: SizeClass) -> Result<Stack, StackError> {
    if let Some(kept) = slots.kept.pop() {
        return Ok(kept);
    }
    if let Some(number) = slots.free {
        let slot = Slot { class, number };
        let top = top_entry::<S>(slot).expect("a slot that was used has its leaf table");
        let Note::Free { next, generation } = entries::note(slot, top) else {
            panic!("a slot on the free list is not free")
        };
        slots.free = next;
        // SAFETY: the slot was on the free list and is not any more; its pages are resting or empty.
        let stack = unsafe { Stack::new(slot, S::Policy::GUARD, top, generation) };
        Note::Unowned.store(stack.note(S::Policy::GUARD));
        return Ok(stack);
    }
    if slots.used == class.slots() {
        return Err(StackError::NoSlot);
    }
    let slot = Slot { class, number: slots.used };
    let top = S::kernel()
        .with_tables::<S, _>(|tables, new_table| tables.find_or_make(top_page(slot), 0, new_table))
        .map_err(|OutOfFrames| no_frame::<S>())?;
    slots.used += 1;
    // SAFETY: the slot was never used, so all its entries are empty; leaf tables are never freed.
    Ok(unsafe { Stack::new(slot, S::Policy::GUARD, top, 0) })
}

fn top_page(slot: Slot) -> VirtAddr {
    (slot.top() - PAGE_BYTES).align_down(PAGE_BYTES)
}

const _: () = assert!(size_of::<Ring>() < 1 << 14, "a CPU's ring stays within four frames");

//! The heap: `talc`, in a range of its own that grows frame by frame.
//!
//! The source of `talc` takes frames or fails, and never drains stack caches. It leaves the last frames to the
//! stacks: what the CPUs keep in reserve and the largest stack of a living thread; and if [admission] is strict, all that these
//! may come to need. Before a stack is refused its frames, those that are free at the heap's end go back.
#![expect(unsafe_code, reason = "maps what talc claims")]

use core::alloc::{GlobalAlloc, Layout};
use core::marker::PhantomData;
use core::ptr::NonNull;

use memory_addresses::{PhysAddr, VirtAddr};
use talc::TalcLock;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

use crate::arch::{Access, Cpu, PAGE_BYTES};
use crate::audit::faults;
use crate::memory::admission;
use crate::memory::layout::{HEAP, HEAP_BYTES};
use crate::memory::unmap::unmap;
use crate::sync::RawSpinLock;
use crate::system::System;
use crate::user;

/// The allocator that a composition root makes its `#[global_allocator]`.
///
/// In user mode it is the running thread's own heap ([`user`]).
pub struct Heap<S: System>(TalcLock<RawSpinLock<S>, HeapSource<S>>);

impl<S: System> Heap<S> {
    /// Creates a heap that has no memory yet.
    pub const fn new() -> Self {
        Self(TalcLock::new(HeapSource::new()))
    }
}

impl<S: System> core::fmt::Debug for Heap<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Heap").finish_non_exhaustive()
    }
}

impl<S: System> Default for Heap<S> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: each is one of two allocators, and what is allocated in user mode is given back there, since nothing of the kernel's
// heap is reached from there.
unsafe impl<S: System> GlobalAlloc for Heap<S> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if user::is_user_mode::<S>() {
            // SAFETY: the caller's promise.
            return unsafe { (user::heap_calls::<S>().allocate)(layout) };
        }
        // SAFETY: as above.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if user::is_user_mode::<S>() {
            // SAFETY: the caller's promise.
            return unsafe { (user::heap_calls::<S>().deallocate)(pointer, layout) };
        }
        // SAFETY: as above.
        unsafe { self.0.dealloc(pointer, layout) };
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if user::is_user_mode::<S>() {
            // SAFETY: the caller's promise.
            return unsafe { (user::heap_calls::<S>().reallocate)(pointer, layout, bytes) };
        }
        // SAFETY: as above.
        unsafe { self.0.realloc(pointer, layout, bytes) }
    }
}

/// The heap grows by at least this many bytes at a time.
const STEP_BYTES: u64 = 32 << 10;

/// What `talc` does not count to an allocation: its own tags and alignment.
const SLACK_BYTES: u64 = 256;

/// Gives `talc` memory.
pub struct HeapSource<S> {
    /// The end of what is mapped; 0 before the first growth.
    mapped_end: u64,
    /// What `talc` calls the end of its heap.
    heap_end: Option<NonNull<u8>>,
    system: PhantomData<fn() -> S>,
}

// SAFETY: the pointer is only handed back to `talc`, under its lock.
unsafe impl<S> Send for HeapSource<S> {}

impl<S: System> HeapSource<S> {
    /// Creates a source that has given nothing yet.
    pub const fn new() -> Self {
        Self { mapped_end: HEAP, heap_end: None, system: PhantomData }
    }

    /// Maps `bytes` more; returns the new end. What was mapped before it failed stays for the next time.
    fn grow(&mut self, bytes: u64) -> Option<u64> {
        let end = self.mapped_end.checked_add(bytes.next_multiple_of(PAGE_BYTES))?;
        if end > HEAP + HEAP_BYTES {
            return None;
        }
        let kernel = S::kernel();
        let keep = kernel.last_frames();
        let frames = ((end - self.mapped_end) / PAGE_BYTES) as usize;
        if kernel.frames.with::<S, _>(|all| all.counts().free) < keep + frames {
            return None;
        }
        let claimed = admission::with_tables(frames);
        admission::claim::<S>(claimed).ok()?;
        self.map_up_to(end, keep);
        admission::give_up::<S>(claimed);
        (self.mapped_end == end).then_some(end)
    }

    /// Maps pages up to `end`, as long as there are frames beside the last `keep`.
    fn map_up_to(&mut self, end: u64, keep: usize) {
        while self.mapped_end < end {
            let frame =
                S::kernel().frames.with::<S, _>(|all| faults::spare::<S, _>(all, |all| all.allocate_above(keep)));
            if !frame.is_some_and(|frame| self.map(frame)) {
                return;
            }
        }
    }

    fn map(&mut self, frame: PhysAddr) -> bool {
        let kernel = S::kernel();
        let page = VirtAddr::new(self.mapped_end);
        let mapped = kernel.with_tables::<S, _>(|tables, new_table| {
            // SAFETY: the page belongs to the heap and is not mapped, and every CPU has forgotten what it was; the frame is new.
            unsafe { tables.map(page, frame, PAGE_BYTES, Access::ReadWrite, 0, new_table) }
        });
        if mapped.is_err() {
            // SAFETY: it was not mapped.
            kernel.frames.with::<S, _>(|all| unsafe { all.deallocate(frame) });
            return false;
        }
        kernel.accounts.heap.add(1);
        self.mapped_end += PAGE_BYTES;
        true
    }
}

/// Says whether the heap could grow by what `bytes` need, in however many allocations, and `beside` frames be taken for something
/// else: then none of these fails, whatever is free in the heap now.
pub(crate) fn can_grow<S: System>(bytes: usize, beside: usize) -> bool {
    // The first growth may be a whole step, of which the next allocation finds too little.
    let pages = (bytes as u64 + SLACK_BYTES + STEP_BYTES).div_ceil(PAGE_BYTES) as usize;
    let frames = admission::with_tables(pages) + beside;
    let kernel = S::kernel();
    let free = kernel.frames.with::<S, _>(|all| all.counts().free);
    free >= kernel.last_frames() + frames && admission::could_claim::<S>(frames)
}

/// Gives the frames back that nobody uses at the end of the heap: before it is said that there is no memory for a stack.
///
/// Preemption may be off; the caller holds no lock. The heap's own is held while the other CPUs forget the pages, so that
/// nobody maps them anew meanwhile. Whoever waits for it has interrupts on and answers: threads allocate, and neither handlers
/// nor switches do, nor does anybody with a lock that these wait for ([`RawSpinLock`] looks at that). With interrupts off, as at
/// boot, nobody could be asked, and nothing is given back.
pub(crate) fn trim<S: System>() {
    let Some(heap) = S::heap() else { return };
    if !S::Arch::interrupts_enabled() {
        return;
    }
    let mut talc = heap.0.lock();
    let Some(heap_end) = talc.source.heap_end else { return };
    // SAFETY: it is the end that `talc` gave last.
    let used = VirtAddr::from_ptr(unsafe { talc.reserved(heap_end) }.up_to.as_ptr()).as_u64();
    // Something stays free behind what is used: `talc` forgets a heap that is free as a whole, with its own data at its beginning.
    let end = (used + 1).next_multiple_of(PAGE_BYTES);
    // SAFETY: as above; what is free is used by nobody.
    talc.source.heap_end = unsafe { talc.truncate(heap_end, VirtAddr::new(end).as_mut_ptr()) };
    talc.source.unmap_from(end);
}

impl<S: System> HeapSource<S> {
    /// Unmaps what lies behind `end`. The heap's lock keeps preemption off.
    fn unmap_from(&mut self, end: u64) {
        unmap::<S>(end..self.mapped_end, &S::kernel().accounts.heap);
        self.mapped_end = self.mapped_end.min(end);
    }
}

impl<S> core::fmt::Debug for HeapSource<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HeapSource").field("mapped_end", &self.mapped_end).finish()
    }
}

impl<S: System> Default for HeapSource<S> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: nothing here uses the global allocator.
unsafe impl<S: System> Source for HeapSource<S> {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let wanted = (layout.size() as u64).checked_add(layout.align() as u64 + SLACK_BYTES).ok_or(())?;
        let end = talc.source.grow(wanted.max(STEP_BYTES)).or_else(|| talc.source.grow(wanted)).ok_or(())?;
        let new_end = VirtAddr::new(end).as_mut_ptr::<u8>();
        talc.source.heap_end = match talc.source.heap_end {
            // SAFETY: everything up to the new end is mapped, and nobody uses it.
            Some(heap_end) => Some(unsafe { talc.extend(heap_end, new_end) }),
            // SAFETY: as above, from the beginning.
            None => unsafe { talc.claim(VirtAddr::new(HEAP).as_mut_ptr(), (end - HEAP) as usize) },
        };
        talc.source.heap_end.map(|_| ()).ok_or(())
    }
}

const _: () = assert!(HEAP.is_multiple_of(PAGE_BYTES), "the heap starts with a page");

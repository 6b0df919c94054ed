//! The heap of a thread in user mode: `talc`, in the thread's own window. All of it runs in user mode, but for the question which
//! heap is meant.
//!
//! The global allocator is one for both sides. In user mode it finds what the thread has, `Header`, at the end of the window that
//! its frame pointer lies in; there are the functions to call, so that an image without such threads has none of them.
#![expect(unsafe_code, reason = "hands out memory, at a place that follows from the frame pointer")]

use core::alloc::{GlobalAlloc, Layout};
use core::marker::PhantomData;
use core::ptr::NonNull;

use memory_addresses::VirtAddr;
use talc::TalcCell;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

use crate::arch::{Cpu, PAGE_BYTES, UserMode};
use crate::system::System;
use crate::user::runtime::memory;
use crate::user::{WINDOW_BYTES, window_end};

/// The heap grows by at least this many bytes at a time.
const STEP_BYTES: u64 = 4 * PAGE_BYTES;

/// What `talc` does not count to an allocation: its own tags and alignment.
const SLACK_BYTES: u64 = 256;

/// Bytes at the end of a window that the header may take.
pub(super) const HEADER_BYTES: u64 = 2 << 10;

/// How the global allocator reaches the heap of user mode.
#[derive(Debug)]
pub(crate) struct HeapCalls {
    pub allocate: unsafe fn(Layout) -> *mut u8,
    pub deallocate: unsafe fn(*mut u8, Layout),
    pub reallocate: unsafe fn(*mut u8, Layout, usize) -> *mut u8,
}

/// What a thread keeps at the end of its window.
#[repr(C)]
struct Header<S: System>
where
    S::Arch: UserMode,
{
    calls: HeapCalls,
    heap: TalcCell<Grow<S>>,
}

fn header_address(end: u64) -> u64 {
    end - HEADER_BYTES
}

/// The heap of the thread that runs, which is in user mode.
pub(crate) fn heap_calls<S: System>() -> &'static HeapCalls {
    let header = VirtAddr::new(header_address(window_end(S::Arch::frame_pointer())));
    // SAFETY: `begin` wrote it before anything else ran in user mode.
    unsafe { &*header.as_ptr::<HeapCalls>() }
}

/// Prepares the heap. The first thing that is done in user mode.
pub(super) fn begin<S: System>()
where
    S::Arch: UserMode,
{
    const { assert!(size_of::<Header<S>>() as u64 <= HEADER_BYTES) };
    let end = window_end(S::Arch::frame_pointer());
    let start = end - WINDOW_BYTES;
    let header = Header::<S> {
        calls: HeapCalls { allocate: allocate::<S>, deallocate: deallocate::<S>, reallocate: reallocate::<S> },
        heap: TalcCell::new(Grow { start, heap_end: None, system: PhantomData }),
    };
    // SAFETY: the kernel left room for it there, and this is the only one.
    unsafe { VirtAddr::new(header_address(end)).as_mut_ptr::<Header<S>>().write(header) };
}

fn heap<S: System>() -> &'static TalcCell<Grow<S>>
where
    S::Arch: UserMode,
{
    let header = VirtAddr::new(header_address(window_end(S::Arch::frame_pointer())));
    // SAFETY: as in `heap_calls`; the thread is alone in its window.
    unsafe { &(*header.as_ptr::<Header<S>>()).heap }
}

/// Allocates in the running thread's heap.
///
/// # Safety
///
/// As [`GlobalAlloc::alloc`], in user mode.
unsafe fn allocate<S: System>(layout: Layout) -> *mut u8
where
    S::Arch: UserMode,
{
    // SAFETY: the caller's promise is that of `GlobalAlloc`.
    unsafe { heap::<S>().alloc(layout) }
}

/// Gives back to the running thread's heap.
///
/// # Safety
///
/// As [`GlobalAlloc::dealloc`], in user mode.
unsafe fn deallocate<S: System>(pointer: *mut u8, layout: Layout)
where
    S::Arch: UserMode,
{
    // SAFETY: as above.
    unsafe { heap::<S>().dealloc(pointer, layout) }
}

/// Makes an allocation in the running thread's heap larger or smaller.
///
/// # Safety
///
/// As [`GlobalAlloc::realloc`], in user mode.
unsafe fn reallocate<S: System>(pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8
where
    S::Arch: UserMode,
{
    // SAFETY: as above.
    unsafe { heap::<S>().realloc(pointer, layout, bytes) }
}

/// Gives `talc` memory: asks the kernel for it.
struct Grow<S> {
    /// The first byte of the window.
    start: u64,
    /// What `talc` calls the end of its heap.
    heap_end: Option<NonNull<u8>>,
    system: PhantomData<fn() -> S>,
}

impl<S> core::fmt::Debug for Grow<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Grow").field("heap_end", &self.heap_end).finish_non_exhaustive()
    }
}

// SAFETY: nothing here uses the global allocator.
unsafe impl<S: System> Source for Grow<S>
where
    S::Arch: UserMode,
{
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let wanted = (layout.size() as u64).checked_add(layout.align() as u64 + SLACK_BYTES).ok_or(())?;
        let end = memory::<S>(wanted.max(STEP_BYTES)).or_else(|_| memory::<S>(wanted)).map_err(|_| ())?;
        let new_end = VirtAddr::new(end).as_mut_ptr::<u8>();
        let start = talc.source.start;
        talc.source.heap_end = match talc.source.heap_end {
            // SAFETY: everything up to the new end is mapped, and nobody uses it.
            Some(heap_end) => Some(unsafe { talc.extend(heap_end, new_end) }),
            // SAFETY: as above, from the beginning.
            None => unsafe { talc.claim(VirtAddr::new(start).as_mut_ptr(), (end - start) as usize) },
        };
        talc.source.heap_end.map(|_| ()).ok_or(())
    }
}

//! Threads begin and end.
#![expect(unsafe_code, reason = "a new thread's first activation record, and the end of its memory")]

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::Ordering;

use crate::arch::{PAGE_BYTES, Switch};
use crate::cpu;
use crate::memory::{admission, heap};
use crate::stack::{self, Pages, StackError};
use crate::system::System;
use crate::thread::thread::{leak, reclaim};
use crate::thread::{CpuSet, Kind, Leaving, Priority, Thread, ThreadId, schedule};

/// What a thread starts with.
#[derive(Debug)]
pub struct Request {
    /// The thread's name.
    pub name: Option<Box<str>>,
    /// What it is for.
    pub kind: Kind,
    /// Its priority.
    pub priority: Priority,
    /// Bytes of stack, at least.
    pub stack_bytes: u64,
    /// Who says which of its stack's pages are populated.
    pub pages: Pages,
    /// The CPUs that it may run on; one of them runs.
    pub affinity: CpuSet,
    /// Bytes of the heap that are kept for it until it has its stack; none if the heap can grow.
    pub heap: Vec<u8>,
}

/// What a thread does.
pub type Work = Box<dyn FnOnce() + Send>;

/// Makes a thread and puts it into the run queue.
///
/// # Errors
///
/// There is no memory for its stack, or no stack is that large.
pub fn spawn<S: System>(request: Request, work: Work) -> Result<Arc<Thread>, StackError> {
    spawn_noted::<S>(request, work, |_| ())
}

/// The same; `note` gets to know the thread before that can run.
#[inline(always)]
pub(crate) fn spawn_noted<S: System>(
    request: Request,
    work: Work,
    note: impl FnOnce(&Arc<Thread>),
) -> Result<Arc<Thread>, StackError> {
    let thread = create::<S>(request, work)?;
    let shared = super::thread::share(thread);
    note(&shared);
    schedule::make_ready::<S>(thread);
    Ok(shared)
}

/// Makes a thread that nobody runs yet.
pub(crate) fn create<S: System>(request: Request, work: Work) -> Result<&'static Thread, StackError> {
    let thread = create_without_work::<S>(request)?;
    // A thin pointer for the first activation record.
    let argument = Box::into_raw(Box::new(work)).cast();
    // SAFETY: the stack is new and its top page is populated; `run` ends in `exit`.
    let stack_pointer = unsafe { S::Arch::prepare(stack_top(thread), run::<S>, argument) };
    thread.set_saved_stack_pointer(stack_pointer);
    if !thread.is_system() {
        S::kernel().live_threads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(thread)
}

/// Bytes of the heap that a thread takes, besides its closure and its result; an allocation has some of its own.
const HEAP_BYTES: usize = size_of::<Thread>() + size_of::<Work>() + 2 * ALLOCATION_BYTES;

/// What an allocation takes besides its bytes, at most: a count or two, and alignment.
const ALLOCATION_BYTES: usize = 64;

/// Sees to it that what a thread takes of the heap can be allocated in earnest, which must not fail: `alloc` would end the run. That
/// is so where there are frames for the heap to grow and for the stack. Where there are not, it keeps what the thread itself takes
/// until it has its stack, for which a heap that is not used is trimmed; `bytes` for closure and result are free then, and others
/// may be faster.
///
/// # Errors
///
/// The heap has no room, and gets none.
#[inline]
pub(super) fn reserve_heap<S: System>(bytes: usize, stack_bytes: u64) -> Result<Vec<u8>, StackError> {
    let stack_frames = admission::with_tables(stack_bytes.div_ceil(PAGE_BYTES) as usize);
    let can_grow = heap::can_grow::<S>(bytes + 2 * ALLOCATION_BYTES + HEAP_BYTES, stack_frames);
    if can_grow { Ok(Vec::new()) } else { reserve_what_there_is::<S>(bytes) }
}

#[cold]
#[inline(never)]
fn reserve_what_there_is<S: System>(bytes: usize) -> Result<Vec<u8>, StackError> {
    let _free_then = keep::<S>(bytes + 2 * ALLOCATION_BYTES)?;
    keep::<S>(HEAP_BYTES)
}

/// Keeps bytes that are free in the heap, or that nobody uses any more; or says why there are none.
fn keep<S: System>(bytes: usize) -> Result<Vec<u8>, StackError> {
    let mut kept = Vec::new();
    if kept.try_reserve_exact(bytes).is_err() {
        stack::collect::<S>();
    }
    if kept.try_reserve_exact(bytes).is_ok() {
        // The compiler could leave an allocation out that nobody uses.
        return Ok(black_box(kept));
    }
    let frames = admission::with_tables(bytes.div_ceil(PAGE_BYTES as usize));
    admission::claim::<S>(frames).map_err(StackError::Overcommitted)?;
    admission::give_up::<S>(frames);
    Err(StackError::NoFrame { free: S::kernel().frame_counts_now::<S>().free })
}

/// Makes a thread that is never switched to by way of its first activation record: it names a stack.
pub(crate) fn create_without_work<S: System>(request: Request) -> Result<&'static Thread, StackError> {
    reap::<S>();
    let Request { name, kind, priority, stack_bytes, pages, affinity, heap } = request;
    let stack = stack::allocate::<S>(stack_bytes, pages)?;
    // What is kept is for what follows.
    drop(heap);
    S::kernel().note_reserve(&stack);
    let id = ThreadId(S::kernel().next_thread.fetch_add(1, Ordering::Relaxed));
    // Written where it stays: it is large, and `Arc::new` would copy it.
    let place = Arc::new_uninit();
    let thread: *mut Thread = Arc::as_ptr(&place).cast_mut().cast();
    // SAFETY: the place was allocated just now, and nobody else knows it.
    unsafe { thread.write(Thread::new(id, name, kind, priority, stack)) };
    // SAFETY: as above, and it was written.
    unsafe { &mut *thread }.deepest.begin::<S>();
    // SAFETY: it was written.
    let thread = leak(unsafe { place.assume_init() });
    thread.set_affinity(affinity);
    S::kernel().placement.note_affinity(affinity);
    // SAFETY: nobody else knows the thread yet.
    stack::set_owner::<S>(unsafe { thread.stack_mut() }, thread);
    Ok(thread)
}

/// Takes back the stacks and the memory of the threads that have ended on this CPU.
pub(crate) fn reap<S: System>() {
    while let Some(thread) = cpu::without_interrupts::<S, _>(|| cpu::this::<S>().pop_ended()) {
        // SAFETY: the second half put it there after the CPU had left it for good.
        let stack = unsafe { thread.take_stack() };
        stack::release::<S>(stack);
        // SAFETY: it was leaked when it was made, and it was on its last list.
        drop(unsafe { reclaim(thread) });
    }
}

/// The top of the stack of a thread that is being made.
pub(crate) fn stack_top(thread: &'static Thread) -> memory_addresses::VirtAddr {
    // SAFETY: nobody else knows the thread yet.
    unsafe { thread.stack_mut() }.top()
}

/// The first function of a thread. Interrupts are off, as in every second half.
extern "C-unwind" fn run<S: System>(left: Option<&'static Thread>, leaving: Leaving, argument: *mut ()) -> ! {
    begin::<S>(left, leaving);
    {
        // SAFETY: `create` made it, for this one call.
        let work = unsafe { Box::from_raw(argument.cast::<Work>()) };
        work();
    }
    end::<S>()
}

/// A thread begins: the second half of the switch to it.
pub(crate) fn begin<S: System>(left: Option<&'static Thread>, leaving: Leaving) {
    if let Some(left) = left {
        schedule::second_half::<S>(left, leaving);
    }
    cpu::unmask_interrupts::<S>();
    // It may have been asked for while the switch here was made.
    cpu::preempt_if_needed::<S>();
}

/// An app's thread ends.
pub(crate) fn end<S: System>() -> ! {
    S::kernel().live_threads.fetch_sub(1, Ordering::Relaxed);
    schedule::exit::<S>()
}

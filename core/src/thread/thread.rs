//! The thread itself: what the kernel knows of it.
#![expect(unsafe_code, reason = "a thread's fields are shared by rule: only its holder touches some of them")]

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use intrusive_collections::{LinkedListAtomicLink, RBTreeAtomicLink};
use memory_addresses::VirtAddr;

use crate::arch::UserContext;
use crate::audit::Deepest;
use crate::cpu::PerCpu;
use crate::stack::Stack;
use crate::stack::temporary::LeftStacks;
use crate::sync::WaitQueue;
use crate::thread::affinity::CpuSet;
use crate::thread::local::Local;
use crate::thread::state::StateWord;

/// Names a thread for as long as the kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub(crate) u64);

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A priority: a thread runs only while none of a higher one is ready. 0 is the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// The lowest priority.
    pub const MIN: Self = Self(0);
    /// What a thread has that was spawned without one.
    pub const NORMAL: Self = Self(16);
    /// The highest priority of an app's thread.
    pub const MAX: Self = Self(29);

    /// The highest of all: that of the kernel's own threads that make room for others.
    pub(crate) const KERNEL: Self = Self(31);

    /// The priority of this level, or nothing if it is above [`Priority::MAX`]: the levels above are the kernel's own.
    pub const fn new(level: u8) -> Option<Self> {
        if level <= Self::MAX.0 { Some(Self(level)) } else { None }
    }

    /// The level, from 0.
    pub const fn level(self) -> usize {
        self.0 as usize
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The app's.
    App,
    /// The kernel's own: idle threads, and the stacks on which traps run.
    System,
}

/// What an architecture's own code reaches by offsets: the beginning of a thread, and of a CPU's data, which stands for
/// the thread that there is not until the CPU runs its first.
///
/// A CPU that can change memory relative to its own base in one instruction needs `cpu` and `preempt_count` in its data
/// alone; one that finds its data through the running thread, since there a load and what follows can be split by a
/// migration, keeps them in each thread.
#[derive(Debug)]
#[repr(C)]
pub struct Head {
    /// Where the stack pointer stands while the thread does not run.
    pub saved_stack_pointer: AtomicU64,
    /// The CPU that the thread runs on.
    pub cpu: AtomicPtr<PerCpu>,
    /// Above 0, the running thread is not preempted. 0 at each switch.
    pub preempt_count: AtomicU32,
    /// What the entries from user mode need, if the thread runs there.
    pub user: AtomicPtr<UserContext>,
}

impl Head {
    pub(crate) const fn new(stack_pointer: u64) -> Self {
        Self {
            saved_stack_pointer: AtomicU64::new(stack_pointer),
            cpu: AtomicPtr::new(core::ptr::null_mut()),
            preempt_count: AtomicU32::new(0),
            user: AtomicPtr::new(core::ptr::null_mut()),
        }
    }
}

/// A thread. While it is alive it keeps itself alive: queues hold `&'static Thread`.
#[derive(Debug)]
#[repr(C)]
pub struct Thread {
    head: Head,
    pub(crate) state: StateWord,
    priority: Priority,
    kind: Kind,
    /// The CPUs that it may run on, a bit each.
    affinity: AtomicU32,
    /// How deep it was seen on its stack. It fills a gap before the next field, so it takes no room.
    pub(crate) deepest: Deepest,
    /// The next thread in a run queue, in an inbox, or in a CPU's list of threads that have ended.
    pub(crate) next: ThreadCell,
    /// Touched by the holder alone.
    stack: UnsafeCell<Stack>,
    /// In the tree of threads that wait for a point in time.
    pub(crate) timer: RBTreeAtomicLink,
    /// That point, in nanoseconds since boot.
    pub(crate) deadline: AtomicU64,
    /// In a wait queue.
    pub(crate) waiting: LinkedListAtomicLink,
    /// The wait queue that a wake-up took the thread out of, until the thread has seen that. Only its holder follows it.
    pub(crate) woken_from: AtomicPtr<WaitQueue>,
    /// `unpark` came before `park`.
    pub(crate) unparked: AtomicBool,
    /// It has survived an overflow, on whichever stack: the next one ends the run.
    has_survived: AtomicBool,
    /// The stacks that it has left for temporary ones.
    pub(crate) left_stacks: LeftStacks,
    /// The first of its thread-local values. Touched by the thread itself alone.
    pub(crate) locals: AtomicPtr<Local>,
    id: ThreadId,
    name: Option<Box<str>>,
}

// SAFETY: `stack` is touched by the thread's holder alone (see `stack_mut`); the rest is atomic or never changes.
unsafe impl Sync for Thread {}

impl Thread {
    #[inline(always)]
    pub(crate) fn new(id: ThreadId, name: Option<Box<str>>, kind: Kind, priority: Priority, stack: Stack) -> Self {
        Self {
            head: Head::new(stack.top().as_u64()),
            state: StateWord::new(),
            priority,
            kind,
            affinity: AtomicU32::new(CpuSet::ALL.bits()),
            deepest: Deepest::unused(),
            next: ThreadCell::new(),
            stack: UnsafeCell::new(stack),
            timer: RBTreeAtomicLink::new(),
            deadline: AtomicU64::new(0),
            waiting: LinkedListAtomicLink::new(),
            woken_from: AtomicPtr::new(core::ptr::null_mut()),
            unparked: AtomicBool::new(false),
            has_survived: AtomicBool::new(false),
            left_stacks: LeftStacks::new(),
            locals: AtomicPtr::new(core::ptr::null_mut()),
            id,
            name,
        }
    }

    /// Offset of the saved stack pointer, in bytes.
    pub const SAVED_STACK_POINTER_OFFSET: usize = core::mem::offset_of!(Thread, head.saved_stack_pointer);

    /// What architectures take offsets in. It lies at the thread's own address.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The thread's number.
    pub fn id(&self) -> ThreadId {
        self.id
    }

    /// The thread's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The thread's priority.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The CPUs that it may run on.
    pub fn affinity(&self) -> CpuSet {
        CpuSet::from_bits(self.affinity.load(Ordering::Relaxed))
    }

    /// Changes that. The caller is the thread itself, or nobody runs it yet.
    pub(crate) fn set_affinity(&self, cpus: CpuSet) {
        self.affinity.store(cpus.bits(), Ordering::Relaxed);
    }

    /// Says whether it is the kernel's own.
    pub fn is_system(&self) -> bool {
        self.kind == Kind::System
    }

    /// The stack pointer that the thread saved when it left its CPU.
    pub fn saved_stack_pointer(&self) -> VirtAddr {
        VirtAddr::new_truncate(self.head.saved_stack_pointer.load(Ordering::Relaxed))
    }

    pub(crate) fn set_saved_stack_pointer(&self, stack_pointer: VirtAddr) {
        self.head.saved_stack_pointer.store(stack_pointer.as_u64(), Ordering::Relaxed);
    }

    /// The thread's stack.
    ///
    /// # Safety
    ///
    /// The caller holds the thread: it runs it, has taken it off a queue, or has just switched away from it and not
    /// yet handed it on; and it uses the result only until then.
    #[expect(clippy::mut_from_ref, reason = "the holder is the only one to ask")]
    pub(crate) unsafe fn stack_mut(&self) -> &mut Stack {
        // SAFETY: there is one holder, and it calls this once at a time.
        unsafe { &mut *self.stack.get() }
    }

    /// Number of pages of the thread's stack that were rested since it was spawned, counted at each rest. Anybody may ask.
    pub(crate) fn rested(&self) -> u64 {
        // SAFETY: the stack is there for as long as its thread.
        unsafe { Stack::rested_in(self.stack.get()) }.load(Ordering::Relaxed)
    }

    /// Says whether the thread has survived an overflow, on the stack that it is on or on one that it has given back.
    pub(crate) fn has_survived(&self) -> bool {
        self.has_survived.load(Ordering::Relaxed)
    }

    /// Says whether the stack that the thread is on has its emergency page. Anybody may ask.
    pub(crate) fn has_emergency_page(&self) -> bool {
        self.emergency_page().load(Ordering::Relaxed)
    }

    /// The entry of that page, whether it is there or not.
    pub(crate) fn emergency_entry(&self) -> &'static crate::sync::atomic::AtomicU64 {
        // SAFETY: the stack is there for as long as its thread.
        unsafe { Stack::emergency_entry_of(self.stack.get()) }
    }

    /// Notes that the thread has survived an overflow. Called by a trap of the thread.
    pub(crate) fn note_survival(&self) {
        self.has_survived.store(true, Ordering::Relaxed);
    }

    /// Notes that its stack has its emergency page, and that it has survived. Called by a trap of the thread.
    pub(crate) fn note_emergency_page(&self) {
        self.note_survival();
        self.emergency_page().store(true, Ordering::Relaxed);
    }

    fn emergency_page(&self) -> &AtomicBool {
        // SAFETY: the stack is there for as long as its thread.
        unsafe { Stack::has_emergency_page_in(self.stack.get()) }
    }

    /// What a report adds to its name where its stack matters.
    pub(crate) fn which_stack(&self) -> &'static str {
        if self.left_stacks.is_on_temporary() { ", on a temporary stack" } else { "" }
    }

    /// Takes the stack of a thread that has ended.
    ///
    /// # Safety
    ///
    /// The thread has been switched away from for good, and nobody asks for its stack again.
    pub(crate) unsafe fn take_stack(&self) -> Stack {
        // SAFETY: nobody else holds a thread that has ended, and a stack that is left behind does nothing when dropped.
        unsafe { self.stack.get().read() }
    }

    #[cfg(test)]
    pub(crate) fn for_test(priority: Priority) -> Self {
        Self::new(ThreadId(0), None, Kind::App, priority, Stack::for_test())
    }
}

impl fmt::Display for Thread {
    /// `"name" (3)`, or `thread 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "thread \"{name}\" ({})", self.id),
            None => write!(f, "thread {}", self.id),
        }
    }
}

/// The living thread that a pointer names, if it names one.
///
/// The pointers come from links and per-CPU fields, which only ever hold living threads.
pub(crate) fn from_pointer(pointer: *mut Thread) -> Option<&'static Thread> {
    // SAFETY: a thread that a queue or a CPU names is alive: it keeps itself alive until it is reaped, which takes it
    // off its last list.
    unsafe { pointer.as_ref() }
}

/// The living thread that a handle names.
///
/// The caller owns the thread through its state word, so it is alive and stays so until it is handed on.
pub(crate) fn from_handle(thread: &Arc<Thread>) -> &'static Thread {
    // SAFETY: by the rule above; the thread keeps itself alive.
    unsafe { &*Arc::as_ptr(thread) }
}

/// Makes a thread keep itself alive.
pub(crate) fn leak(thread: Arc<Thread>) -> &'static Thread {
    // SAFETY: the count that is not dropped here keeps it alive until `reclaim`.
    unsafe { &*Arc::into_raw(thread) }
}

/// Ends what [`leak`] began.
///
/// # Safety
///
/// The thread came from [`leak`], has ended, and no queue or CPU names it any more.
pub(crate) unsafe fn reclaim(thread: &'static Thread) -> Arc<Thread> {
    // SAFETY: by the caller's promise this count was left by `leak` and is taken once.
    unsafe { Arc::from_raw(thread) }
}

/// A counted reference for a handle, made from a living thread.
pub(crate) fn share(thread: &'static Thread) -> Arc<Thread> {
    let pointer: *const Thread = thread;
    // SAFETY: the thread was made by `Arc::new` and is alive.
    unsafe { Arc::increment_strong_count(pointer) };
    // SAFETY: the count was raised for this one.
    unsafe { Arc::from_raw(pointer) }
}

/// An atomic reference to a living thread, or none: a link, or a field of a CPU. Only its owner follows it.
#[derive(Debug)]
pub(crate) struct ThreadCell(AtomicPtr<Thread>);

impl ThreadCell {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    pub(crate) fn get(&self) -> Option<&'static Thread> {
        from_pointer(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, thread: Option<&'static Thread>) {
        let pointer = thread.map_or(core::ptr::null_mut(), |thread| core::ptr::from_ref(thread).cast_mut());
        self.0.store(pointer, Ordering::Relaxed);
    }
}

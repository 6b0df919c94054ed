//! Per-CPU data, and the two ways to keep a CPU: interrupts off, or preemption off.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::arch::Cpu;
use crate::audit;
use crate::secondary::Presence;
use crate::shootdown::Shootdown;
use crate::stack::emergency::Spare;
use crate::stack::{FaultReserve, StackCache};
use crate::sync::SpinLock;
use crate::system::System;
use crate::thread::{self, Head, Inbox, RunQueue, Thread, ThreadCell, Timers};

/// Most CPUs that a machine may have.
pub const MAX_CPUS: usize = 16;

/// What belongs to one CPU.
///
/// Architectures take the offsets of the first fields with `offset_of!`. `current` is never null once the CPU runs threads.
#[repr(C)]
#[derive(Debug)]
pub struct PerCpu {
    /// This structure's own address, and what counts until the first thread runs; see [`Head`].
    pub head: Head,
    /// The running thread.
    pub current: AtomicPtr<Thread>,
    /// Where an entry from user mode keeps a register for a moment.
    pub scratch: AtomicU64,
    /// A thread that should run instead of the current one has become runnable.
    pub need_resched: AtomicBool,
    /// Frames have come free while threads wait for some: the idle thread hands them on.
    pub(crate) frames_came: AtomicBool,
    /// The thread that runs when there is no other.
    idle: ThreadCell,
    /// Threads that have ended here and wait to be reaped.
    ended: ThreadCell,
    /// The CPU's number.
    pub number: u32,
    /// Where it is on its way up.
    pub(crate) presence: Presence,
    /// Invalidations that others ask it for, and what it asks for.
    pub(crate) shootdown: Shootdown,
    /// Threads that other CPUs have made ready for this one.
    pub(crate) inbox: Inbox,
    /// Threads that began here to wait for a point in time.
    pub(crate) timers: SpinLock<Timers>,
    /// Threads that are ready to run here.
    run_queue: UnsafeCell<RunQueue>,
    /// The CPU's reserve of frames for stacks, and its ring of resting pages.
    stack_cache: UnsafeCell<StackCache>,
    /// When the time slice ends, in nanoseconds since boot; 0 when no other thread waits for that.
    pub(crate) slice_end: AtomicU64,
    /// What the timer is armed for, in nanoseconds since boot; 0 when it is not.
    pub(crate) timer_deadline: AtomicU64,
    /// When it last stood still, in an `audit` build.
    pub(crate) gathered: AtomicU32,
    /// How long it waits where CPUs race, in an `audit` build.
    pub(crate) delays: audit::Delays,
    /// How long interrupts were off, in an `audit` build.
    pub(crate) interrupts: audit::Interrupts,
    /// How much of their stacks threads used at entries from user mode, in a build that measures it.
    pub(crate) entries: audit::Entries,
    /// How much of their stacks threads used where they left this CPU, likewise.
    pub(crate) departures: audit::Departures,
    /// Faults on stack pages that were populated when the fault was looked at.
    pub spurious_faults: AtomicU64,
    /// Faults on addresses of the stack range that populated nothing.
    pub stack_faults: AtomicU64,
    /// Faults on pages of which a handler had to note that they were accessed.
    pub access_faults: AtomicU64,
    /// How often the idle thread has freed what rests here and trimmed the cache.
    pub(crate) given: AtomicU32,
    /// How often this CPU went idle, and had taken care of its own affairs.
    pub idle_passes: AtomicU64,
    /// How often it then waited for an interrupt.
    pub halts: AtomicU64,
    /// Interrupts that nobody asked for.
    pub unexpected_interrupts: AtomicU64,
    /// Interrupts that the controller called spurious.
    pub spurious_interrupts: AtomicU64,
    /// Frames for what the running thread's stack lacks, which faults take.
    pub(crate) fault_reserve: FaultReserve,
    /// A frame for a thread that survives an overflow.
    pub(crate) spare: Spare,
}

mod access {
    #![expect(unsafe_code, reason = "per-CPU data is exclusive by rule, not by type")]

    use core::mem::MaybeUninit;

    use super::PerCpu;
    use crate::stack::{CacheCounters, CachedFrames, StackCache};
    use crate::thread::RunQueue;

    /// The data that a pointer from [`Kernel`](crate::kernel::Kernel)'s list names.
    pub(crate) fn from_pointer(pointer: *mut PerCpu) -> Option<&'static PerCpu> {
        // SAFETY: the list only holds per-CPU data, which lives as long as the kernel.
        unsafe { pointer.as_ref() }
    }

    // SAFETY: everything but `stack_cache` and `run_queue` is atomic; these are touched by their own CPU alone, in
    // sections that nothing interrupts (see `PerCpu::with_stack_cache` and `PerCpu::with_run_queue`).
    unsafe impl Sync for PerCpu {}

    impl PerCpu {
        /// Runs `f` on the stack cache of this CPU.
        ///
        /// The caller is on this CPU with interrupts off, or with preemption off; no trap handler touches the cache,
        /// and `schedule()` is the only other user.
        #[inline]
        pub(crate) fn with_stack_cache<R>(&self, f: impl FnOnce(&mut StackCache) -> R) -> R {
            // SAFETY: by the rule above nothing else on this CPU runs while `f` does, and no other CPU comes here.
            f(unsafe { &mut *self.stack_cache.get() })
        }

        /// What happened to the stack cache of a CPU, whichever that is. Of another CPU than the caller's, the numbers may be a
        /// moment old, and not all of the same moment.
        pub fn cache_counters(&self) -> CacheCounters {
            // SAFETY: the place is there for as long as the kernel.
            let counters = unsafe { &raw const (*self.stack_cache.get()).counters };
            // SAFETY: plain numbers, each of which is written in one store; volatile, since another CPU may be doing so.
            unsafe { counters.read_volatile() }
        }

        /// Number of frames in the fault reserve of a CPU, whichever that is.
        pub fn reserved_frames(&self) -> usize {
            self.fault_reserve.len()
        }

        /// Faults that have populated pages of stacks on a CPU, whichever that is.
        pub fn growth_faults(&self) -> u64 {
            self.fault_reserve.faults()
        }

        /// Pages of stacks that faults and preemptions have populated on a CPU, whichever that is.
        pub fn grown_pages(&self) -> u64 {
            self.fault_reserve.grown()
        }

        /// Number of frames in the stack cache of a CPU, whichever that is. Of another CPU than the caller's, it may be a moment
        /// old.
        pub fn cached_frames(&self) -> usize {
            // SAFETY: the place is there for as long as the kernel.
            let frames = unsafe { StackCache::frames_in(self.stack_cache.get()) };
            // SAFETY: as above; volatile, since another CPU may be changing it.
            let copy = unsafe { frames.cast::<MaybeUninit<CachedFrames>>().read_volatile() };
            // SAFETY: the number is one that was written in one store, and nothing else of the copy is looked at.
            unsafe { copy.assume_init_ref() }.len()
        }

        /// Runs `f` on the threads that are ready to run on this CPU.
        ///
        /// The caller is on this CPU with interrupts off, since the timer's interrupt wakes threads.
        #[inline]
        pub(crate) fn with_run_queue<R>(&self, f: impl FnOnce(&mut RunQueue) -> R) -> R {
            // SAFETY: by the rule above nothing else on this CPU runs while `f` does, and no other CPU comes here.
            f(unsafe { &mut *self.run_queue.get() })
        }
    }
}

pub(crate) use access::from_pointer;

impl PerCpu {
    /// Creates the data of CPU `number`.
    pub const fn new(number: u32) -> Self {
        Self {
            head: Head::new(0),
            current: AtomicPtr::new(core::ptr::null_mut()),
            scratch: AtomicU64::new(0),
            need_resched: AtomicBool::new(false),
            frames_came: AtomicBool::new(false),
            idle: ThreadCell::new(),
            ended: ThreadCell::new(),
            number,
            presence: Presence::new(),
            shootdown: Shootdown::new(),
            inbox: Inbox::new(),
            timers: SpinLock::new(Timers::new()),
            run_queue: UnsafeCell::new(RunQueue::new()),
            stack_cache: UnsafeCell::new(StackCache::new()),
            slice_end: AtomicU64::new(0),
            timer_deadline: AtomicU64::new(0),
            gathered: AtomicU32::new(0),
            delays: audit::Delays::new(),
            interrupts: audit::Interrupts::new(),
            entries: audit::Entries::new(),
            departures: audit::Departures::new(),
            spurious_faults: AtomicU64::new(0),
            stack_faults: AtomicU64::new(0),
            access_faults: AtomicU64::new(0),
            given: AtomicU32::new(0),
            idle_passes: AtomicU64::new(0),
            halts: AtomicU64::new(0),
            unexpected_interrupts: AtomicU64::new(0),
            spurious_interrupts: AtomicU64::new(0),
            fault_reserve: FaultReserve::new(),
            spare: Spare::new(),
        }
    }
}

impl PerCpu {
    /// The thread that runs here when there is no other.
    pub(crate) fn idle(&self) -> &'static Thread {
        self.idle.get().expect("a CPU has its idle thread before it schedules")
    }

    /// How many shootdowns of stack pages were under way while this one came up; none for the one that boots.
    pub fn shootdowns_while_it_came_up(&self) -> u64 {
        self.presence.shootdowns_meanwhile()
    }

    /// How many shootdowns of stack pages this one has begun.
    pub fn shootdowns(&self) -> u64 {
        self.shootdown.begun()
    }

    pub(crate) fn set_idle(&self, thread: &'static Thread) {
        self.idle.set(Some(thread));
    }

    /// The thread that runs here; none before the first.
    pub(crate) fn current(&self) -> Option<&'static Thread> {
        thread::from_pointer(self.current.load(Ordering::Relaxed))
    }

    /// Says whether a thread runs or is ready here.
    pub(crate) fn is_busy(&self) -> bool {
        self.current().is_some_and(|thread| !core::ptr::eq(thread, self.idle()))
    }

    /// Keeps a thread that has ended until it is reaped. Interrupts are off.
    pub(crate) fn push_ended(&self, thread: &'static Thread) {
        thread.next.set(self.ended.get());
        self.ended.set(Some(thread));
    }

    /// The threads that have ended. Interrupts are off.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &'static Thread> {
        core::iter::successors(self.ended.get(), |thread| thread.next.get())
    }

    /// Takes a thread that has ended. Interrupts are off.
    pub(crate) fn pop_ended(&self) -> Option<&'static Thread> {
        let thread = self.ended.get()?;
        self.ended.set(thread.next.get());
        Some(thread)
    }
}

/// Runs `f` with interrupts off, and puts them back.
pub fn without_interrupts<S: System, R>(f: impl FnOnce() -> R) -> R {
    let enabled = S::Arch::disable_interrupts();
    if enabled {
        audit::interrupts_off::<S>();
    }
    let result = f();
    if enabled {
        unmask_interrupts::<S>();
    }
    result
}

/// Turns interrupts off where they are known to be on.
#[inline]
pub(crate) fn mask_interrupts<S: System>() {
    S::Arch::mask_interrupts();
    audit::interrupts_off::<S>();
}

/// Turns interrupts on where they are known to be off.
#[inline]
pub(crate) fn unmask_interrupts<S: System>() {
    audit::interrupts_on::<S>();
    S::Arch::enable_interrupts();
}

/// Runs `f` with preemption off: interrupts are taken, but this thread keeps the CPU.
pub fn without_preemption<S: System, R>(f: impl FnOnce() -> R) -> R {
    S::Arch::preempt_disable();
    let result = f();
    allow_preemption::<S>();
    result
}

/// Says whether the running thread may sleep: interrupts are on, and it does not keep the CPU.
pub(crate) fn may_sleep<S: System>() -> bool {
    S::Arch::interrupts_enabled() && without_interrupts::<S, _>(S::Arch::preempt_count) == 0
}

/// Lowers the preemption count, and makes up for a preemption that was put off meanwhile.
pub(crate) fn allow_preemption<S: System>() {
    S::Arch::preempt_enable();
    preempt_if_needed::<S>();
}

/// Gives way if a more urgent thread has become ready and this is a place to do so.
#[inline]
pub(crate) fn preempt_if_needed<S: System>() {
    if S::Arch::per_cpu().need_resched.load(Ordering::Relaxed) {
        preempt_if_possible::<S>();
    }
}

#[cold]
#[inline(never)]
fn preempt_if_possible<S: System>() {
    if S::Arch::preempt_count() == 0 && S::Arch::interrupts_enabled() {
        mask_interrupts::<S>();
        thread::preempt::<S>();
        unmask_interrupts::<S>();
    }
}

/// This CPU's data. The caller keeps the CPU: interrupts or preemption are off.
pub fn this<S: System>() -> &'static PerCpu {
    S::Arch::per_cpu()
}

/// The running thread.
pub fn current<S: System>() -> &'static Thread {
    S::Arch::current()
}

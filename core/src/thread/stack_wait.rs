//! Exhaustion: threads that cannot run yet, because there are no frames for their stacks.
//!
//! "What happens if we get per-cpu stack cache exhausted because several threads sleep while having deep stacks? How can
//! we schedule the next task?" (Pasha Tatashin, "Re: [RFC 00/14] Dynamic Kernel Stacks", Linux kernel mailing list, 17
//! March 2024.) Such a thread is parked here, and another one is taken. One that slept deep lacks little or nothing, since
//! its live pages are still there, so deep sleepers go on, and what they leave comes free.
//!
//! - **Order**: by priority, then first come. While anyone is parked, a thread that lacks frames queues behind, and one that
//!   lacks none runs on.
//! - **Frames set free** go to the first until it lacks none. It keeps what it gets: the pages are populated at once, so such
//!   frames are counted where they are, in its slot. While anyone is parked, the CPU's reserve and its ring are therefore
//!   empty, and a switch finds by itself that it must come here: the way that finds all it needs never asks.
//! - **The stack daemon** is the idle thread, switched to out of turn: its stack is always populated, it allocates nothing,
//!   and a switch to it depends on no priority. It takes what rests and what ended threads left, populates the stack
//!   of the first and enqueues it. When frames have come free, who runs steps aside for it and keeps its pages: otherwise two
//!   threads could take them from each other for ever, and never come to use them. When who runs yields, or its time
//!   slice is over, what it does not need goes to the first, if that is of its priority or a higher one.
//! - **Nobody is missed**: who parks looks at the pool again afterwards, and who frees looks at the queue afterwards
//!   (`sync::atomic::models::parking`). The second half of a switch only sets a flag, which is looked at where interrupts
//!   come on again.
//! - **A wake-up is not swallowed**: a thread that was woken from a wait queue and is parked passes the wake-up on.
//! - **At last**, when nothing else can run, all that the parked threads got goes back, with what is free at the end of the heap,
//!   and the first one for which all of it suffices has it. When it suffices for none, that is a deadlock, unless a timer may
//!   still wake somebody.
#![expect(unsafe_code, reason = "the queue holds its threads")]

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use crate::audit;
use crate::cpu::{self, PerCpu};
use crate::memory::heap;
use crate::platform::{Ipi, Platform};
use crate::stack::{self, Stack, StackPolicy};
use crate::sync::{SpinLock, order, pass_on};
use crate::system::System;
use crate::thread::{Priority, RunQueue, Thread, placement, schedule};

/// Threads that wait for frames. The queue's lock is what holds them.
#[derive(Debug)]
pub struct StackWait {
    queue: SpinLock<RunQueue>,
    /// How many there are; raised under the lock.
    parked: AtomicUsize,
    /// A CPU is at the [last resort](last_resort).
    last_resort: AtomicBool,
    /// When it was last said that threads wait, in nanoseconds since boot; 0 before the first time.
    pub(crate) told: AtomicU64,
}

impl StackWait {
    pub(crate) const fn new() -> Self {
        Self {
            queue: SpinLock::new(RunQueue::new()),
            parked: AtomicUsize::new(0),
            last_resort: AtomicBool::new(false),
            told: AtomicU64::new(0),
        }
    }

    /// Number of threads that are parked.
    pub fn parked(&self) -> usize {
        // Before whatever is looked at next.
        self.parked.load(Ordering::Acquire)
    }

    /// Runs `f` as the only CPU that is at the [last resort](last_resort); not at all, if another one is.
    pub(crate) fn at_last_resort<S: System, R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        audit::race::<S>();
        // Both swaps release and acquire: who was sent away is seen, with what it did before, by the one that it met here.
        if self.last_resort.swap(true, Ordering::AcqRel) {
            return None;
        }
        let result = f();
        audit::race::<S>();
        self.last_resort.swap(false, Ordering::AcqRel);
        Some(result)
    }

    /// Says whether a CPU is at the [last resort](last_resort).
    pub(crate) fn is_at_last_resort(&self) -> bool {
        self.last_resort.load(Ordering::Acquire)
    }

    /// The priority of the first one.
    fn first_priority<S: System>(&self) -> Option<Priority> {
        self.queue.with::<S, _>(|queue| queue.first().map(Thread::priority))
    }

    /// Runs `f` on the first one and its stack, unless somebody holds the queue: for a report, which waits for nobody.
    pub(crate) fn try_with_first<S: System, R>(&self, f: impl FnOnce(&'static Thread, &mut Stack) -> R) -> Option<R> {
        // SAFETY: the thread is in the queue, whose lock holds it.
        let first = |queue: &mut RunQueue| queue.first().map(|thread| f(thread, unsafe { thread.stack_mut() }));
        self.queue.try_with::<S, _>(first).flatten()
    }

    /// Runs `f` on the first one and its stack.
    pub(crate) fn with_first<S: System, R>(&self, f: impl FnOnce(&'static Thread, &mut Stack) -> R) -> Option<R> {
        self.queue.with::<S, _>(|queue| {
            // SAFETY: the thread is in the queue, whose lock holds it.
            queue.first().map(|thread| f(thread, unsafe { thread.stack_mut() }))
        })
    }

    /// Runs `f` on the queue, unless somebody holds it, or has taken it.
    pub(crate) fn look<S: System, R>(&self, f: impl FnOnce(&mut RunQueue) -> R) -> Option<R> {
        (self.queue.is_free() && !self.is_at_last_resort()).then(|| self.queue.locked::<S, _>(f))
    }

    /// Takes all of them out, in their order; they count as parked all the same.
    fn take_all<S: System>(&self) -> RunQueue {
        self.queue.with::<S, _>(core::mem::take)
    }

    /// Puts one back that [`StackWait::take_all`] took.
    fn put_back<S: System>(&self, thread: &'static Thread) {
        self.queue.with::<S, _>(|queue| queue.push(thread));
    }
}

/// Says whether a thread waits for frames. Costs nothing under a policy that asks for none.
#[inline]
pub(crate) fn is_waited_for<S: System>() -> bool {
    S::Policy::ASKS_FOR_FRAMES && S::kernel().stack_wait.parked() > 0
}

/// Says whether a thread of this priority, or a higher one, waits for frames.
pub(crate) fn is_waited_for_at_least<S: System>(priority: Priority) -> bool {
    is_waited_for::<S>() && S::kernel().stack_wait.first_priority::<S>().is_some_and(|first| first >= priority)
}

/// Frames have come free here: if a thread waits for some, the idle thread is asked to hand them on, at the next point with
/// interrupts on.
#[inline(always)]
pub(crate) fn frames_came<S: System>() {
    if S::Policy::ASKS_FOR_FRAMES && order::is_waited_for_after_freeing(is_waited_for::<S>) {
        ask(cpu::this::<S>());
    }
}

/// The same, out of the way of a switch: called when one has made a note of what rests.
#[cold]
#[inline(never)]
pub(crate) fn pages_rest<S: System>() {
    frames_came::<S>();
}

#[cold]
#[inline(never)]
fn ask(cpu: &PerCpu) {
    cpu.frames_came.store(true, Ordering::Relaxed);
    cpu.need_resched.store(true, Ordering::Relaxed);
}

/// Asks the other CPUs to hand on what frames they have.
fn ask_others<S: System>(cpu: &PerCpu) {
    S::kernel().cpus().filter(|other| !core::ptr::eq(*other, cpu)).for_each(ask_other::<S>);
}

/// Asks one CPU. Not inlined: sending an interrupt is much code.
#[cold]
#[inline(never)]
fn ask_other<S: System>(other: &PerCpu) {
    audit::race::<S>();
    other.frames_came.store(true, Ordering::SeqCst);
    S::Platform::send_ipi(other.number, Ipi::Reschedule);
}

/// How often one who waits for another CPU looks before it asks once more.
const LOOKS: u32 = 64;

/// Makes each other CPU give up what rests there, and what its cache holds beyond its reserve, and waits until it has: before a spawn
/// is refused its frames. A CPU does so when its idle thread has its turn, for which none has to sleep there.
///
/// With interrupts or preemption off nobody is asked: the others want an answer to their shootdowns from this CPU, and may be
/// waiting for the thread that keeps it. No lock is held; whoever waits here gives way.
pub(crate) fn collect_from_others<S: System>() {
    if !cpu::may_sleep::<S>() {
        return;
    }
    let here = cpu::without_preemption::<S, _>(|| cpu::this::<S>().number);
    for other in S::kernel().cpus().filter(|other| other.number != here) {
        let given = || other.given.load(Ordering::Acquire);
        let before = given();
        let mut looks = 0;
        while given() == before {
            // Once more, since a thread that leaves the CPU at that moment takes the wish for a switch as granted. By now that may be
            // this thread's own CPU.
            if looks % LOOKS == 0 {
                ask_other::<S>(other);
            }
            looks += 1;
            schedule::yield_now::<S>();
        }
    }
}

/// Parks a thread that this CPU has taken off its run queue, and that lacks frames. Interrupts are off.
pub(crate) fn park<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    // First: later, whoever has frames may run the thread.
    pass_on::<S>(thread);
    let wait = &S::kernel().stack_wait;
    cpu.with_stack_cache(|cache| cache.counters.parked += 1);
    let mut is_first = false;
    let enter = || {
        audit::race::<S>();
        wait.queue.locked::<S, _>(|queue| {
            queue.push(thread);
            is_first = wait.parked.fetch_add(1, Ordering::Relaxed) == 0;
        });
        if S::Policy::SWEEPS {
            // Whoever goes to sleep from now on has frames.
            S::kernel().reclaimer.watch();
        }
    };
    let look = || {
        audit::race::<S>();
        if S::kernel().frames.locked::<S, _>(|frames| frames.counts().free) > 0 {
            ask(cpu);
        }
    };
    order::park(enter, look);
    if is_first {
        // From now on no CPU keeps any; those that have some give them up.
        ask_others::<S>(cpu);
    }
    // What there was too little of.
    give::<S>(cpu);
    schedule::begin_slice_if_none::<S>(cpu);
}

/// Hands this CPU's reserve to the first thread that waits, and to the next if that one lacks none any more. Whoever lacks
/// none is ready.
fn give<S: System>(cpu: &PerCpu) {
    let wait = &S::kernel().stack_wait;
    cpu::without_interrupts::<S, _>(|| {
        audit::race::<S>();
        wait.queue.locked::<S, _>(|queue| {
            while let Some(first) = queue.first() {
                // SAFETY: the thread is in the queue, whose lock holds it.
                if !populate::<S>(cpu, unsafe { first.stack_mut() }) {
                    return;
                }
                queue.pop();
                placement::stir::<S>(cpu);
                wait.parked.fetch_sub(1, Ordering::AcqRel);
                placement::place::<S>(cpu, first);
            }
        });
    });
}

/// Populates a stack from this CPU's reserve, as far as that goes. Returns whether it went all the way.
fn populate<S: System>(cpu: &PerCpu, stack: &mut Stack) -> bool {
    cpu.with_stack_cache(|cache| {
        let (pages, before) = (stack.pages(), stack.populated());
        let all = stack.populate::<S::Arch, S::Policy>(pages, || cache.take()).is_ok();
        cache.counters.pte_writes += (stack.populated() - before) as u64;
        all
    })
}

/// Serves those who wait, as far as there are frames. Called by the idle thread, with interrupts on and preemption off.
pub(crate) fn serve<S: System>(cpu: &PerCpu) {
    // Whatever came until now is handed on now, if nobody else has done so: otherwise the CPU would look again and again, and
    // never halt.
    audit::race::<S>();
    cpu.frames_came.store(false, Ordering::SeqCst);
    // Who parks counts itself, fences (`order::park`), and then says that frames are wanted: either that is seen here, or it comes
    // after the store above and stays.
    fence(Ordering::SeqCst);
    audit::race::<S>();
    if !is_waited_for::<S>() {
        return;
    }
    stack::recycle::<S>();
    stack::unreserve::<S>(cpu);
    // That was this CPU's own.
    audit::race::<S>();
    cpu.frames_came.store(false, Ordering::SeqCst);
    refill_and_give::<S>(cpu);
}

/// Refills the reserve with what the first one lacks, and gives it that, again and again while that brings anything.
fn refill_and_give<S: System>(cpu: &PerCpu) {
    let lacks = || S::kernel().stack_wait.with_first::<S, _>(|first, stack| (first.id(), stack.absent()));
    while let Some((first, need)) = lacks() {
        stack::refill::<S>(cpu, need);
        give::<S>(cpu);
        if lacks() == Some((first, need)) {
            return;
        }
    }
}

/// The last resort, when nothing else can run: what the parked threads got goes back, and the first one for which all that
/// there is then suffices has it. One CPU at a time does this, with interrupts on and preemption off. Returns whether a
/// thread is ready now; nothing, if another CPU is at it.
pub(crate) fn last_resort<S: System>(cpu: &PerCpu) -> Option<bool> {
    let wait = &S::kernel().stack_wait;
    let served = wait.at_last_resort::<S, _>(|| {
        let before = wait.parked();
        give_all_to_one::<S>(cpu);
        refill_and_give::<S>(cpu);
        wait.parked() < before
    });
    // What the last one left of a refill: this CPU is idle.
    stack::trim::<S>(cpu, S::kernel().stack_reserve());
    served
}

fn give_all_to_one<S: System>(cpu: &PerCpu) {
    let wait = &S::kernel().stack_wait;
    let mut parked = wait.take_all::<S>();
    let mut stripped = RunQueue::new();
    while let Some(thread) = parked.pop() {
        strip::<S>(cpu, thread);
        stripped.push(thread);
    }
    stack::free_resting::<S>(cpu);
    heap::trim::<S>();
    let mut served = None;
    while let Some(thread) = stripped.pop() {
        // SAFETY: it was taken out of the queue under its lock, so this CPU holds it.
        let stack = unsafe { thread.stack_mut() };
        if served.is_none() && stack::refill::<S>(cpu, stack.absent()) && populate::<S>(cpu, stack) {
            served = Some(thread);
        } else {
            wait.put_back::<S>(thread);
        }
    }
    if let Some(thread) = served {
        cpu::without_interrupts::<S, _>(|| {
            placement::stir::<S>(cpu);
            wait.parked.fetch_sub(1, Ordering::AcqRel);
            placement::place::<S>(cpu, thread);
        });
    }
}

/// Lets rest what a parked thread does not need while it does not run.
fn strip<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    stack::make_room::<S>(cpu);
    // SAFETY: it was taken out of the queue under its lock, so this CPU holds it.
    let stack = unsafe { thread.stack_mut() };
    let Ok(live) = stack.live_pages(thread.saved_stack_pointer()) else { return };
    cpu.with_stack_cache(|cache| {
        let rested = stack.rest::<S::Arch, S::Policy>(live, &mut cache.ring).pages as u64;
        cache.counters.pages_rested += rested;
        cache.counters.pte_writes += rested;
    });
}

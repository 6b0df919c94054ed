//! The reclaimer: a thread that sweeps the stacks of those that sleep.
//!
//! Dave Hansen's and David Stevens' shrinker, in the discussion of dynamic kernel stacks (Linux kernel mailing list, 2026), and David
//! Laight's garbage collection of long sleepers' stacks (2024): a switch does nothing, and what a thread does not need is taken once it
//! has slept for a while.
//!
//! - **When**: it sweeps once in [`Settings::reclaim_ns`](crate::settings::Settings::reclaim_ns). A sweep marks who sleeps, and takes from
//!   whom the last one had marked and who has slept since ([`StateWord`](super::StateWord)). So a stack is swept after one to two such
//!   times of one sleep, and one that sleeps for less never is.
//! - **How**: the thread is held (`Sweep::Reclaim`) while its pages are made to rest, with interrupts off and for one stack at a time. A
//!   waker does not wait for that: it leaves its token, and the reclaimer enqueues the thread. After a batch of stacks the frames are
//!   freed, with one broadcast; who wakes before that takes its pages back, and nobody waits for anybody.
//! - **The way back**: a thread that was swept, or has not run yet, is populated in the first half of the switch to it, from the cache,
//!   like any that lacks frames: a wake-up may come in an interrupt handler and under locks, where nothing can be taken from a cache.
//!   All other switches pay for the look whether the thread is one of those.
//! - **Only when there is something to do**: a sweep that finds nobody to mark is the last one. Whoever goes to sleep then wakes the
//!   reclaimer (`one_sleeps`). So a machine on which nothing happens has no timer armed, and a deadlock is found.
//! - **Pressure**: who finds no frames sweeps by itself, all that sleep, marked or not (`press`).
//!
//! It has a stack that is always populated, and a priority above all others; it allocates nothing.
#![expect(unsafe_code, reason = "takes pages from threads that it holds")]

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use core::time::Duration;

use crate::audit;
use crate::cpu::{self, PerCpu};
use crate::platform::Platform;
use crate::stack::ring::RING_NOTES;
use crate::stack::{self, Entries, Incoming, Note, Outgoing, SizeClass, Slot, Stack, StackError, StackPolicy};
use crate::start;
use crate::system::System;
use crate::thread::state::Sweep;
use crate::thread::{self, Priority, Thread, ThreadCell, block_until, placement, schedule, stack_wait};

/// What all CPUs know of the reclaimer.
#[derive(Debug)]
pub struct Reclaimer {
    thread: ThreadCell,
    /// Somebody wants to know when a thread goes to sleep: the reclaimer, which does so itself, or those that wait for frames.
    is_watching: AtomicBool,
    /// It has nothing to do until a thread goes to sleep.
    is_dormant: AtomicBool,
    /// Somebody waits for the next sweep, which comes at once then.
    is_hurried: AtomicBool,
    /// Sweeps that have ended.
    sweeps: AtomicU64,
}

impl Reclaimer {
    pub(crate) const fn new() -> Self {
        Self {
            thread: ThreadCell::new(),
            is_watching: AtomicBool::new(false),
            is_dormant: AtomicBool::new(false),
            is_hurried: AtomicBool::new(false),
            sweeps: AtomicU64::new(0),
        }
    }

    /// How many sweeps have ended.
    pub fn sweeps(&self) -> u64 {
        self.sweeps.load(Ordering::Acquire)
    }

    /// This thread is the reclaimer.
    pub(crate) fn set_thread(&self, thread: &'static Thread) {
        self.thread.set(Some(thread));
    }

    /// From now on somebody wants to know when a thread goes to sleep.
    pub(crate) fn watch(&self) {
        self.is_watching.store(true, Ordering::SeqCst);
    }
}

/// Stacks of a batch: what is freed with one broadcast. The ring has room for their notes.
const BATCH: u64 = 64;

const _: () = assert!(BATCH as usize <= RING_NOTES, "a batch is noted as a whole");

/// Bytes of the reclaimer's stack.
const STACK_BYTES: u64 = 16 << 10;

/// Makes the reclaimer, if the policy has one. It sleeps until a thread does.
///
/// # Errors
///
/// There is no memory for its stack.
pub(crate) fn prepare<S: System>() -> Result<(), StackError> {
    if S::Policy::SWEEPS {
        let request = thread::Request { priority: Priority::KERNEL, ..start::system("reclaimer", STACK_BYTES) };
        let thread = thread::create::<S>(request, Box::new(|| audit::first::<S, _, _>(reclaim::<S>)))?;
        // It is nobody's yet: as if it had run, and had left its CPU.
        let _is_asleep = thread.state.begin_block() && thread.state.finish_block();
        let reclaimer = &S::kernel().reclaimer;
        reclaimer.set_thread(thread);
        reclaimer.is_dormant.store(true, Ordering::SeqCst);
        reclaimer.watch();
    }
    Ok(())
}

/// What the reclaimer does, for ever.
fn reclaim<S: System>() -> ! {
    loop {
        reclaim_once::<S>(|| sweep::<S>(false));
    }
}

/// Makes one sweep, which returns how many threads it has marked, and waits until there is something to do for the next one.
pub(crate) fn reclaim_once<S: System>(sweep: impl FnOnce() -> usize) {
    let reclaimer = &S::kernel().reclaimer;
    sleep_for_a_while::<S>();
    // First, so that whoever goes to sleep behind the sweep's back wakes it.
    reclaimer.is_dormant.store(true, Ordering::SeqCst);
    reclaimer.watch();
    fence(Ordering::SeqCst);
    let marked = sweep();
    reclaimer.sweeps.fetch_add(1, Ordering::Release);
    if marked > 0 {
        reclaimer.is_dormant.store(false, Ordering::SeqCst);
    }
    while reclaimer.is_dormant.load(Ordering::SeqCst) {
        schedule::block::<S>();
    }
}

/// Waits for the time between two sweeps, or until somebody waits for the next one.
fn sleep_for_a_while<S: System>() {
    let deadline = S::Platform::now() + S::kernel().settings.reclaim_ns();
    while S::Platform::now() < deadline && !S::kernel().reclaimer.is_hurried.swap(false, Ordering::SeqCst) {
        block_until::<S>(deadline);
    }
}

/// Waits until a sweep has ended that is under way or begins now, whether its time has come or not. The caller may sleep.
pub(crate) fn await_sweep<S: System>() {
    let reclaimer = &S::kernel().reclaimer;
    let sweeps = reclaimer.sweeps();
    while reclaimer.sweeps() == sweeps {
        reclaimer.is_hurried.store(true, Ordering::SeqCst);
        cpu::without_interrupts::<S, _>(|| wake::<S>(cpu::this::<S>()));
        // Going to sleep is what the reclaimer waits for that has nothing to do.
        super::sleep::<S>(LOOK_AGAIN);
    }
}

/// After which time the end of a sweep is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Says whether it is what runs on this CPU. Interrupts are off.
pub(super) fn is_running<S: System>(cpu: &PerCpu) -> bool {
    let (runs, reclaimer) = (cpu.current(), S::kernel().reclaimer.thread.get());
    runs.zip(reclaimer).is_some_and(|(runs, reclaimer)| core::ptr::eq(runs, reclaimer))
}

/// A thread has gone to sleep on this CPU. Interrupts are off, in the second half of its switch.
#[inline(always)]
pub(super) fn one_sleeps<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    if S::Policy::SWEEPS && S::kernel().reclaimer.is_watching.load(Ordering::SeqCst) {
        tell::<S>(cpu, thread);
    }
}

#[cold]
#[inline(never)]
fn tell<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    let reclaimer = &S::kernel().reclaimer;
    if thread.is_system() {
        return;
    }
    reclaimer.is_watching.store(false, Ordering::SeqCst);
    // Before that is looked at: who parks is counted first, and wants to be told then.
    fence(Ordering::SeqCst);
    if stack_wait::is_waited_for::<S>() {
        reclaimer.watch();
        stack_wait::frames_came::<S>();
    }
    if reclaimer.is_dormant.swap(false, Ordering::SeqCst) {
        wake::<S>(cpu);
    }
}

/// Wakes the reclaimer, if it sleeps. Interrupts are off.
fn wake<S: System>(cpu: &PerCpu) {
    if let Some(thread) = S::kernel().reclaimer.thread.get()
        && thread.state.wake_from_any_sleep()
    {
        placement::place::<S>(cpu, thread);
    }
}

/// Sweeps all that sleep, however long: somebody lacks frames. Interrupts are on; preemption may be off. What it brings is in this
/// CPU's cache, or free.
pub(crate) fn press<S: System>() {
    if S::Policy::SWEEPS {
        sweep::<S>(true);
    }
}

/// Looks at every stack that the policy is asked about. Returns how many threads it has marked.
fn sweep<S: System>(pressure: bool) -> usize {
    let mut marked = 0;
    for class in SizeClass::all().filter(|class| class.stack_bytes(S::Policy::GUARD) <= stack::MAX_POLICY_STACK_BYTES) {
        let mut next = 0;
        while let Some(end) = sweep_batch::<S>(class, next, pressure, &mut marked) {
            next = end;
        }
    }
    marked
}

/// Looks at the stacks of one batch of a class, from slot `first` on, and frees what it took. Returns where the next one begins.
fn sweep_batch<S: System>(class: SizeClass, first: u64, pressure: bool, marked: &mut usize) -> Option<u64> {
    cpu::without_preemption::<S, _>(|| {
        let cpu = cpu::this::<S>();
        // Before the lock is taken, for others may have to be asked to invalidate.
        if cpu.with_stack_cache(|cache| cache.ring.len()) > RING_NOTES - BATCH as usize {
            stack::free_resting::<S>(cpu);
        }
        let mut rested = 0;
        // The class's lock keeps threads from being freed while they are looked at.
        let end = S::kernel().stacks.classes[class.index()].with::<S, _>(|slots| {
            let end = slots.used.min(first + BATCH);
            for number in first..end {
                let slot = Slot { class, number };
                let entries = stack::entries::<S>(slot);
                let Some(Note::Owner(owner)) = entries.map(Entries::note) else { continue };
                // SAFETY: the owner is cleared, under the class's lock, before its thread is freed.
                let owner: &'static Thread = unsafe { owner.as_ref() };
                if Slot::of(owner.saved_stack_pointer()) != Some(slot) {
                    // One of several: a thread is met where it goes on.
                    continue;
                }
                match look::<S>(cpu, owner, pressure) {
                    Sweep::Mark => *marked += 1,
                    Sweep::Reclaim => rested += 1,
                    Sweep::Pass => {}
                }
            }
            (end > first).then_some(end)
        });
        if rested > 0 {
            stack::free_resting::<S>(cpu);
        }
        end
    })
}

/// A sweep comes by a thread. What it takes rests then.
pub(crate) fn look<S: System>(cpu: &PerCpu, thread: &'static Thread, pressure: bool) -> Sweep {
    if thread.is_system() {
        return Sweep::Pass;
    }
    // With interrupts off, so that nobody meets a thread that is half swept: not an audit either, for which all CPUs stand still.
    cpu::without_interrupts::<S, _>(|| {
        let made = thread.state.sweep(pressure);
        if made == Sweep::Reclaim {
            // SAFETY: its state word says that this CPU holds it.
            let stack = unsafe { thread.stack_mut() };
            let before = stack.populated();
            let saved = thread.saved_stack_pointer();
            cpu.with_stack_cache(|cache| S::Policy::on_sweep(&mut Outgoing::<S>::new(stack, saved, cache)));
            if stack.populated() < before {
                stack.set_lacking(true);
            }
            if !thread.state.end_reclaim() {
                placement::place::<S>(cpu, thread);
            }
        }
        made
    })
}

/// Populates the stack of a thread that is about to run, if it was swept or is new. Interrupts are off, and what it lacks is in reserve.
pub(super) fn make_whole<S: System>(cpu: &PerCpu, stack: &mut Stack) {
    if stack.is_lacking() {
        cpu.with_stack_cache(|cache| S::Policy::make_whole(&mut Incoming::<S>::new(stack, cache)));
        stack.set_lacking(false);
    }
}

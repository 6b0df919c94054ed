//! Threads that wait for a point in time, in the order of these points.

use core::sync::atomic::Ordering;

use intrusive_collections::{Bound, KeyAdapter, RBTree, intrusive_adapter};

use crate::cpu::{self, PerCpu};
use crate::system::System;
use crate::thread::{Thread, ThreadId, placement, schedule};
use crate::time::NEVER;

intrusive_adapter!(ByDeadline = &'static Thread: Thread { timer => intrusive_collections::RBTreeAtomicLink });

impl KeyAdapter<'_> for ByDeadline {
    type Key = (u64, ThreadId);

    fn get_key(&self, thread: &Thread) -> Self::Key {
        (thread.deadline.load(Ordering::Relaxed), thread.id())
    }
}

/// Threads that wait for a point in time. The tree runs through the threads, so nothing is allocated.
#[derive(Default)]
pub struct Timers(RBTree<ByDeadline>);

impl core::fmt::Debug for Timers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Timers").field("next", &self.next()).finish()
    }
}

impl Timers {
    /// Creates an empty set.
    pub const fn new() -> Self {
        Self(RBTree::new(ByDeadline::NEW))
    }

    /// The earliest point that somebody waits for, in nanoseconds since boot.
    pub fn next(&self) -> Option<u64> {
        self.0.front().get().map(|thread| thread.deadline.load(Ordering::Relaxed))
    }

    /// Adds a thread that waits for `deadline`.
    pub(crate) fn insert(&mut self, thread: &'static Thread, deadline: u64) {
        thread.deadline.store(deadline, Ordering::Relaxed);
        self.0.insert(thread);
    }

    /// Takes a thread out, if it is still in.
    fn remove(&mut self, thread: &Thread) {
        let key = (thread.deadline.load(Ordering::Relaxed), thread.id());
        if thread.timer.is_linked() {
            self.0.find_mut(&key).remove();
        }
    }

    /// Takes the first thread whose time has come.
    fn expire(&mut self, now: u64) -> Option<&'static Thread> {
        let mut first = self.0.lower_bound_mut(Bound::Unbounded);
        let due = first.get().is_some_and(|thread| thread.deadline.load(Ordering::Relaxed) <= now);
        if due { first.remove() } else { None }
    }
}

/// Waits until `deadline` (nanoseconds since boot), or until the thread is woken otherwise: the caller looks again. It is
/// no longer among the timers then.
pub(crate) fn block_until<S: System>(deadline: u64) {
    if deadline == NEVER {
        // A timer would pass for something that can wake the thread.
        return schedule::block::<S>();
    }
    let me = cpu::current::<S>();
    // The CPU on which the thread begins to wait wakes it, wherever it then runs.
    let timers = cpu::without_interrupts::<S, _>(|| {
        let cpu = cpu::this::<S>();
        cpu.timers.locked::<S, _>(|timers| timers.insert(me, deadline));
        schedule::arm_for::<S>(cpu, deadline);
        &cpu.timers
    });
    schedule::block::<S>();
    timers.with_interrupts_off::<S, _>(|timers| timers.remove(me));
}

/// Wakes the threads whose time has come. Called by the timer interrupt, with interrupts off. Returns the next point that
/// somebody waits for.
pub(crate) fn wake_expired<S: System>(cpu: &PerCpu, now: u64) -> Option<u64> {
    cpu.timers.locked::<S, _>(|timers| {
        if timers.next().is_some_and(|deadline| deadline <= now) {
            // Before they are out: whoever looks whether anything can still happen finds them here, or this CPU awake.
            placement::stir::<S>(cpu);
            // Under the lock: the thread passes through it before it goes on, so it cannot end before it is woken.
            while let Some(thread) = timers.expire(now) {
                schedule::wake::<S>(thread);
            }
        }
        timers.next()
    })
}

//! `Condvar` for threads, with std's names.

use core::marker::PhantomData;
use core::time::Duration;

use crate::sync::{MutexGuard, WaitQueue};
use crate::system::System;
use crate::time::{self, NEVER};

/// Threads wait here for what others do under a [`Mutex`](crate::sync::Mutex): std's `Condvar`.
#[derive(Debug)]
pub struct Condvar<S> {
    waiting: WaitQueue,
    system: PhantomData<fn() -> S>,
}

/// Says why a wait with a time-out ended: std's `WaitTimeoutResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Says whether the time was up. A thread that was notified in its last moment was notified.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl<S: System> Condvar<S> {
    /// Creates one that nobody waits on.
    pub const fn new() -> Self {
        Self { waiting: WaitQueue::new(), system: PhantomData }
    }

    /// Gives the lock up, waits to be notified, and takes the lock again.
    ///
    /// As in std it may return though nobody notified it.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, S, T>) -> MutexGuard<'a, S, T> {
        self.wait_until(guard, NEVER).0
    }

    /// Waits for as long as `condition` holds.
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, S, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, S, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// Gives the lock up, waits to be notified, for `timeout` at most, and takes the lock again, however long that
    /// takes.
    ///
    /// As in std it may return though nobody notified it.
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, S, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, S, T>, WaitTimeoutResult) {
        let (guard, notified) = self.wait_until(guard, time::after::<S>(timeout));
        (guard, WaitTimeoutResult(!notified))
    }

    /// Waits for as long as `condition` holds, for `timeout` at most. It has timed out if the condition holds still.
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, S, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, S, T>, WaitTimeoutResult) {
        let deadline = time::after::<S>(timeout);
        let mut in_time = true;
        loop {
            // The last look comes after the time-out: what was changed until then counts.
            if !condition(&mut guard) {
                return (guard, WaitTimeoutResult(false));
            }
            if !in_time {
                return (guard, WaitTimeoutResult(true));
            }
            (guard, in_time) = self.wait_until(guard, deadline);
        }
    }

    /// Wakes the thread that has waited longest.
    pub fn notify_one(&self) {
        self.waiting.wake_one::<S>();
    }

    /// Wakes all threads that wait.
    pub fn notify_all(&self) {
        self.waiting.wake_all::<S>();
    }

    /// Waits to be notified until `deadline`, in nanoseconds since boot. Returns whether it was notified.
    fn wait_until<'a, T: ?Sized>(&self, guard: MutexGuard<'a, S, T>, deadline: u64) -> (MutexGuard<'a, S, T>, bool) {
        let mutex = MutexGuard::mutex(&guard);
        let notified = self.waiting.wait_after_until::<S>(deadline, || drop(guard));
        (mutex.lock(), notified)
    }
}

impl<S: System> Default for Condvar<S> {
    fn default() -> Self {
        Self::new()
    }
}

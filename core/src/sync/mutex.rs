//! `Mutex` and `Condvar` for threads, with std's names.
//!
//! There is no poisoning, since a panic ends the run: `lock` returns the guard itself.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::sync::WaitQueue;
use crate::system::System;

/// What a [`Mutex`] is built on.
#[derive(Debug)]
pub struct RawMutex<S> {
    held: AtomicBool,
    waiting: WaitQueue,
    system: PhantomData<fn() -> S>,
}

mod raw {
    #![expect(unsafe_code, reason = "lock_api asks for the promise that a lock is one")]

    use super::*;

    // SAFETY: `lock` and `try_lock` succeed only when `held` went from false to true.
    unsafe impl<S: System> lock_api::RawMutex for RawMutex<S> {
        const INIT: Self = Self { held: AtomicBool::new(false), waiting: WaitQueue::new(), system: PhantomData };

        // std's guards stay with their thread.
        type GuardMarker = lock_api::GuardNoSend;

        fn lock(&self) {
            self.waiting.wait_while::<S>(|| !self.try_lock());
        }

        fn try_lock(&self) -> bool {
            !self.held.swap(true, Ordering::Acquire)
        }

        unsafe fn unlock(&self) {
            self.held.store(false, Ordering::SeqCst);
            self.waiting.wake_one::<S>();
        }

        fn is_locked(&self) -> bool {
            self.held.load(Ordering::Relaxed)
        }
    }
}

/// A lock that threads sleep on: std's `Mutex`.
pub type Mutex<S, T> = lock_api::Mutex<RawMutex<S>, T>;

/// The right to use what a [`Mutex`] guards, until it is dropped.
pub type MutexGuard<'a, S, T> = lock_api::MutexGuard<'a, RawMutex<S>, T>;

/// Threads wait here for what others do under a [`Mutex`]: std's `Condvar`.
#[derive(Debug)]
pub struct Condvar<S> {
    waiting: WaitQueue,
    system: PhantomData<fn() -> S>,
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
        let mutex = MutexGuard::mutex(&guard);
        self.waiting.wait_after::<S>(|| drop(guard));
        mutex.lock()
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

    /// Wakes the thread that has waited longest.
    pub fn notify_one(&self) {
        self.waiting.wake_one::<S>();
    }

    /// Wakes all threads that wait.
    pub fn notify_all(&self) {
        self.waiting.wake_all::<S>();
    }
}

impl<S: System> Default for Condvar<S> {
    fn default() -> Self {
        Self::new()
    }
}

//! `RwLock` for threads, with std's names.
//!
//! One word says who is inside and how many writers wait. Readers do not enter while a writer waits, so that one is
//! never starved; readers may be, by several writers that come without a pause, as in std. So a thread that reads must not
//! ask to read again: a writer may have come between.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use crate::sync::WaitQueue;
use crate::system::System;
use crate::time::{self, Instant, NEVER};

/// A writer is inside.
const WRITER: usize = 1;
/// One writer that waits; below [`READER`].
const WAITING: usize = 2;
/// One reader that is inside; all the bits above.
const READER: usize = 1 << (usize::BITS / 2);

/// What a [`RwLock`] is built on.
#[derive(Debug)]
pub struct RawRwLock<S> {
    state: AtomicUsize,
    readers: WaitQueue,
    writers: WaitQueue,
    system: PhantomData<fn() -> S>,
}

/// A lock that many may hold to read, or one to write: std's `RwLock`.
pub type RwLock<S, T> = lock_api::RwLock<RawRwLock<S>, T>;

/// The right to read what a [`RwLock`] guards, until it is dropped.
pub type RwLockReadGuard<'a, S, T> = lock_api::RwLockReadGuard<'a, RawRwLock<S>, T>;

/// The right to use what a [`RwLock`] guards, until it is dropped.
pub type RwLockWriteGuard<'a, S, T> = lock_api::RwLockWriteGuard<'a, RawRwLock<S>, T>;

impl<S: System> RawRwLock<S> {
    fn try_read(&self) -> bool {
        let enter = |state: usize| {
            if state & (READER - 1) != 0 {
                return None;
            }
            // Guards that were forgotten still count.
            Some(state.checked_add(READER).expect("fewer readers than a lock can count"))
        };
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_ok()
    }

    /// Takes the lock to write, and with it `waiting` off the count of writers that wait.
    fn try_write(&self, waiting: usize) -> bool {
        let enter = |state: usize| (state & WRITER == 0 && state < READER).then(|| state + WRITER - waiting);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_ok()
    }

    fn read_until(&self, deadline: u64) -> bool {
        self.readers.wait_while_until::<S>(deadline, || !self.try_read())
    }

    fn write_until(&self, deadline: u64) -> bool {
        // A writer that comes back must not keep them out: see `WaitQueue`.
        self.readers.give_way::<S>();
        self.writers.give_way::<S>();
        if self.try_write(0) {
            return true;
        }
        self.state.fetch_add(WAITING, Ordering::Relaxed);
        let written = self.writers.wait_while_until::<S>(deadline, || !self.try_write(WAITING));
        if !written {
            self.give_up();
        }
        written
    }

    /// A writer's time is up. Readers may have waited for it alone.
    fn give_up(&self) {
        let state = self.state.fetch_sub(WAITING, Ordering::SeqCst) - WAITING;
        if state & (READER - 1) == 0 {
            self.readers.wake_all::<S>();
        }
    }

    /// Lets in who may be waiting, after the lock came to `state`.
    fn offer(&self, state: usize) {
        if state & (READER - WAITING) == 0 {
            self.readers.wake_all::<S>();
        } else if state < READER {
            self.writers.wake_one::<S>();
        }
    }
}

mod raw {
    #![expect(unsafe_code, reason = "lock_api asks for the promise that a lock is one")]

    use super::*;

    // SAFETY: readers enter only while the state shows no writer, a writer only while it shows nobody; both by
    // compare-exchange.
    unsafe impl<S: System> lock_api::RawRwLock for RawRwLock<S> {
        const INIT: Self = Self {
            state: AtomicUsize::new(0),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            system: PhantomData,
        };

        // std's guards stay with their thread.
        type GuardMarker = lock_api::GuardNoSend;

        fn lock_shared(&self) {
            self.readers.wait_while::<S>(|| !self.try_read());
        }

        fn try_lock_shared(&self) -> bool {
            self.try_read()
        }

        unsafe fn unlock_shared(&self) {
            let state = self.state.fetch_sub(READER, Ordering::SeqCst) - READER;
            if state < READER && state != 0 {
                self.writers.wake_one::<S>();
            }
        }

        fn lock_exclusive(&self) {
            let written = self.write_until(NEVER);
            debug_assert!(written, "who waits for ever does not give up");
        }

        fn try_lock_exclusive(&self) -> bool {
            self.try_write(0)
        }

        unsafe fn unlock_exclusive(&self) {
            self.offer(self.state.fetch_sub(WRITER, Ordering::SeqCst) - WRITER);
        }

        fn is_locked(&self) -> bool {
            let state = self.state.load(Ordering::Relaxed);
            state & WRITER != 0 || state >= READER
        }

        fn is_locked_exclusive(&self) -> bool {
            self.state.load(Ordering::Relaxed) & WRITER != 0
        }
    }

    // SAFETY: the writer becomes a reader in one step.
    unsafe impl<S: System> lock_api::RawRwLockDowngrade for RawRwLock<S> {
        unsafe fn downgrade(&self) {
            self.offer(self.state.fetch_add(READER - WRITER, Ordering::SeqCst) + READER - WRITER);
        }
    }

    // SAFETY: as above: they succeed only when `try_read` or `try_write` did.
    unsafe impl<S: System> lock_api::RawRwLockTimed for RawRwLock<S> {
        type Duration = Duration;
        type Instant = Instant<S>;

        fn try_lock_shared_for(&self, timeout: Duration) -> bool {
            self.read_until(time::after::<S>(timeout))
        }

        fn try_lock_shared_until(&self, deadline: Instant<S>) -> bool {
            self.read_until(deadline.nanoseconds())
        }

        fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
            self.write_until(time::after::<S>(timeout))
        }

        fn try_lock_exclusive_until(&self, deadline: Instant<S>) -> bool {
            self.write_until(deadline.nanoseconds())
        }
    }
}

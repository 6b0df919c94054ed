//! `Mutex` for threads, with std's names.
//!
//! There is no poisoning, since a panic ends the run: `lock` returns the guard itself. The waits with a time-out, which
//! std's `Mutex` lacks, are `lock_api`'s.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use crate::sync::WaitQueue;
use crate::system::System;
use crate::time::{self, Instant};

/// What a [`Mutex`] is built on.
#[derive(Debug)]
pub struct RawMutex<S> {
    held: AtomicBool,
    waiting: WaitQueue,
    system: PhantomData<fn() -> S>,
}

impl<S> RawMutex<S> {
    fn take(&self) -> bool {
        !self.held.swap(true, Ordering::Acquire)
    }
}

mod raw {
    #![expect(unsafe_code, reason = "lock_api asks for the promise that a lock is one")]

    use super::*;

    // SAFETY: `lock` and `try_lock` succeed only when `take` did, and so `held` went from false to true.
    unsafe impl<S: System> lock_api::RawMutex for RawMutex<S> {
        const INIT: Self = Self { held: AtomicBool::new(false), waiting: WaitQueue::new(), system: PhantomData };

        // std's guards stay with their thread.
        type GuardMarker = lock_api::GuardNoSend;

        fn lock(&self) {
            self.waiting.wait_while::<S>(|| !self.take());
        }

        fn try_lock(&self) -> bool {
            self.take()
        }

        unsafe fn unlock(&self) {
            self.held.store(false, Ordering::SeqCst);
            self.waiting.wake_one::<S>();
        }

        fn is_locked(&self) -> bool {
            self.held.load(Ordering::Relaxed)
        }
    }

    // SAFETY: as above.
    unsafe impl<S: System> lock_api::RawMutexTimed for RawMutex<S> {
        type Duration = Duration;
        type Instant = Instant<S>;

        fn try_lock_for(&self, timeout: Duration) -> bool {
            self.waiting.wait_while_until::<S>(time::after::<S>(timeout), || !self.take())
        }

        fn try_lock_until(&self, deadline: Instant<S>) -> bool {
            self.waiting.wait_while_until::<S>(deadline.nanoseconds(), || !self.take())
        }
    }
}

/// A lock that threads sleep on: std's `Mutex`.
pub type Mutex<S, T> = lock_api::Mutex<RawMutex<S>, T>;

/// The right to use what a [`Mutex`] guards, until it is dropped.
pub type MutexGuard<'a, S, T> = lock_api::MutexGuard<'a, RawMutex<S>, T>;
